package spec

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"syscall"

	"coracle/fuse"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fsOne appends the steps of a mount of a new file system.
func (c *child) fsOne(i int, m *specs.Mount, o *mountOpts) {
	if err := c.idsMapped(m, o); err != nil {
		c.fail(fmt.Errorf("mounts[%d].options: %s: %w", i, m.Destination, err))
		return
	}
	label := fmt.Sprintf("mount %s on %s", m.Type, m.Destination)
	switch m.Type {
	case "proc":
		c.kernelFS(label, m, o, standIn{source: "/proc", of: unix.CLONE_NEWPID})
	case "sysfs":
		c.kernelFS(label, m, o, standIn{source: "/sys", of: unix.CLONE_NEWNET, joined: true, readonly: true})
	case "mqueue":
		c.kernelFS(label, m, o, standIn{source: "/dev/mqueue", of: unix.CLONE_NEWIPC})
	case "devpts":
		c.devpts(label, m, o)
	case "cgroup", "cgroup2":
		c.cgroupFS(label, m, o)
	case "tmpfs":
		c.tmpfs(label, m, o)
	default:
		c.otherFS(label, m, o)
	}
}

// otherFS mounts what needs no special care.
func (c *child) otherFS(label string, m *specs.Mount, o *mountOpts) {
	params := c.params(m, o)
	if slices.ContainsFunc(params, func(p fuse.Param) bool { return len(p.Value) > maxParam }) {
		c.classicFS(label, m, o)
		return
	}
	c.newFS(label, m.Type, params, o.set|o.rset)
	c.propagate(label, o)
	c.open(target{label: label, dest: m.Destination})
	c.attach(label)
}

// params are the parameters of a new file system.
func (c *child) params(m *specs.Mount, o *mountOpts) []fuse.Param {
	params := make([]fuse.Param, 0, 3+len(o.flags)+len(o.data))
	if m.Source != "" {
		params = append(params, fuse.Param{Key: "source", Value: m.Source}) // what mount(8) and df(1) show
	}
	if o.set&unix.MOUNT_ATTR_RDONLY != 0 && path.IsAbs(m.Source) {
		params = append(params, fuse.Param{Key: "ro", Flag: true}) // a disk's journal is written to otherwise
	}
	params = append(append(params, o.flags...), o.data...)
	if l := c.s.Linux.MountLabel; l != "" && labelled(m.Type) {
		params = append(params, fuse.Param{Key: "context", Value: l})
	}
	return params
}

// labelled says whether linux.mountLabel is for a file system of that type:
// those of the kernel have labels of their own, as for runc.
func labelled(fstype string) bool {
	switch fstype {
	case "proc", "sysfs", "mqueue", "cgroup", "cgroup2":
		return false
	}
	return true
}

// idsMapped says which owner a file system cannot have, where the container's
// map is known: the kernel's EINVAL would not. For devpts' gid=5 see there.
func (c *child) idsMapped(m *specs.Mount, o *mountOpts) error {
	for _, p := range o.data {
		ids := c.s.Linux.UIDMappings
		switch {
		case p.Key == "gid" && m.Type == "devpts" && p.Value == ttyGroup:
			continue
		case p.Key == "gid":
			ids = c.s.Linux.GIDMappings
		case p.Key != "uid":
			continue
		}
		if id, err := strconv.ParseUint(p.Value, 10, 32); err == nil && !mapped(ids, uint32(id)) {
			return fmt.Errorf("%s=%s: the container's user namespace has no such id (linux.%sMappings)", p.Key, p.Value, p.Key)
		}
	}
	return nil
}

// catch goes on elsewhere when the kernel answers errno (0: any error).
type catch struct {
	errno syscall.Errno
	at    userns.Spot
}

func (k *catch) on(s userns.Step) userns.Step {
	if k == nil {
		return s
	}
	return s.Catch(k.errno, k.at)
}

// newFS makes a file system of its own and leaves its mount in c.mount.
func (c *child) newFS(label, fstype string, params []fuse.Param, attrs uint64) {
	c.tryFS(label, fstype, params, attrs, nil)
}

