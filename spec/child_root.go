package spec

import (
	"fmt"
	"slices"
	"strings"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// rootfs mounts the root on root.path, in this mount namespace only, and
// leaves a descriptor of it in c.root.
func (c *child) rootfs() {
	dir := c.x.hostPath(c.s.Root.Path)
	r := c.x.Root
	if r == nil {
		r = &fuse.Rootfs{Kind: fuse.Bind, Source: dir}
	}
	if r.Kind == fuse.HostRoot {
		c.hostRoot(r, dir)
		return
	}
	if r.Scratch != nil {
		c.scratch(r.Scratch, false)
	}
	if !c.x.Handles { // else they are there, and belong to root of the map
		for _, d := range r.Mkdirs {
			c.p.Call("make "+d.Path, unix.SYS_MKDIRAT, atFDCWD, d.Path, d.Mode).Allow(unix.EEXIST)
		}
	}
	switch r.Kind {
	case fuse.OverlayFS:
		if r.Dir != "" && !c.x.Handles {
			c.p.Call("enter the layers' directory", unix.SYS_CHDIR, r.Dir)
		}
		params := append([]fuse.Param{{Key: "source", Value: "overlay"}}, c.overlayParams(r)...)
		c.newFS("mount the overlay", r.FSType, params, uint64(r.Attrs))
		c.placeRoot("mount the overlay", dir)
		return
	case fuse.Bind, fuse.Copy:
		from, name := c.source(r.Source)
		c.openTree("bind the root "+r.Source, from, name, true)
		c.placeRoot("bind the root "+r.Source, dir)
		return
	case fuse.OverlayMount:
		c.p.Call("enter the layers' directory", unix.SYS_CHDIR, r.Dir)
		c.p.Call("mount the overlay", unix.SYS_MOUNT, "overlay", dir, r.FSType, r.Flags, r.Data)
	case fuse.FuseOverlayFS:
		c.fuseOverlay(r, dir)
		return
	default:
		c.fail(fmt.Errorf("a root of kind %q is unknown", r.Kind))
	}
	c.p.Call("open the root", unix.SYS_OPENAT, atFDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.root)
}

// overlayParams puts handles in the place of the directories' names.
func (c *child) overlayParams(r *fuse.Rootfs) []fuse.Param {
	if !c.x.Handles {
		return r.Params
	}
	out := slices.Clone(r.Params)
	for i, p := range out {
		if layerParam(p.Key) {
			out[i].Value = c.sourcePath(layerPath(r.Dir, p))
		}
	}
	return out
}

// scratch mounts a tmpfs for writes, and enters it where asked to.
func (c *child) scratch(t *fuse.Tmpfs, enter bool) {
	const label = "mount a tmpfs for writes"
	c.newFS(label, "tmpfs", parseMountOpts(strings.Split(t.Data, ",")).data, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	c.place(label, t.Target)
	if enter {
		c.p.Call(label, unix.SYS_FCHDIR, c.mount)
	}
	c.closeReg(c.mount)
}

// placeRoot attaches c.mount, the container's root, on dir, a directory of ours.
func (c *child) placeRoot(label, dir string) {
	c.privateRoot(label)
	c.place(label, dir)
	c.root, c.mount = c.mount, c.root
}

// place attaches c.mount on a directory of the host's view.
func (c *child) place(label, dir string) {
	if c.x.lacks.mounts {
		c.moveOnto(label, c.sourcePath(dir))
		c.attached()
		return
	}
	to, name := c.source(dir)
	c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", to, name, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	c.attached()
}

// fuseOverlay opens /dev/fuse, mounts, and hands the descriptor to the
// launcher, which starts the server; from then on whatever is asked of the
// root waits for it.
func (c *child) fuseOverlay(r *fuse.Rootfs, dir string) {
	f, dev := r.Fuse, c.p.NewReg()
	c.p.Call("open "+f.Device, unix.SYS_OPENAT, atFDCWD, f.Device, unix.O_RDWR|unix.O_CLOEXEC, 0).To(dev)
	c.p.Call("place "+f.Device, unix.SYS_DUP3, dev, f.FD, unix.O_CLOEXEC)
	o := parseMountOpts(append(strings.Split(f.MountData, ","), "nodev", "noatime"))
	c.newFS("mount fuse-overlayfs", "fuse", append(o.data, fuse.Param{Key: "source", Value: "fuse-overlayfs"}), o.set)
	c.placeRoot("mount fuse-overlayfs", dir)
	c.sendFD("hand the file system to the launcher", c.x.FuseSock.Fd(), dev)
	c.closeReg(dev)
	c.p.Call("close "+f.Device, unix.SYS_CLOSE, f.FD)
}
