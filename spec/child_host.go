package spec

import (
	"fmt"
	"path"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// hostRoot makes the view of the host's own root (fuse.HostView) on dir, which
// becomes the root. One tmpfs, mounted on the scratch directory, holds what is
// not the host's: the root's own directory and the overlays' upper
// directories, which the container cannot reach, since only the former is
// taken to dir.
func (c *child) hostRoot(r *fuse.Rootfs, dir string) {
	const label = "make a root of the host's directories"
	c.scratch(r.Scratch, true)
	c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, r.Host.Root, 0o755)
	for _, m := range r.Host.Mounts {
		c.hostMount(m, path.Join(r.Host.Root, m.Target))
	}
	c.openTree(label, atFDCWD, r.Host.Root, true)
	c.placeRoot(label, dir)
}

// hostMount makes one entry, with the scratch directory as the current one.
// Parents of targets are directories of the tmpfs that this plan has made
// itself, so their names lead nowhere else.
func (c *child) hostMount(m fuse.HostMount, target string) {
	label := string(m.Kind) + " /" + m.Target
	switch m.Kind {
	case fuse.HostDir:
		c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, target, m.Mode)
	case fuse.HostSymlink:
		c.p.Call(label, unix.SYS_SYMLINKAT, m.Source, atFDCWD, target)
	case fuse.HostFile:
		c.p.Call(label, unix.SYS_OPENAT, atFDCWD, target, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, m.Mode).To(c.tmp)
		if len(m.Content) > 0 {
			c.p.Call(label, unix.SYS_WRITE, c.tmp, m.Content, uintptr(len(m.Content)))
		}
		c.closeReg(c.tmp)
	case fuse.HostBind:
		if c.x.lacks.mounts {
			c.openTree(label, atFDCWD, m.Source, m.Recursive)
			c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, m.Recursive)
			c.moveOnto(label, target)
			c.closeReg(c.mount)
			return
		}
		flags := uintptr(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_NO_AUTOMOUNT)
		if m.Recursive {
			flags |= unix.AT_RECURSIVE
		}
		gone := c.p.NewSpot() // since the view was planned
		c.p.Call(label, unix.SYS_OPEN_TREE, atFDCWD, m.Source, flags).To(c.mount).Catch(unix.ENOENT, gone)
		c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, m.Recursive)
		c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", atFDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
		c.attached()
		c.closeReg(c.mount)
		c.p.Mark(gone)
	case fuse.HostOverlay:
		c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, m.Upper, m.Mode)
		c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, m.Work, 0o700)
		if !m.Present {
			c.p.Call(label, unix.SYS_MKDIRAT, atFDCWD, target, 0o755)
		}
		c.p.Call(label, unix.SYS_MOUNT, "overlay", target, "overlay", m.Flags, m.Data).Allow(unix.ENOENT) // likewise
	default:
		c.fail(fmt.Errorf("a host mount of kind %q is unknown", m.Kind))
	}
}
