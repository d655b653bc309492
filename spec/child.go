package spec

import (
	"encoding/binary"
	"os"
	"path"
	"strings"

	"coracle/fuse"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Extra is what a container is made of besides its config.json: the pieces
// that only the caller has.
type Extra struct {
	// Root says how root.path comes about; nil uses the directory as it is.
	Root *fuse.Rootfs
	// FuseSock is the socket on which the child sends the file system of a
	// fuse-overlayfs root.
	FuseSock *os.File
	FuseLog  *os.File // takes what its server has to say; nil: nobody

	Stub *os.File // userns.OpenStub
	Init bool     // the stub stays as a small pid 1

	// Stdio become descriptors 0-2; nil entries are left alone. Ignored with
	// a terminal.
	Stdio [3]*os.File
	// Console is the socket on which the child sends the terminal's master.
	Console *os.File
	// Preserve is the number of descriptors from 3 on that the payload keeps.
	Preserve uint

	ProcessExtra

	// Seccomp is the compiled filter, empty for none.
	Seccomp      []unix.SockFilter
	SeccompFlags uint

	// Resolve maps a destination to where it is once the root's symbolic links
	// are followed, as far as it exists; nil: as written.
	Resolve func(dest string) string
	// Compiled, if set, is called when Resolve is not needed any more and no
	// process has been made yet: the time to close what it reads from.
	Compiled func()
	// IsDir says whether a bind's source is a directory.
	IsDir func(source string) (bool, error)

	// Handles opens sources and the root's directories before the child becomes
	// root of its namespace: where the caller is not in the id map, that root
	// cannot pass directories that only the caller may. Upper and work exist.
	Handles    bool
	handleBase int

	// Directories are made inside the root where they are missing.
	Directories []string

	// Cgroup is the directory that the child is born in; nil: the caller's.
	Cgroup *os.File
	// Created makes the payload wait to be started; nil starts it at once.
	Created *userns.Created
	// Hooks makes the child wait before it enters its root.
	Hooks bool

	namespaces *namespaces // nil: planned by Compile, and nothing is joined
}

// child builds the program that the container's first process carries out.
type child struct {
	p *userns.Program
	s *specs.Spec
	x *Extra

	// Registers: the root, the target of the mount at hand, the mount itself,
	// a directory, and one for whatever is short-lived.
	root, target, mount, dir, tmp, cwd, empty userns.Reg

	proc   userns.Reg // the host's /proc, see hostProc
	notify userns.Reg // the socket that takes a seccomp listener
	userns bool       // the process is root of a user namespace of its own
	ns     *namespaces
	flags  uintptr // that clone(2) gets

	slave   bool           // a mount wants to receive the host's later mounts
	handles map[string]int // descriptor numbers, see openHandles
	err     error
}

// Compile turns a validated configuration into the program of its first
// process, and the namespaces to clone it into. It touches nothing.
func Compile(s *specs.Spec, x *Extra) (*userns.Program, uintptr, error) {
	if x.namespaces == nil {
		n, err := planNamespaces(s)
		if err != nil {
			return nil, 0, err
		}
		x.namespaces = &n
	}
	flags := x.namespaces.cloneFlags(x.Cgroup != nil)
	c := &child{p: &userns.Program{}, s: s, x: x, ns: x.namespaces, flags: flags, userns: inUserNamespace(s)}
	c.root, c.target, c.mount = c.p.NewReg(), c.p.NewReg(), c.p.NewReg()
	c.dir, c.tmp = c.p.NewReg(), c.p.NewReg()

	c.hostProc()
	c.openHandles()
	c.enter()
	c.propagation()
	c.rootfs()
	c.hostnames()
	c.loopback()
	for i := range s.Mounts {
		c.mountOne(&s.Mounts[i])
	}
	for _, d := range x.Directories {
		c.openTarget("make "+d, d, true, 0)
		c.closeReg(c.target)
	}
	c.devices()
	c.console()
	c.sysctls()
	c.readonlyPaths()
	c.maskedPaths()
	c.workdir()
	if x.Hooks {
		c.p.Report("wait for hooks", reportMounts)
		c.p.AwaitLauncher()
	}
	c.pivot()
	c.process()
	if c.err != nil {
		return nil, 0, c.err
	}
	return c.p, flags, c.p.Err()
}

func (c *child) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// propagation cuts the new mount namespace off, so that nothing mounted here
// is seen outside; where a mount asks for it, the host's later mounts still
// come in.
func (c *child) propagation() {
	for _, m := range c.s.Mounts {
		for _, o := range m.Options {
			switch o {
			case "slave", "rslave", "shared", "rshared":
				c.slave = true
			}
		}
	}
	how, flag := "private", uintptr(unix.MS_PRIVATE)
	if c.slave {
		how, flag = "slave", unix.MS_SLAVE
	}
	c.p.Call("make all mounts "+how, unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|flag, 0)
}

const atFDCWD = ^uintptr(99) // AT_FDCWD

// openHow lays out struct open_how.
func (c *child) openHow(flags, mode, resolve uint64) []byte {
	b := make([]byte, 24)
	binary.NativeEndian.PutUint64(b, flags)
	binary.NativeEndian.PutUint64(b[8:], mode)
	binary.NativeEndian.PutUint64(b[16:], resolve)
	return b
}

// mountAttr lays out struct mount_attr.
func mountAttr(set, clr, propagation uint64) []byte {
	b := make([]byte, 32)
	binary.NativeEndian.PutUint64(b, set)
	binary.NativeEndian.PutUint64(b[8:], clr)
	binary.NativeEndian.PutUint64(b[16:], propagation)
	return b
}

// inRoot resolves below the root as if it were "/" already: no link leads out
// (openat2(2) RESOLVE_IN_ROOT; it follows no magic links either).
func (c *child) inRoot(label, name string, flags, resolve uint64, to userns.Reg) userns.Step {
	return c.openat2(c.root, label, name, flags, unix.RESOLVE_IN_ROOT|resolve, to)
}

func (c *child) openat2(dir userns.Reg, label, name string, flags, resolve uint64, to userns.Reg) userns.Step {
	how := c.openHow(flags|unix.O_CLOEXEC, 0, unix.RESOLVE_NO_MAGICLINKS|resolve)
	return c.p.Call(label, unix.SYS_OPENAT2, dir, strings.TrimPrefix(name, "/")+dotIfEmpty(name), how, uintptr(len(how))).To(to)
}

func dotIfEmpty(name string) string {
	if strings.Trim(name, "/") == "" {
		return "."
	}
	return ""
}

// openTarget opens where something is to be mounted, and makes it first where
// it is missing: directories, and for a file an empty file.
func (c *child) openTarget(label, dest string, isDir bool, resolve uint64) {
	dest = path.Clean("/" + dest)
	inProc := strings.HasPrefix(dest+"/", "/proc/") // as it was asked for, not where links lead
	if c.x.Resolve != nil && resolve&unix.RESOLVE_NO_SYMLINKS == 0 {
		dest = path.Clean("/" + c.x.Resolve(dest))
	}
	missing, there := c.p.NewSpot(), c.p.NewSpot()
	c.inRoot(label+": open the target", dest, unix.O_PATH, resolve, c.target).Catch(unix.ENOENT, missing)
	c.p.Jump(there)
	c.p.Mark(missing)
	parts := strings.Split(strings.Trim(dest, "/"), "/")
	parent := c.root
	for i, name := range parts {
		if i == len(parts)-1 && !isDir {
			c.p.Call(label+": make the target", unix.SYS_MKNODAT, parent, name, unix.S_IFREG|0o644, 0).Allow(unix.EEXIST)
		} else {
			c.p.Call(label+": make the target", unix.SYS_MKDIRAT, parent, name, 0o755).Allow(unix.EEXIST)
		}
		if i < len(parts)-1 {
			c.inRoot(label+": open the target's parent", strings.Join(parts[:i+1], "/"), unix.O_PATH|unix.O_DIRECTORY, resolve, c.dir)
			parent = c.dir
		}
	}
	c.inRoot(label+": open the target", dest, unix.O_PATH, resolve, c.target)
	c.p.Mark(there)
	if !inProc {
		c.refuseProc(label)
	}
}

const procSuperMagic = 0x9fa0

// refuseProc stops a mount that an image's links have led into procfs: there
// it could hide what the kernel or an LSM says of a process (CVE-2019-19921,
// CVE-2025-52881).
func (c *child) refuseProc(label string) {
	buf := c.p.Bytes(make([]byte, 256)) // struct statfs; f_type comes first
	c.p.Call(label+": look at the target", unix.SYS_FSTATFS, c.target, buf)
	c.p.RefuseWord(label+": the image's links lead into /proc", buf, procSuperMagic, unix.EXDEV)
}

// attach puts c.mount on c.target and forgets both.
func (c *child) attach(label string) userns.Step {
	s := c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", c.target, "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	c.closeReg(c.mount)
	c.closeReg(c.target)
	return s
}

func (c *child) closeReg(r userns.Reg) {
	c.p.Call("", unix.SYS_CLOSE, r)
}

// openTree clones a mount, with all below it when recursive.
func (c *child) openTree(label string, dirfd any, name string, recursive bool) userns.Step {
	flags := uintptr(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return c.p.Call(label, unix.SYS_OPEN_TREE, dirfd, name, flags).To(c.mount)
}

// newFS makes a file system of its own and leaves its mount in c.mount.
func (c *child) newFS(label, fstype string, params []fuse.Param, attrs uint64) {
	c.p.Call(label, unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC).To(c.tmp)
	for _, o := range params {
		if o.Flag {
			c.p.Call(label+": option "+o.Key, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_SET_FLAG, o.Key, 0, 0)
			continue
		}
		c.p.Call(label+": option "+o.Key+"="+o.Value, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_SET_STRING, o.Key, o.Value, 0)
	}
	c.p.Call(label, unix.SYS_FSCONFIG, c.tmp, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	c.p.Call(label, unix.SYS_FSMOUNT, c.tmp, unix.FSMOUNT_CLOEXEC, attrs).To(c.mount)
	c.closeReg(c.tmp)
}

// pivot makes the root the root, and leaves nothing of the old one behind:
// both names of it are the same directory, and the old one lies on top.
func (c *child) pivot() {
	c.p.Call("enter the root", unix.SYS_FCHDIR, c.root)
	c.p.Call("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
	c.p.Call("detach the old root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	c.p.Call("enter the root", unix.SYS_CHDIR, "/")
	if c.s.Root.Readonly {
		c.p.Call("make the root read-only", unix.SYS_MOUNT_SETATTR, c.root, "",
			unix.AT_EMPTY_PATH, mountAttr(unix.MOUNT_ATTR_RDONLY, 0, 0), 32)
	}
	if p := rootPropagation(c.s.Linux.RootfsPropagation); p != 0 {
		c.p.Call("make the root "+c.s.Linux.RootfsPropagation, unix.SYS_MOUNT, 0, "/", 0, p, 0)
	}
}

func rootPropagation(s string) uintptr {
	switch s {
	case "shared":
		return unix.MS_SHARED
	case "rshared":
		return unix.MS_SHARED | unix.MS_REC
	case "slave":
		return unix.MS_SLAVE
	case "rslave":
		return unix.MS_SLAVE | unix.MS_REC
	case "unbindable":
		return unix.MS_UNBINDABLE
	case "runbindable":
		return unix.MS_UNBINDABLE | unix.MS_REC
	}
	return 0
}

// hostnames sets what the UTS namespace is called.
func (c *child) hostnames() {
	if !c.ns.has(unix.CLONE_NEWUTS) {
		return
	}
	if h := c.s.Hostname; h != "" {
		c.p.Call("set the hostname to "+h, unix.SYS_SETHOSTNAME, h, uintptr(len(h)))
	}
	if d := c.s.Domainname; d != "" {
		c.p.Call("set the domain name to "+d, unix.SYS_SETDOMAINNAME, d, uintptr(len(d)))
	}
}

// loopback brings lo up in a network namespace of its own.
func (c *child) loopback() {
	if c.ns.fresh&unix.CLONE_NEWNET == 0 {
		return
	}
	req := make([]byte, 40) // struct ifreq: name, then flags
	copy(req, "lo")
	binary.NativeEndian.PutUint16(req[16:], unix.IFF_UP|unix.IFF_RUNNING)
	c.p.Call("bring the loopback interface up", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).To(c.tmp)
	c.p.Call("bring the loopback interface up", unix.SYS_IOCTL, c.tmp, unix.SIOCSIFFLAGS, req)
	c.closeReg(c.tmp)
}

// sysctls are written through the container's own /proc, which must be a
// procfs with nothing mounted over its files: else the value would be lost in
// a file of somebody's (CVE-2025-52881).
func (c *child) sysctls() {
	if len(c.s.Linux.Sysctl) == 0 {
		return
	}
	c.inRoot("open /proc/sys", "proc/sys", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS, c.dir)
	buf := c.p.Bytes(make([]byte, 256))
	c.p.Call("look at /proc/sys", unix.SYS_FSTATFS, c.dir, buf)
	c.p.NeedWord("look at /proc/sys: it is no procfs", buf, procSuperMagic, unix.EXDEV)
	for _, key := range sortedKeys(c.s.Linux.Sysctl) {
		value := c.s.Linux.Sysctl[key]
		label := "sysctl " + key + "=" + value
		c.openat2(c.dir, label, sysctlPath(key), unix.O_WRONLY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV, c.tmp)
		c.p.Call(label, unix.SYS_WRITE, c.tmp, []byte(value), uintptr(len(value)))
		c.closeReg(c.tmp)
	}
	c.closeReg(c.dir)
}
