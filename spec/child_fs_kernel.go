package spec

import (
	"slices"

	"coracle/fuse"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// standIn is a mount of the host's that is bound where the kernel does not let
// us mount a file system of its own: one that shows a namespace which belongs
// to another user namespace than ours.
type standIn struct {
	source   string
	of       uintptr // CLONE_NEW*
	joined   bool    // also for a namespace that is joined: the host's shows nothing that is not open to all
	readonly bool    // only where the mount is to be read-only: all of the host's below comes with it
}

// fits says whether the host's may stand in for a mount.
func (c *child) fits(in standIn, o *mountOpts) bool {
	if c.ns.fresh&in.of != 0 || c.ns.joined(in.of) && !in.joined {
		return false
	}
	// Options of the file system cannot be had on another's.
	return len(o.data) == 0 && (!in.readonly || (o.set|o.rset)&unix.MOUNT_ATTR_RDONLY != 0)
}

// kernelFS mounts one of the kernel's file systems. An image may not say where
// /proc is by a link (CVE-2019-19921).
func (c *child) kernelFS(label string, m *specs.Mount, o *mountOpts, in standIn) {
	attrs := o.set | o.rset
	t := target{label: label, dest: m.Destination}
	if m.Type != "mqueue" {
		t.resolve = unix.RESOLVE_NO_SYMLINKS
	}
	attached := c.p.NewSpot()
	if c.fits(in, o) {
		refused, done := c.p.NewSpot(), c.p.NewSpot()
		c.tryFS(label, m.Type, c.params(m, o), attrs, &catch{unix.EPERM, refused})
		c.p.Jump(done)
		c.p.Mark(refused)
		bind := label + ": bind the host's " + in.source
		// With all below it: in a user namespace the parts cannot be had alone.
		c.openTree(bind, atFDCWD, in.source, true)
		if c.x.lacks.setattr {
			c.setattr(bind, 0, 0, unix.MS_PRIVATE, true)
			c.setattr(bind, attrs, 0, 0, false)
			c.propagate(label, o)
			c.open(t)
			c.attach(label)
			c.changeBelow(bind, in.source, m.Destination, attrs, 0)
			c.p.Jump(attached)
		} else {
			c.setattr(bind, attrs, 0, unix.MS_PRIVATE, true)
		}
		c.p.Mark(done)
	} else {
		c.newFS(label, m.Type, c.params(m, o), attrs)
	}
	c.propagate(label, o)
	c.open(t)
	c.attach(label)
	c.p.Mark(attached)
}

// ttyGroup is the group tty of every distribution, and so of every bundle.
const ttyGroup = "5"

// devpts mounts the terminals. Where the user namespace has no group 5 they
// keep their makers' groups, as callers of runc do it for a single id.
func (c *child) devpts(label string, m *specs.Mount, o *mountOpts) {
	isTTY := func(p fuse.Param) bool { return p.Key == "gid" && p.Value == ttyGroup }
	params, attrs := c.params(m, o), o.set|o.rset
	without := slices.DeleteFunc(slices.Clone(params), isTTY)
	switch {
	case len(without) == len(params) || !mapped(c.s.Linux.GIDMappings, 5):
		c.newFS(label, m.Type, without, attrs)
	case len(c.s.Linux.GIDMappings) > 0:
		c.newFS(label, m.Type, params, attrs)
	default: // whose namespace it is we do not know here; the kernel does
		unmapped, done := c.p.NewSpot(), c.p.NewSpot()
		c.tryFS(label, m.Type, params, attrs, &catch{unix.EINVAL, unmapped})
		c.p.Jump(done)
		c.p.Mark(unmapped)
		c.newFS(label, m.Type, without, attrs)
		c.p.Mark(done)
	}
	c.propagate(label, o)
	c.open(target{label: label, dest: m.Destination})
	c.attach(label)
}

// cgroupFS mounts cgroup v2, for either type. With a cgroup namespace the mount
// shows the container's own cgroup only; without, the container's own directory
// is bound, so that it sees as much. Where the kernel refuses a mount (the
// namespace is another user namespace's) the host's stands in.
func (c *child) cgroupFS(label string, m *specs.Mount, o *mountOpts) {
	attrs := o.set | o.rset
	refused, done := c.p.NewSpot(), c.p.NewSpot()
	if c.ns.has(unix.CLONE_NEWCGROUP) || c.x.cgroupFD() < 0 {
		c.tryFS(label, "cgroup2", c.params(m, o), attrs, &catch{0, refused})
		c.p.Jump(done)
	}
	c.p.Mark(refused)
	if c.x.cgroupFD() >= 0 {
		label := label + ": bind " + c.x.Cgroup.Path()
		c.openTree(label, atFDCWD, c.x.Cgroup.Path(), false)
		c.setattr(label, attrs, 0, 0, false)
	} else {
		c.hostCgroup(label)
		c.setattr(label, attrs, 0, unix.MS_PRIVATE, !c.x.lacks.setattr)
	}
	c.p.Mark(done)
	c.propagate(label, o)
	c.open(target{label: label, dest: m.Destination})
	c.attach(label)
}

const cgroup2SuperMagic = 0x63677270

// hostCgroup leaves a clone of the host's mount of cgroup v2 in c.mount: at
// /sys/fs/cgroup, or below it where v1 is in use too.
func (c *child) hostCgroup(label string) {
	const unified, hybrid = "/sys/fs/cgroup", "/sys/fs/cgroup/unified"
	legacy, done := c.p.NewSpot(), c.p.NewSpot()
	buf := c.p.Bytes(make([]byte, 256))
	c.openTree(label+": bind "+unified, atFDCWD, unified, true)
	c.p.Call(label+": look at "+unified, unix.SYS_FSTATFS, c.mount, buf)
	c.p.NeedWord(label, buf, cgroup2SuperMagic, unix.EXDEV).Catch(unix.EXDEV, legacy)
	c.p.Jump(done)
	c.p.Mark(legacy)
	c.closeReg(c.mount)
	c.openTree(label+": bind "+hybrid, atFDCWD, hybrid, true)
	c.p.Mark(done)
}
