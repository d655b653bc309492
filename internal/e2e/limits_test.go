package e2e

import (
	"os"
	"testing"
)

// TestLimits: a container in the foreground and one in the background in cgroups
// of their own, with limits that need no controller; a cgroup that can be written
// to, and one that cannot; launchers that are killed. Where the tree is v2 and a
// part of it is the user's.
func TestLimits(t *testing.T) {
	p := newPlace(t)
	dir := p.join("v", "limits")
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, testUser, dir, nil, p.join("oci/limits"))
	if err != nil || string(out) != "done\n" {
		t.Errorf("%v; got:\n%s", err, out)
	}
}
