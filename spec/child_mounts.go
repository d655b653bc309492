package spec

import (
	"fmt"

	"coracle/fuse"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func isBind(m *specs.Mount, o *mountOpts) bool { return o.bind || o.rbind || m.Type == "bind" }

// mountOne appends the steps of one entry of mounts (runtime-spec v1.3.0
// config.md#mounts).
func (c *child) mountOne(i int) {
	m := &c.s.Mounts[i]
	o := parseMountOpts(m.Options)
	if err := o.check(isBind(m, &o), m.Type); err != nil {
		c.fail(fmt.Errorf("mounts[%d].options: %s: %w", i, m.Destination, err))
		return
	}
	if fromRoot(m.Destination) == "/" && !o.remount {
		c.fail(fmt.Errorf("mounts[%d].destination: %q is the root itself", i, m.Destination))
		return
	}
	defer c.mountsOn(m.Destination)
	switch {
	case o.remount:
		c.remountOne(m, &o)
	case isBind(m, &o):
		c.bindOne(i, m, &o)
	default:
		c.fsOne(i, m, &o)
	}
}

// bindOne appends the steps of a bind mount.
func (c *child) bindOne(i int, m *specs.Mount, o *mountOpts) {
	label := fmt.Sprintf("bind %s on %s", m.Source, m.Destination)
	if f := c.x.Trees[m.Destination]; f != nil {
		c.p.Call(label, unix.SYS_FCNTL, f.Fd(), unix.F_DUPFD_CLOEXEC, 3).To(c.mount)
	} else if fd, ok := c.cloned[i]; ok {
		c.p.Call(label, unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 3).To(c.mount)
	} else if o.idmap || o.ridmap {
		c.idmapped(i, label)
	} else {
		from, name := c.source(c.x.hostPath(m.Source))
		c.openTree(label, from, name, !o.bind || o.rbind)
	}
	c.restrict(label, o)
	c.open(target{label: label, dest: m.Destination, kind: likeMount})
	c.attach(label)
	if o.rset|o.rclr != 0 && c.x.lacks.setattr {
		c.changeBelow(label, m.Source, m.Destination, o.rset, o.rclr)
	}
}

// restrict changes the cloned tree in c.mount before anyone can see it.
func (c *child) restrict(label string, o *mountOpts) {
	set, clr := o.set, o.clr
	if clr&unix.MOUNT_ATTR__ATIME != 0 && !c.x.lacks.setattr {
		// In a user namespace the kernel keeps how the host's own mount tells
		// access times. That is a wish and no restriction: crun drops it too.
		c.setattrCall(c.mount, label, set&unix.MOUNT_ATTR__ATIME, unix.MOUNT_ATTR__ATIME, 0, false).Allow(unix.EPERM)
		set, clr = set&^unix.MOUNT_ATTR__ATIME, clr&^unix.MOUNT_ATTR__ATIME
	}
	if set|clr != 0 {
		c.setattr(label, set, clr, 0, false)
	}
	if o.rset|o.rclr != 0 {
		c.setattr(label, o.rset, o.rclr, 0, !c.x.lacks.setattr) // else see changeBelow
	}
	c.propagate(label, o)
}

// propagate gives c.mount its propagation; private is the default.
func (c *child) propagate(label string, o *mountOpts) {
	prop, recursive := o.propagation, o.rpropagation
	if prop == 0 {
		prop, recursive = unix.MS_PRIVATE, true
	}
	if c.propagates(o) {
		c.setattr(label, 0, 0, prop, recursive)
	}
}

// propagates says whether a mount's propagation has to be set: everything is
// private already unless something asked for another.
func (c *child) propagates(o *mountOpts) bool {
	return c.propagated || o.propagation != 0 && o.propagation != unix.MS_PRIVATE
}

// remountOne changes a mount that is there: with bind only that mount, else its
// file system too, as mount(8) does.
func (c *child) remountOne(m *specs.Mount, o *mountOpts) {
	label := "remount " + m.Destination
	c.inRoot(label, m.Destination, unix.O_PATH, 0, c.target)
	if !o.bind && !o.rbind {
		params := append(append([]fuse.Param{}, o.flags...), o.data...)
		switch {
		case o.set&unix.MOUNT_ATTR_RDONLY != 0:
			params = append(params, fuse.Param{Key: "ro", Flag: true})
		case o.clr&unix.MOUNT_ATTR_RDONLY != 0:
			params = append(params, fuse.Param{Key: "rw", Flag: true})
		}
		switch {
		case len(params) == 0:
		case c.x.lacks.mounts:
			c.remountFS(label, c.target, params, o.set, o.clr)
		default:
			c.p.Call(label, unix.SYS_FSPICK, c.target, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH).To(c.tmp)
			c.configure(label, params, nil)
			c.p.Call(label, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_CMD_RECONFIGURE, 0, 0, 0)
			c.closeReg(c.tmp)
		}
	}
	if o.set|o.clr != 0 {
		c.setattrOf(c.target, label, o.set, o.clr, 0, false)
	}
	if o.rset|o.rclr != 0 {
		c.setattrOf(c.target, label, o.rset, o.rclr, 0, true)
	}
	if o.propagation != 0 {
		c.setattrOf(c.target, label, 0, 0, o.propagation, o.rpropagation)
	}
	c.closeReg(c.target)
}
