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

// mountOpts is a mount's options, sorted by what they act on.
type mountOpts struct {
	set, clr      uint64 // MOUNT_ATTR_*, on the mount
	rset, rclr    uint64 // the same on it and all below it
	propagation   uint64 // MS_*
	rpropagation  bool
	bind, rbind   bool
	idmap, ridmap bool
	data          []fuse.Param // for the file system
}

// parseMountOpts reads options as runtime-spec config-linux.md#mounts lists
// them; what it does not know is for the file system.
func parseMountOpts(options []string) mountOpts {
	var o mountOpts
	for _, s := range options {
		switch {
		case o.attr(s, &o.set, &o.clr):
		case strings.HasPrefix(s, "r") && o.attr(s[1:], &o.rset, &o.rclr):
		case o.other(s):
		default:
			k, v, hasValue := strings.Cut(s, "=")
			o.data = append(o.data, fuse.Param{Key: k, Value: v, Flag: !hasValue})
		}
	}
	return o
}

// attr takes an option that is a mount attribute.
func (o *mountOpts) attr(s string, set, clr *uint64) bool {
	switch s {
	case "ro":
		*set |= unix.MOUNT_ATTR_RDONLY
	case "rw":
		*clr |= unix.MOUNT_ATTR_RDONLY
	case "nosuid":
		*set |= unix.MOUNT_ATTR_NOSUID
	case "suid":
		*clr |= unix.MOUNT_ATTR_NOSUID
	case "nodev":
		*set |= unix.MOUNT_ATTR_NODEV
	case "dev":
		*clr |= unix.MOUNT_ATTR_NODEV
	case "noexec":
		*set |= unix.MOUNT_ATTR_NOEXEC
	case "exec":
		*clr |= unix.MOUNT_ATTR_NOEXEC
	case "nodiratime":
		*set |= unix.MOUNT_ATTR_NODIRATIME
	case "diratime":
		*clr |= unix.MOUNT_ATTR_NODIRATIME
	case "nosymfollow":
		*set |= unix.MOUNT_ATTR_NOSYMFOLLOW
	case "symfollow":
		*clr |= unix.MOUNT_ATTR_NOSYMFOLLOW
	case "noatime":
		*set, *clr = *set|unix.MOUNT_ATTR_NOATIME, *clr|unix.MOUNT_ATTR__ATIME
	case "strictatime":
		*set, *clr = *set|unix.MOUNT_ATTR_STRICTATIME, *clr|unix.MOUNT_ATTR__ATIME
	case "relatime", "atime", "norelatime", "nostrictatime":
		*clr |= unix.MOUNT_ATTR__ATIME
	default:
		return false
	}
	return true
}

// other takes an option about the mount as a whole.
func (o *mountOpts) other(s string) bool {
	switch s {
	case "bind":
		o.bind = true
	case "rbind":
		o.rbind = true
	case "idmap":
		o.idmap = true
	case "ridmap":
		o.ridmap = true
	case "private", "rprivate":
		o.propagation = unix.MS_PRIVATE
	case "slave", "rslave":
		o.propagation = unix.MS_SLAVE
	case "shared", "rshared":
		o.propagation = unix.MS_SHARED
	case "unbindable", "runbindable":
		o.propagation = unix.MS_UNBINDABLE
	case "defaults", "":
		return true
	default:
		return false
	}
	o.rpropagation = o.rpropagation || s[0] == 'r' && o.propagation != 0 && s != "rbind" && s != "ridmap"
	return true
}

// mountOne appends the steps of one entry of mounts.
func (c *child) mountOne(m *specs.Mount) {
	o := parseMountOpts(m.Options)
	if o.bind || o.rbind || m.Type == "bind" {
		c.bindOne(m, o)
		return
	}
	label := fmt.Sprintf("mount %s on %s", m.Type, m.Destination)
	fstype, resolve := m.Type, uint64(0)
	switch fstype {
	case "proc", "sysfs":
		// An image may not say where /proc is by a link (CVE-2019-19921).
		resolve = unix.RESOLVE_NO_SYMLINKS
	case "cgroup":
		fstype = "cgroup2"
	}
	if fstype == "tmpfs" && slices.ContainsFunc(o.data, func(p fuse.Param) bool { return p.Key == "tmpcopyup" }) {
		c.fail(fmt.Errorf("%s: option tmpcopyup comes with the OCI runtime", label))
		return
	}
	params := o.data
	if m.Source != "" {
		params = append([]fuse.Param{{Key: "source", Value: m.Source}}, params...) // what mount(8) and df(1) show
	}
	c.newFS(label, fstype, params, o.set|o.rset)
	c.openTarget(label, m.Destination, true, resolve)
	c.attach(label)
}

// bindOne appends the steps of a bind mount.
func (c *child) bindOne(m *specs.Mount, o mountOpts) {
	label := fmt.Sprintf("bind %s on %s", m.Source, m.Destination)
	isDir := true
	if c.x.IsDir != nil {
		d, err := c.x.IsDir(m.Source)
		if err != nil {
			c.fail(fmt.Errorf("%s: %w", label, err))
			return
		}
		isDir = d
	}
	from, name := c.source(m.Source)
	c.openTree(label, from, name, !o.bind || o.rbind)
	c.restrict(label, o)
	c.openTarget(label, m.Destination, isDir, 0)
	c.attach(label)
}

