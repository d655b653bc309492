package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCompat types the command lines of testdata/compat with podman and with
// coracle, as the test user, and wants them to say the same. A line that is
// known to differ says why; it has to differ, so that the list stays true.
func TestCompat(t *testing.T) {
	for name, atLeast := range map[string]int{"logs": 80} {
		t.Run(name, func(t *testing.T) { compat(t, name, atLeast) })
	}
}

func compat(t *testing.T, name string, atLeast int) {
	p := newPlace(t)
	if _, err := exec.LookPath("podman"); err != nil {
		cannot(t, "podman is not installed")
	}
	must(t, os.CopyFS(p.join("compat"), os.DirFS("testdata/compat")))
	var said [2][]string
	for i, program := range []string{"podman", "coracle"} {
		dir := p.join("v", "c"+program[:1]) // short: podman wants its runroot below 50 characters
		must(t, os.MkdirAll(dir, 0o755))
		out, err := p.v2view(t, testUser, dir, []string{"IN_MEMORY=yes"}, p.join("compat/prelude"), program, p.join("compat", name))
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		said[i] = transcript(string(out))
	}
	if n := len(said[0]); n < atLeast {
		t.Fatalf("podman got through %d command lines:\n$ %s", n, strings.Join(said[0], "\n$ "))
	}
	different := differing(said[0], said[1])
	for i, text := range said[0] {
		words, _, _ := strings.Cut(text, "\n")
		if !strings.Contains(words, "(differs: ") {
			continue
		}
		found := false
		for at, how := range different {
			if strings.HasSuffix(at, " "+words) && i < len(said[1]) && text != said[1][i] {
				t.Logf("known: %s", how)
				delete(different, at)
				found = true
			}
		}
		if !found {
			t.Errorf("this is said to differ, and does not: %s", text)
		}
	}
	for _, text := range different {
		t.Errorf("%s", text)
	}
}
