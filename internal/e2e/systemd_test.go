package e2e

import (
	"os"
	"testing"
)

// TestSystemd boots systemd in a container of the test user's, has it start a
// service, and stops it in order, where the cgroup tree is v2 and a part of it
// is the user's.
func TestSystemd(t *testing.T) {
	p := newPlace(t)
	im := &images{place: p}
	must(t, im.make("systemd.tar"))
	dir := p.join("v", "systemd")
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, testUser, dir, []string{"IN_MEMORY=yes"}, p.join("oci/systemd"), p.join("images/systemd.tar"))
	const want = "system: running\nactive\nactive\n1\n1\nbox\n0\ndelegated\n137\nkept: running, root is another\n1\nkept\n0\nbox\nagain\nkept\n"
	if err != nil || string(out) != want {
		t.Errorf("%v; got:\n%s\nwant:\n%s", err, out, want)
	}
}
