package cli

import (
	"strings"
	"testing"
	"time"

	"coracle/internal/denial"
)

func TestExplainRecord(t *testing.T) {
	got := explainRecord(denial.Record{ID: "abc", Started: time.Unix(0, 0), Command: []string{"sh", "-c", "x y"}, Recorded: "all", Further: 4, Denials: []denial.Denial{
		{Kind: denial.Path, What: "/a\x1b[2Jb", Action: denial.Read, Why: "it is hidden", Count: 2, Flag: "--ro '/a\x1b[2Jb'", Danger: "keys"},
		{Kind: denial.Syscall, What: "mount", Action: denial.Call, Why: "the filter", Count: 7},
	}})
	for _, want := range []string{"sh -c 'x y'", "was to be read twice: it is hidden.", "Think first: keys.", "was called 7 times: the filter.", "No flag allows it.", "and 4 times"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("an escape code reaches the terminal: %q", got)
	}
}
