package spec

import (
	"path/filepath"
	"strings"
	"testing"

	"coracle/fuse"
)

// What has gone from the host since its view was planned is an empty directory
// there, and keeps no container from starting.
func TestHostRootOfWhatHasGone(t *testing.T) {
	s := testSpec(t.TempDir(), "/bin/busybox", "ls", "-A", "/", "/gone", "/over")
	gone := filepath.Join(t.TempDir(), "gone")
	over := "lowerdir=" + gone + ",upperdir=u1,workdir=w1,userxattr"
	plan := &fuse.HostPlan{Root: "root", Mounts: []fuse.HostMount{
		{Kind: fuse.HostDir, Target: "proc", Mode: 0o755}, {Kind: fuse.HostDir, Target: "sys", Mode: 0o755}, {Kind: fuse.HostDir, Target: "dev", Mode: 0o755},
		{Kind: fuse.HostDir, Target: "tmp", Mode: 0o1777}, {Kind: fuse.HostDir, Target: "bin", Mode: 0o755},
		{Kind: fuse.HostBind, Source: filepath.Join(busyboxRoot(t), "bin"), Target: "bin", ReadOnly: true},
		{Kind: fuse.HostDir, Target: "gone", Mode: 0o755}, {Kind: fuse.HostBind, Source: gone, Target: "gone", ReadOnly: true},
		{Kind: fuse.HostOverlay, Source: gone, Target: "over", Mode: 0o755, Upper: "u1", Work: "w1", Data: over},
	}}
	x := Extra{Root: &fuse.Rootfs{Kind: fuse.HostRoot, Host: plan, Scratch: &fuse.Tmpfs{Target: s.Root.Path, Data: "mode=755"}}, Resolve: func(d string) string { return d }}
	out, code, err := runSpec(t, s, x)
	if err != nil || code != 0 || !strings.HasSuffix(out, "/gone:\n\n/over:\n") {
		t.Errorf("exit %d, %v:\n%s", code, err, out)
	}
	plan.Mounts[5].Source = filepath.Join(busyboxRoot(t), "bin/none/x") // the command's own directory must be there
	if _, _, err := runSpec(t, s, x); err == nil {
		t.Error("a container without its command has started")
	}
}
