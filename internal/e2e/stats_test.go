package e2e

import (
	"os"
	"testing"
)

// TestStats looks at containers of the test user's where the cgroup tree is v2
// and a part of it is the user's, without any controller.
func TestStats(t *testing.T) {
	p := newPlace(t)
	dir := p.join("v", "stats")
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, testUser, dir, nil, p.join("oci/stats"))
	const want = "0\nExited (0) AGO\nbusy\njob\nout\n"
	if err != nil || string(out) != want {
		t.Errorf("%v; got:\n%s\nwant:\n%s", err, out, want)
	}
}