// restrict changes the cloned tree in c.mount before anyone can see it.
func (c *child) restrict(label string, o mountOpts) {
	if o.idmap || o.ridmap {
		c.p.Call(label+": idmap", unix.SYS_OPENAT, atFDCWD, "/proc/self/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0).To(c.tmp)
		attr := c.p.Bytes(mountAttr(unix.MOUNT_ATTR_IDMAP, 0, 0))
		c.p.Poke(attr[24:], c.tmp)
		flags := uintptr(unix.AT_EMPTY_PATH)
		if o.ridmap {
			flags |= unix.AT_RECURSIVE
		}
		c.p.Call(label+": idmap", unix.SYS_MOUNT_SETATTR, c.mount, "", flags, attr, 32)
		c.closeReg(c.tmp)
	}
	if o.set|o.clr != 0 {
		c.setattr(label, o.set, o.clr, 0, false)
	}
	if o.rset|o.rclr != 0 {
		c.setattr(label, o.rset, o.rclr, 0, true)
	}
	prop := o.propagation
	if prop == 0 && c.slave {
		prop, o.rpropagation = unix.MS_PRIVATE, true
	}
	// Everything is private already unless some mount asked for slave.
	if prop != 0 && (prop != unix.MS_PRIVATE || c.slave) {
		c.setattr(label, 0, 0, prop, o.rpropagation)
	}
}

func (c *child) setattr(label string, set, clr, propagation uint64, recursive bool) {
	flags := uintptr(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	c.p.Call(label, unix.SYS_MOUNT_SETATTR, c.mount, "", flags, mountAttr(set, clr, propagation), 32)
}

// readonlyPaths remounts paths of the root read-only; a missing one is fine.
func (c *child) readonlyPaths() {
	for _, p := range c.s.Linux.ReadonlyPaths {
		label := "make " + p + " read-only"
		missing := c.p.NewSpot()
		c.inRoot(label, p, unix.O_PATH, 0, c.target).Catch(unix.ENOENT, missing)
		c.openTree(label, c.target, "", true)
		c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, true)
		c.attach(label)
		c.p.Mark(missing)
	}
}

// maskedPaths hides files behind the host's /dev/null (never the container's,
// which an image may have replaced: CVE-2025-31133) and directories behind an
// empty read-only tmpfs; a missing one is fine. The target is the descriptor
// that was resolved, so what is masked is what the path named.
func (c *child) maskedPaths() {
	c.empty = c.p.NewReg()
	for _, p := range c.s.Linux.MaskedPaths {
		label := "mask " + p
		missing, isDir, done := c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot()
		c.inRoot(label, p, unix.O_PATH, 0, c.target).Catch(unix.ENOENT, missing)
		c.openTree(label, atFDCWD, "/dev/null", false)
		c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", c.target, "",
			unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH).Catch(unix.EINVAL, isDir) // a file does not go on a directory
		c.closeReg(c.mount)
		c.closeReg(c.target)
		c.p.Jump(done)
		c.p.Mark(isDir)
		c.closeReg(c.mount)
		c.emptyDir(label)
		c.attach(label)
		c.p.Mark(missing)
		c.p.Mark(done)
	}
}

// emptyDir leaves a mount of an empty read-only directory in c.mount: the first
// time that of a new tmpfs, which is kept, later a clone of it.
func (c *child) emptyDir(label string) {
	clone, done := c.p.NewSpot(), c.p.NewSpot()
	c.p.Need(label, c.empty, 0, unix.EEXIST).Catch(unix.EEXIST, clone)
	c.newFS(label, "tmpfs", []fuse.Param{{Key: "mode", Value: "0755"}, {Key: "nr_inodes", Value: "2"}, {Key: "size", Value: "4096"}},
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	c.p.Call(label, unix.SYS_FCNTL, c.mount, unix.F_DUPFD_CLOEXEC, 3).To(c.empty)
	c.p.Jump(done)
	c.p.Mark(clone)
	c.openTree(label, c.empty, "", false)
	c.p.Mark(done)
}

// devices makes what runtime-spec config-linux.md#default-devices lists, where
// /dev is a tmpfs of the container's own. Nodes cannot be made in a user
// namespace: each is the host's, bound onto an empty file.
func (c *child) devices() {
	own := slices.ContainsFunc(c.s.Mounts, func(m specs.Mount) bool {
		return path.Clean(m.Destination) == "/dev" && m.Type == "tmpfs"
	})
	if own {
		dev := c.p.NewReg()
		c.inRoot("open /dev", "dev", unix.O_PATH|unix.O_DIRECTORY, 0, dev)
		for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
			label := "bind /dev/" + name
			c.p.Call(label, unix.SYS_MKNODAT, dev, name, unix.S_IFREG|0o666, 0).Allow(unix.EEXIST)
			c.openTree(label, atFDCWD, "/dev/"+name, false)
			c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", dev, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
			c.closeReg(c.mount)
		}
		for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
			c.p.Call("link /dev/"+l[0], unix.SYS_SYMLINKAT, l[1], dev, l[0]).Allow(unix.EEXIST)
		}
		c.closeReg(dev)
	}
	for _, d := range c.s.Linux.Devices {
		label := "bind " + d.Path
		c.openTree(label, atFDCWD, d.Path, false)
		c.openTarget(label, d.Path, false, 0)
		c.attach(label)
	}
}
