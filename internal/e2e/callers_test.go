package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestCallers types what conmon, podman, go-runc and Slurm do, as the test user
// and as root, and wants the answers of testdata/oci/callers.want.
// CORACLE_E2E_RUNTIME=runc proves it, for root: 1.1 differs in that its events
// want the memory controller.
func TestCallers(t *testing.T) {
	p := newPlace(t)
	r := p.ociRuntime(t)
	want, err := os.ReadFile("testdata/oci/callers.want")
	must(t, err)
	users := []string{"root", testUser}
	if r.name != "coracle" {
		users = users[:1] // an ordinary user of the others says where the cgroup goes
	}
	for _, user := range users {
		t.Run(user, func(t *testing.T) {
			dir := p.join("v", "callers-"+user)
			must(t, os.MkdirAll(dir, 0o755))
			out, err := p.v2view(t, user, dir, nil, p.join("oci/callers"), r.command)
			if err != nil || string(out) != string(want) {
				t.Errorf("%v; got:\n%s\nwant:\n%s", err, out, want)
			}
		})
	}
}

// TestKilled kills start, run, exec and delete at twenty points each (create is
// in the script oci/lifecycle), by the test user and by root, in a cgroup where
// what is left would show.
func TestKilled(t *testing.T) {
	p := newPlace(t)
	r := p.ociRuntime(t)
	for _, user := range []string{"root", testUser} {
		t.Run(user, func(t *testing.T) {
			dir := p.join("v", "killed-"+user)
			must(t, os.MkdirAll(dir, 0o755))
			if out, err := p.v2view(t, user, dir, nil, p.join("oci/killed"), r.command); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestReach opens the host's knobs as its root (security checklist 16). Without
// what config.json masks and makes read-only they open; with it none does.
func TestReach(t *testing.T) {
	p := newPlace(t)
	r := p.ociRuntime(t)
	dir := p.join("v", "reach")
	must(t, os.MkdirAll(dir, 0o755))
	out, err := p.v2view(t, "root", dir, nil, p.join("oci/reach"), r.command)
	bare, defended, ok := strings.Cut(string(out), "# with the defence")
	if err != nil || !ok || strings.Count(bare, "/proc/sys/kernel/core_pattern done") != 2 || strings.Count(bare, "/sys/fs/cgroup/cgroup.subtree_control done") != 2 ||
		strings.Count(defended, "/proc/sys/kernel/core_pattern EROFS") != 2 || strings.Contains(defended, " done") {
		t.Errorf("%v\n%s", err, out)
	}
}
