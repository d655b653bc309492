package spec

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// propagation cuts the new mount namespace off, so that nothing mounted here
// is seen outside; where a mount or the root asks for it, the host's later
// mounts still come in. Only linux.rootfsPropagation=shared lets volumes be
// shared with the host, both ways, and in a user namespace not even that: there
// the kernel has cut the way out.
func (c *child) propagation() {
	if c.hostMounts {
		return
	}
	root, _ := propagationFlag(c.s.Linux.RootfsPropagation)
	c.propagated = root == unix.MS_SLAVE || root == unix.MS_SHARED
	for _, m := range c.s.Mounts {
		for _, o := range m.Options {
			how, _ := propagationFlag(o)
			c.propagated = c.propagated || how == unix.MS_SLAVE || how == unix.MS_SHARED
		}
	}
	c.sharing = root == unix.MS_SHARED && !c.userns
	switch {
	case c.sharing:
		c.privateParent(c.x.hostPath(c.s.Root.Path))
		if r := c.x.Root; r != nil && r.Scratch != nil {
			c.privateParent(r.Scratch.Target)
		}
	case c.propagated:
		c.p.Call("make all mounts slave", unix.SYS_MOUNT, 0, "/", 0, uintptr(unix.MS_REC|unix.MS_SLAVE), 0)
	default:
		c.p.Call("make all mounts private", unix.SYS_MOUNT, 0, "/", 0, uintptr(unix.MS_REC|unix.MS_PRIVATE), 0)
	}
}

// privateParent makes the mount that holds dir private: what we mount there
// would be seen outside, and pivot_root(2) refuses it. Its mount point is the
// first of dir's parents where the kernel agrees.
func (c *child) privateParent(dir string) {
	done := c.p.NewSpot()
	for {
		label := "make the mount that holds " + dir + " private"
		if dir == "/" {
			c.p.Call(label, unix.SYS_MOUNT, 0, dir, 0, uintptr(unix.MS_PRIVATE), 0)
			break
		}
		up := c.p.NewSpot()
		c.p.Call(label, unix.SYS_MOUNT, 0, dir, 0, uintptr(unix.MS_PRIVATE), 0).Catch(unix.EINVAL, up)
		c.p.Jump(done)
		c.p.Mark(up)
		dir = path.Dir(dir)
	}
	c.p.Mark(done)
}

// privateRoot cuts the root's own mount, in c.mount, off from the host's unless
// it is to be a slave of it.
func (c *child) privateRoot(label string) {
	how, _ := propagationFlag(c.s.Linux.RootfsPropagation)
	if c.hostMounts || c.propagated && how != unix.MS_SLAVE {
		c.setattr(label, 0, 0, unix.MS_PRIVATE, true)
	}
}

// pivot makes the root the root, and leaves nothing of the old one behind:
// both names of it are the same directory, and the old one lies on top.
func (c *child) pivot() {
	switch {
	case c.hostMounts:
		c.changeRoot()
	case c.x.NoPivot:
		c.moveRoot()
	default:
		c.pivotRoot()
	}
	if ro := (changed{label: "make the root read-only", set: unix.MOUNT_ATTR_RDONLY}); c.s.Root.Readonly && c.x.lacks.setattr {
		c.remount(ro, "/", c.root) // the host's /proc is gone
	} else if c.s.Root.Readonly {
		c.setattrOf(c.root, "make the root read-only", unix.MOUNT_ATTR_RDONLY, 0, 0, false)
	}
	if how, recursive := propagationFlag(c.s.Linux.RootfsPropagation); how != 0 && how != unix.MS_PRIVATE {
		if recursive {
			how |= unix.MS_REC
		}
		c.p.Call("make the root "+c.s.Linux.RootfsPropagation, unix.SYS_MOUNT, 0, "/", 0, how, 0)
	}
}

// changeRoot enters the root in the caller's own mount namespace, which keeps
// its root. It holds as chroot(2) does: not against one who has CAP_SYS_CHROOT.
func (c *child) changeRoot() {
	c.p.Call("enter the root", unix.SYS_FCHDIR, c.root)
	c.p.Call("enter the root", unix.SYS_CHROOT, ".")
}

func (c *child) pivotRoot() {
	if c.sharing {
		c.p.Call("open the old root", unix.SYS_OPENAT, atFDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.dir)
	}
	c.p.Call("enter the root", unix.SYS_FCHDIR, c.root)
	c.p.Call("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
	if c.sharing {
		// Else the host's mounts would go with ours.
		c.p.Call("enter the old root", unix.SYS_FCHDIR, c.dir)
		c.p.Call("make the old root a slave", unix.SYS_MOUNT, 0, ".", 0, uintptr(unix.MS_SLAVE|unix.MS_REC), 0)
		c.closeReg(c.dir)
	}
	c.p.Call("detach the old root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	c.p.Call("enter the root", unix.SYS_CHDIR, "/")
	c.checkRoot()
}

// checkRoot fails when anything lies on the root: it would be met at its "..".
func (c *child) checkRoot() {
	const label = "look for remains of the old root"
	if c.x.lacks.mountID {
		c.p.Call(label, unix.SYS_OPENAT, atFDCWD, "/..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.tmp)
		c.sameMount(label, c.root, c.tmp, unix.EBUSY)
		c.closeReg(c.tmp)
		return
	}
	root, above := c.p.Bytes(make([]byte, statxSize)), c.p.Bytes(make([]byte, statxSize))
	c.p.Same(label, c.mountID(label, c.root, "", root), c.mountID(label, atFDCWD, "/..", above), unix.EBUSY)
}

// moveRoot puts the root on the old one and enters it, for a host whose root
// cannot be pivoted (an initramfs). The old one stays below; without its /proc
// and /sys, which a mount in the container could take for leave to mount them
// unmasked.
func (c *child) moveRoot() {
	if c.userns {
		c.fail(fmt.Errorf("--no-pivot: a user namespace cannot unmount the host's /proc and /sys, which would stay within reach below the root: leave it out"))
		return
	}
	for _, dir := range []string{"/proc", "/sys"} {
		label := "detach the host's " + dir
		c.p.Call(label, unix.SYS_MOUNT, 0, dir, 0, uintptr(unix.MS_SLAVE|unix.MS_REC), 0).Allow(unix.EINVAL)
		c.p.Call(label, unix.SYS_UMOUNT2, dir, unix.MNT_DETACH).Allow(unix.EINVAL) // no mount, so nothing to take
	}
	c.p.Call("enter the root", unix.SYS_FCHDIR, c.root)
	if c.x.lacks.mounts {
		c.p.Call("move the root to /", unix.SYS_MOUNT, ".", "/", 0, unix.MS_MOVE, 0)
	} else {
		c.p.Call("move the root to /", unix.SYS_MOVE_MOUNT, c.root, "", atFDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	c.p.Call("enter the root", unix.SYS_CHROOT, ".")
	c.p.Call("enter the root", unix.SYS_CHDIR, "/")
}
