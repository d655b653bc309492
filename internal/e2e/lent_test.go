package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// TestLent runs images of another user's store, whose files belong to nobody that
// the test user has an id for.
func TestLent(t *testing.T) {
	p := newPlace(t)
	dir, shared := p.join("v", "lent"), p.join("shared")
	must(t, os.MkdirAll(dir, 0o755))
	if os.Getuid() == 0 {
		must(t, os.MkdirAll(p.join("theirs"), 0o755))
		made := exec.CommandContext(t.Context(), p.join("oci/lent"), "make", shared)
		made.Dir, made.Env = p.join("theirs"), append(os.Environ(), "PATH="+p.path())
		if out, err := made.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	out, err := p.v2view(t, testUser, dir, nil, p.join("oci/lent"), "use", shared)
	if err != nil || string(out) != "done\n" {
		t.Errorf("%v; got:\n%s", err, out)
	}
}
