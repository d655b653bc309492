package nofile_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"coracle/internal/nofile"
)

// The test runs itself under a lower soft limit, which Go raises before main.
func TestOriginal(t *testing.T) {
	if os.Getenv("NOFILE_CHILD") != "" {
		soft, hard, ok := nofile.Original()
		if !ok || soft != 123 || hard <= soft {
			t.Fatalf("soft %d, hard %d, known %v; want 123 and more", soft, hard, ok)
		}
		return
	}
	cmd := exec.Command("sh", "-c", `ulimit -Sn 123; exec "$0" -test.run TestOriginal -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "NOFILE_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestOriginal") {
		t.Fatalf("%v\n%s", err, out)
	}
}
