package spec

import (
	"fmt"
	"path/filepath"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// hostRoot makes the view of the host's own root (fuse.HostView) on dir, which
// becomes the root. One tmpfs, mounted on scratch, holds what is not the
// host's: the root's own directory and the overlays' upper directories, which
// the container cannot reach, since only the former is bound on dir.
func (c *child) hostRoot(mounts []fuse.HostMount, scratch, dir string) {
	c.scratch(&fuse.Tmpfs{Target: scratch, Data: "mode=0700"})
	top := filepath.Join(scratch, "root")
	c.p.Call("make the root", unix.SYS_MKDIRAT, atFDCWD, top, 0o755)
	c.openTree("bind the root", atFDCWD, top, false)
	c.placeRoot("bind the root", dir)
	for _, m := range mounts {
		c.hostMount(m, scratch, dir)
	}
}

func (c *child) hostMount(m fuse.HostMount, scratch, dir string) {
	target := filepath.Join(dir, m.Target)
	switch m.Kind {
	case fuse.HostDir:
		c.p.Call("make /"+m.Target, unix.SYS_MKDIRAT, atFDCWD, target, m.Mode).Allow(unix.EEXIST)
	case fuse.HostSymlink:
		c.p.Call("link /"+m.Target, unix.SYS_SYMLINKAT, m.Source, atFDCWD, target)
	case fuse.HostFile:
		c.p.Call("make /"+m.Target, unix.SYS_MKNODAT, atFDCWD, target, unix.S_IFREG|m.Mode, 0)
	case fuse.HostTmpfs:
		c.p.Call("mount a tmpfs on /"+m.Target, unix.SYS_MOUNT, "tmpfs", target, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, m.Data)
	case fuse.HostBind:
		label := "bind " + m.Source
		c.openTree(label, atFDCWD, m.Source, false)
		if m.ReadOnly {
			c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, false)
		}
		c.place(label, target)
		c.closeReg(c.mount)
	case fuse.HostOverlay:
		label := "overlay " + m.Source
		upper, work := filepath.Join(scratch, m.Upper), filepath.Join(scratch, m.Work)
		c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, upper, m.Mode)
		c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, work, 0o700)
		c.newFS(label, "overlay", []fuse.Param{
			{Key: "userxattr", Flag: true}, {Key: "lowerdir+", Value: m.Source},
			{Key: "upperdir", Value: upper}, {Key: "workdir", Value: work},
		}, 0)
		c.place(label, target)
		c.closeReg(c.mount)
	default:
		c.fail(fmt.Errorf("a host mount of kind %q is unknown", m.Kind))
	}
}
