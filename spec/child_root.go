package spec

import (
	"fmt"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// rootfs mounts the root on root.path, in this mount namespace only, and
// leaves a descriptor of it in c.root.
func (c *child) rootfs() {
	dir := c.s.Root.Path
	r := c.x.Root
	if r == nil {
		r = &fuse.Rootfs{Kind: fuse.Bind, Source: dir}
	}
	if r.Scratch != nil {
		c.scratch(r.Scratch)
	}
	for _, d := range r.Mkdirs {
		c.p.Call("make "+d.Path, unix.SYS_MKDIRAT, atFDCWD, d.Path, d.Mode).Allow(unix.EEXIST)
	}
	switch r.Kind {
	case fuse.OverlayFS:
		c.newFS("mount the overlay", r.FSType, r.Params, uint64(r.Attrs))
		c.placeRoot("mount the overlay", dir)
	case fuse.OverlayMount:
		c.p.Call("enter the layers' directory", unix.SYS_CHDIR, r.Dir)
		c.p.Call("mount the overlay", unix.SYS_MOUNT, "overlay", dir, r.FSType, r.Flags, r.Data)
	case fuse.FuseOverlayFS:
		c.fuseOverlay(r, dir)
	case fuse.Bind, fuse.Copy:
		c.openTree("bind the root "+r.Source, atFDCWD, r.Source, true)
		c.placeRoot("bind the root "+r.Source, dir)
	default:
		c.fail(fmt.Errorf("a root of kind %q is unknown", r.Kind))
	}
	c.p.Call("open the root", unix.SYS_OPENAT, atFDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.root)
}

func (c *child) scratch(t *fuse.Tmpfs) {
	c.p.Call("mount a tmpfs for writes", unix.SYS_MOUNT, "tmpfs", t.Target, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, t.Data)
}

// placeRoot attaches c.mount on dir, a directory of ours outside the root.
func (c *child) placeRoot(label, dir string) {
	c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", atFDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	c.closeReg(c.mount)
}

// fuseOverlay opens /dev/fuse, mounts, and hands the descriptor to the
// launcher, which starts the server; from then on whatever is asked of the
// root waits for it.
func (c *child) fuseOverlay(r *fuse.Rootfs, dir string) {
	f, dev := r.Fuse, c.p.NewReg()
	c.p.Call("open "+f.Device, unix.SYS_OPENAT, atFDCWD, f.Device, unix.O_RDWR|unix.O_CLOEXEC, 0).To(dev)
	c.p.Call("place "+f.Device, unix.SYS_DUP3, dev, f.FD, unix.O_CLOEXEC)
	c.p.Call("mount fuse-overlayfs", unix.SYS_MOUNT, "fuse-overlayfs", dir, "fuse", r.Flags, f.MountData)
	c.sendFD("hand the file system to the launcher", c.x.FuseSock.Fd(), dev)
	c.closeReg(dev)
	c.p.Call("close "+f.Device, unix.SYS_CLOSE, f.FD)
}
