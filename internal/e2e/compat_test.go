package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestCompat types the command lines of compat/ with podman and with coracle, as
// the test user, and wants them to say the same. A line that is known to differ
// says why; it has to differ, so that the list stays true.
func TestCompat(t *testing.T) {
	for name, atLeast := range map[string]int{"logs": 80, "days": 200} {
		t.Run(name, func(t *testing.T) { compat(t, name, atLeast) })
	}
}

// compat holds a script against both. What is wrong only once is a race of
// somebody's: it is typed again, and only what is wrong each time counts.
func compat(t *testing.T, name string, atLeast int) {
	p := newPlace(t)
	if _, err := exec.LookPath("podman"); err != nil {
		cannot(t, "podman is not installed")
	}
	must(t, os.CopyFS(p.join("compat"), os.DirFS("compat")))
	var lasting map[string]string
	for round := range 3 {
		wrong := unlike(t, p.typedCompat(t, name, round), atLeast)
		for at, text := range wrong {
			t.Logf("round %d: %s", round, text)
			if _, ok := lasting[at]; round > 0 && !ok {
				delete(wrong, at)
			}
		}
		if lasting = wrong; len(lasting) == 0 {
			return
		}
	}
	for _, text := range lasting {
		t.Errorf("%s", text)
	}
}

func (p place) typedCompat(t *testing.T, name string, round int) (said [2][]string) {
	t.Helper()
	for i, program := range []string{"podman", "coracle"} {
		dir := p.join("v", fmt.Sprint("c", program[:1], round)) // short: podman wants its runroot below 50 characters
		must(t, os.MkdirAll(dir, 0o755))
		out, err := p.v2view(t, testUser, dir, []string{"IN_MEMORY=yes"}, p.join("compat/prelude"), program, p.join("compat", name))
		if err != nil {
			t.Fatalf("%s: %v\n%s", program, err, out)
		}
		said[i] = transcript(string(out))
	}
	return said
}

// unlike gives what differs and should not, and what does not and should.
func unlike(t *testing.T, said [2][]string, atLeast int) map[string]string {
	t.Helper()
	if n := len(said[0]); n < atLeast {
		t.Fatalf("podman got through %d command lines:\n$ %s", n, strings.Join(said[0], "\n$ "))
	}
	different := differing(said[0], said[1])
	for i, text := range said[0] {
		words, _, _ := strings.Cut(text, "\n")
		if !strings.Contains(words, "(differs: ") {
			continue
		}
		at := fmt.Sprint(i, " ", words)
		if _, ok := different[at]; ok {
			delete(different, at)
		} else {
			different[at] = "this is said to differ, and does not: " + text
		}
	}
	return different
}
