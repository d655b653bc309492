package cli

import (
	"strings"
	"testing"
)

// push --artifact without files says what to type, before anything is asked.
func TestPushNoFiles(t *testing.T) {
	for _, line := range []string{"push --artifact --retry 0 127.0.0.1:1/x", "push --artifact --retry 0 --subject 1 127.0.0.1:1/x"} {
		got := invoke(t, &fakeEngine{}, strings.Fields(line)...)
		if got.code != 125 || !strings.Contains(got.err, "--artifact needs the files to send") || !strings.Contains(got.err, "hint: coracle push --artifact REGISTRY/NAME:TAG FILE") {
			t.Errorf("%s: %+v", line, got)
		}
	}
}
