package spec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"coracle/fuse"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tmpfs mounts memory. Without a mode of its own it has the mode of the
// directory that it hides, as with runc.
func (c *child) tmpfs(label string, m *specs.Mount, o *mountOpts) {
	if c.plainTmpfs(o) {
		c.mountTmpfs(label, m, o)
		return
	}
	attrs := o.set | o.rset
	t := target{label: label, dest: m.Destination, found: func() {
		if !ownMode(o) {
			c.inheritMode(label)
		}
		if o.copyUp {
			c.copyUpStep(label, o)
		}
	}}
	c.newFS(label, "tmpfs", c.params(m, o), attrs&^unix.MOUNT_ATTR_RDONLY)
	c.open(t)
	switch {
	case attrs&unix.MOUNT_ATTR_RDONLY == 0:
	case path.Clean("/"+m.Destination) == "/dev":
		c.readonlyDev = true // once the nodes are there
	default:
		c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, false)
	}
	c.propagate(label, o)
	c.attach(label)
}

func ownMode(o *mountOpts) bool {
	return slices.ContainsFunc(o.data, func(p fuse.Param) bool { return p.Key == "mode" })
}

// inheritMode gives the tmpfs in c.mount the mode of c.target.
func (c *child) inheritMode(label string) {
	c.p.Peek(c.targetMode(label), c.tmp)
	c.p.Call(label+": set the mode", unix.SYS_FCHMODAT, c.mount, ".", c.tmp)
}

// targetMode reads the mode of c.target.
func (c *child) targetMode(label string) []byte {
	if c.stat == nil {
		c.stat = c.p.Bytes(make([]byte, statSize))
	}
	c.p.Call(label+": look at the target", unix.SYS_FSTAT, c.target, c.stat)
	return c.stat[statMode:]
}

// plainTmpfs says whether a tmpfs is one that mount(2) makes just as well. A
// bundle may have hundreds, and the way by descriptors, which holds a mount
// before it is anywhere, takes twice as many calls.
func (c *child) plainTmpfs(o *mountOpts) bool {
	switch attrs := o.set | o.rset; {
	case c.joined, c.x.lacks.mounts, c.propagates(o):
	case o.copyUp, len(o.flags) > 0, attrs&unix.MOUNT_ATTR_RDONLY != 0: // the mount would be, and the file system, too
	case c.s.Linux.MountLabel != "": // has commas
	default:
		return !slices.ContainsFunc(o.data, func(p fuse.Param) bool { return strings.ContainsRune(p.Value, ',') || len(p.Value) > maxParam })
	}
	return false
}

// mountTmpfs mounts a plain one on a descriptor, as the working directory: a
// path would be walked again. Whatever is refused there is tried once more by
// descriptors: that tells which option is wrong, and needs no permission to
// enter the directory that is to be hidden.
func (c *child) mountTmpfs(label string, m *specs.Mount, o *mountOpts) {
	params := c.params(m, o)
	how, err := classicOptions("none", params, o.set|o.rset) // the name of one without source
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", label, err))
	}
	var mode []byte // the digits, at the end of data
	t, data := target{label: label, dest: m.Destination}, any(how.data)
	if !ownMode(o) {
		// The default of a tmpfs, for a directory that has yet to be made.
		options := strings.TrimPrefix(how.data+",mode=1777\x00", ",")
		b := c.p.Bytes([]byte(options))
		mode, data = b[len(options)-len("1777\x00"):], b
		t.found = func() {
			c.p.Octal(mode, c.targetMode(label))
		}
	}
	refused, mounted := c.p.NewSpot(), c.p.NewSpot()
	c.open(t)
	c.p.Call(label, unix.SYS_FCHDIR, c.target).Catch(0, refused)
	c.p.Call(label, unix.SYS_MOUNT, how.source, ".", m.Type, how.flags, data).Catch(0, refused)
	c.p.Jump(mounted)
	c.p.Mark(refused)
	c.beginFS(label, m.Type, params, nil)
	if mode != nil {
		c.p.Call(label, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_SET_STRING, "mode", mode, 0)
	}
	c.endFS(label, o.set|o.rset, nil)
	c.move(label)
	c.closeReg(c.mount)
	c.p.Mark(mounted)
	c.closeReg(c.target)
}
