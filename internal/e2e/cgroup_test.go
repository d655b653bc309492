package e2e

import (
	"os"
	"testing"
)

// TestPlace has containers in a subtree of cgroups that is the test user's already.
func TestPlace(t *testing.T) {
	p := newPlace(t)
	dir := p.join("v", "place")
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, testUser, dir, []string{"IN_MEMORY=yes"}, p.join("oci/place"))
	if err != nil || string(out) != "afloat\n" {
		t.Errorf("%v; got:\n%s", err, out)
	}
}

// TestHybrid: of a tree that has no controllers, since v1 hierarchies have them,
// containers are frozen and killed through.
func TestHybrid(t *testing.T) {
	p := newPlace(t)
	dir := p.join("v", "hybrid")
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, testUser, dir, []string{"HYBRID=yes"}, p.join("oci/hybrid"))
	if err != nil || string(out) != "afloat\n" {
		t.Errorf("%v; got:\n%s", err, out)
	}
}