// tryFS is newFS with a way out; what it has opened by then stays open until
// the exec.
func (c *child) tryFS(label, fstype string, params []fuse.Param, attrs uint64, k *catch) {
	if c.x.lacks.mounts {
		c.stageFS(label, fstype, params, attrs, k)
		return
	}
	c.beginFS(label, fstype, params, k)
	c.endFS(label, attrs, k)
}

// beginFS leaves a file system that is to be made in c.tmp, endFS its mount in
// c.mount.
func (c *child) beginFS(label, fstype string, params []fuse.Param, k *catch) {
	k.on(c.p.Call(label, unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC)).To(c.tmp)
	c.configure(label, params, k)
}

func (c *child) endFS(label string, attrs uint64, k *catch) {
	k.on(c.p.Call(label, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_CMD_CREATE, 0, 0, 0))
	k.on(c.p.Call(label, unix.SYS_FSMOUNT, c.tmp, unix.FSMOUNT_CLOEXEC, attrs)).To(c.mount)
	c.closeReg(c.tmp)
}

// configure gives the file system that is being made, in c.tmp, its parameters.
func (c *child) configure(label string, params []fuse.Param, k *catch) {
	for _, o := range params {
		if !o.Flag {
			k.on(c.p.Call(label+": option "+o.Key+"="+o.Value, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_SET_STRING, o.Key, o.Value, 0))
			continue
		}
		s := k.on(c.p.Call(label+": option "+o.Key, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_SET_FLAG, o.Key, 0, 0))
		if o.Key == iVersion {
			s.Allow(unix.EINVAL) // a file system without a choice
		}
	}
}

// maxParam is the longest value that fsconfig(2) takes.
const maxParam = 255

// classicFS mounts with mount(2), which takes all options in one string of up
// to a page.
func (c *child) classicFS(label string, m *specs.Mount, o *mountOpts) {
	how, err := classicOptions(m.Type, c.params(m, o), o.set|o.rset)
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", label, err))
	}
	if c.joined {
		c.fail(fmt.Errorf("%s: an option has more than %d bytes: those cannot be mounted beside the container's processes", label, maxParam))
	}
	c.open(target{label: label, dest: m.Destination})
	c.p.Call(label, unix.SYS_FCHDIR, c.target)
	c.p.Call(label, unix.SYS_MOUNT, how.source, ".", m.Type, how.flags, how.data)
	c.closeReg(c.target)
	if o.propagation != 0 && o.propagation != unix.MS_PRIVATE {
		c.inRoot(label, m.Destination, unix.O_PATH, 0, c.target)
		c.setattrOf(c.target, label, 0, 0, o.propagation, o.rpropagation)
		c.closeReg(c.target)
	}
}

// mountFlags are mount attributes as mount(2) calls them.
func mountFlags(attrs uint64) (flags uintptr) {
	for _, f := range [][2]uint64{
		{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID}, {unix.MOUNT_ATTR_NODEV, unix.MS_NODEV},
		{unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC}, {unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME}, {unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW},
	} {
		if attrs&f[0] != 0 {
			flags |= uintptr(f[1])
		}
	}
	switch attrs & unix.MOUNT_ATTR__ATIME {
	case unix.MOUNT_ATTR_NOATIME:
		flags |= unix.MS_NOATIME
	case unix.MOUNT_ATTR_STRICTATIME:
		flags |= unix.MS_STRICTATIME
	}
	return flags
}

// superblockFlag is mount(2)'s flag for an option that fsconfig(2) takes for
// every file system; 0: none, or the lack of one.
func superblockFlag(option string) uintptr {
	switch option {
	case "ro":
		return unix.MS_RDONLY
	case "sync":
		return unix.MS_SYNCHRONOUS
	case "dirsync":
		return unix.MS_DIRSYNC
	case "lazytime":
		return unix.MS_LAZYTIME
	case "mand":
		return unix.MS_MANDLOCK
	case iVersion:
		return unix.MS_I_VERSION
	}
	return 0
}
