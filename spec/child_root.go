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
	if r.Locked {
		c.lockedRoot(r, dir)
		return
	}
	c.rootDirs(r)
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

// rootDirs makes the tmpfs and the directories that the root needs.
func (c *child) rootDirs(r *fuse.Rootfs) {
	if r.Scratch != nil {
		c.scratch(r.Scratch, false)
	}
	if c.x.Handles { // then they are there, and belong to root of the map
		return
	}
	for _, d := range r.Mkdirs {
		c.p.Call("make "+d.Path, unix.SYS_MKDIRAT, atFDCWD, d.Path, d.Mode).Allow(unix.EEXIST)
	}
	for _, f := range r.Files {
		c.newFile("write "+f.Path, f)
	}
}

func (c *child) newFile(label string, f fuse.NewFile) {
	written := c.p.NewReg()
	c.p.Call(label, unix.SYS_OPENAT, atFDCWD, f.Path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, f.Mode).To(c.tmp)
	if len(f.Data) > 0 {
		c.p.Call(label, unix.SYS_WRITE, c.tmp, c.p.Bytes(f.Data), uintptr(len(f.Data))).To(written)
		c.p.Need(label, written, uintptr(len(f.Data)), unix.ENOSPC)
	}
	c.closeReg(c.tmp)
}

// lockedRoot binds a root in which nothing may be changed, however many mounts it
// is made of. It is cloned before the scratch is there, which then is no part of it.
func (c *child) lockedRoot(r *fuse.Rootfs, dir string) {
	const locked = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID
	label := "bind the root " + r.Source + readonlySuffix
	from, name := c.source(r.Source)
	c.openTree(label, from, name, true)
	c.setattr(label, locked, 0, 0, !c.x.lacks.setattr)
	c.root, c.mount = c.mount, c.root
	waiting := c.waiting
	c.waiting = nil
	c.rootDirs(r)
	c.root, c.mount = c.mount, c.root
	c.waiting = waiting
	c.placeRoot(label, dir)
	if c.x.lacks.setattr {
		c.changeBelow(label, r.Source, "/", locked, 0)
	}
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
	if c.x.scratchSock != nil {
		c.sendFD("hand that tmpfs to the launcher", c.x.scratchSock.Fd(), c.mount)
	}
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
