package spec

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"coracle/cgroupv2"
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
	// Tun is the interface of a network in user space; nil: none.
	Tun *Tun
	// NoLoopback leaves lo down in a network namespace of its own: nobody in there can
	// connect to anybody else in there, nor to themselves.
	NoLoopback bool
	// Network is called when the first process has its namespaces and its maps, and
	// has done nothing yet: who makes a network interface from outside does so then,
	// with the process's files under /proc. All namespaces must be fresh.
	Network func(pid int) error
	// Preserve is the number of descriptors from 3 on that the payload keeps.
	Preserve uint

	ProcessExtra

	// Seccomp is the compiled filter, empty for none.
	Seccomp      []unix.SockFilter
	SeccompFlags uint
	// Observe gets the listener of a filter that notifies, which is then its own to
	// close, before the payload runs: in the place of linux.seccomp.listenerPath's agent.
	Observe func(listener *os.File)

	// Resolve maps a destination to where it is once the root's symbolic links
	// are followed, as far as it exists; nil: as written.
	Resolve func(dest string) string
	// Compiled, if set, is called when Resolve is not needed any more and no
	// process has been made yet: the time to close what it reads from.
	Compiled func()
	// Bundle is the directory that relative sources of binds, and a relative
	// root.path, are below.
	Bundle string

	// Handles opens sources and the root's directories before the child becomes
	// root of its namespace: where the caller is not in the id map, that root
	// cannot pass directories that only the caller may. Upper and work exist.
	Handles     bool
	lacks       lacks    // what the kernel does not have
	mountPoints []string // the launcher's, without mount_setattr(2)
	handleBase  int
	ownBase     int              // of the child's own numbers: child_lacks.go
	mapped      map[int]*os.File // clones of idmapped mounts' sources, by their number: openIDMapped

	// Strays ends, with the first process, all that are in the container's mount
	// namespace: where it has no pid namespace of its own the kernel does not.
	Strays     bool
	straysSock *os.File // on which the child sends that namespace

	// Trees are mounts that come as they are, by their destinations; their entries
	// in mounts are binds. The files are the caller's.
	Trees map[string]*os.File

	// HandScratch has the tmpfs of Root.Scratch handed to the launcher (Process.Scratch):
	// what is in it is there as long as that is open, whoever else has it mounted.
	HandScratch bool
	scratchSock *os.File // on which the child sends it

	// NoPivot moves the root to / instead of pivoting to it.
	NoPivot bool

	// Directories are made inside the root where they are missing.
	Directories []string

	// Secrets are put into the container's memory and its environment.
	Secrets []Secret

	// Cgroup is what the child is born in; nil or an empty one: the caller's.
	Cgroup *cgroupv2.Cgroup
	// Created makes the payload wait to be started; nil starts it at once.
	Created *userns.Created
	// Hooks makes the child wait before it enters its root.
	Hooks bool
	// Newborn is the first process if it exists already; nil: Start makes it.
	Newborn *Newborn

	namespaces *namespaces // nil: planned by Compile, and nothing is joined
}

// cgroupFD is the directory of the cgroup, -1 without one.
func (x *Extra) cgroupFD() int {
	if x.Cgroup == nil {
		return -1
	}
	return x.Cgroup.FD()
}

// ownCgroup says whether the child is in a cgroup of its own before it makes
// its namespaces: from its birth, or put there (cgroupv2.Cgroup.Pending).
func (x *Extra) ownCgroup() bool {
	return x.Cgroup != nil && (x.Cgroup.FD() >= 0 || x.Cgroup.Pending())
}

// child builds the program that the container's first process carries out.
type child struct {
	p *userns.Program
	s *specs.Spec
	x *Extra

	// Registers: the root, the target of the mount at hand, the mount itself,
	// a directory, and one for whatever is short-lived.
	root, target, mount, dir, tmp, cwd, empty userns.Reg

	// For a kernel that lacks calls: child_fs_stage.go, child_fs_walk.go, child_fs_stat.go.
	stage, walker, walkerPID, look userns.Reg

	proc   userns.Reg // the host's /proc, see hostProc
	notify userns.Reg // the socket that takes a seccomp listener
	userns bool       // the process is root of a user namespace of its own
	joined bool       // the container is there already, see compileExec
	ns     *namespaces
	flags  uintptr // that clone(2) gets
	// hostMounts: without a mount namespace the root is one mount in the
	// caller's, and all else on it, so that it goes in one piece: detachRoot.
	hostMounts bool

	propagated   bool                  // the host's later mounts may come in: see propagation
	sharing      bool                  // and ours may go out
	waiting      []changed             // of c.mount, see later
	exe, carrier userns.Reg            // our own executable, and its sealed copy: see carrier.go
	readonlyDev  bool                  // /dev becomes read-only once its nodes are there
	want, got    []byte                // for verify
	statfs, stat []byte                // for refuseProc and targetMode
	mounted      map[string]bool       // destinations of the mounts so far, see onRoot
	hows         map[[2]uint64]uintptr // for openat2, by flags and resolve
	handles      map[string]int        // descriptor numbers, see openHandles
	cloned       map[int]int           // those of bind mounts' sources, by their number, see cloneSources
	err          error
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
	flags := x.namespaces.cloneFlags(x.ownCgroup())
	c := &child{p: &userns.Program{}, s: s, x: x, ns: x.namespaces, flags: flags, userns: inUserNamespace(s)}
	c.hostMounts = !c.ns.has(unix.CLONE_NEWNS)
	if c.hostMounts && c.userns {
		return nil, 0, fmt.Errorf("linux.namespaces: a mount namespace is needed: a user namespace may not mount in its parent's")
	}
	c.root, c.target, c.mount = c.p.NewReg(), c.p.NewReg(), c.p.NewReg()
	c.dir, c.tmp = c.p.NewReg(), c.p.NewReg()

	c.p.Reserve(450 + 28*len(s.Mounts) + 8*(len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths)))

	c.hostProc()
	c.openCarrier()
	c.openHandles()
	c.enter()
	c.propagation()
	c.openStage()
	c.rootfs()
	c.refuseProc("look at the root", "look at the root: it is of /proc", c.root) // onRoot relies on it
	c.startWalker()
	c.hostnames()
	c.loopback()
	c.tun()
	for i := range s.Mounts {
		c.mountOne(i)
	}
	c.secrets()
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
	c.endWalker()
	c.closeStage()
	c.sendMountNamespace()
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

const atFDCWD = ^uintptr(99) // AT_FDCWD

const sizeofHow = 24

// openHow lays out struct open_how, each once.
func (c *child) openHow(flags, resolve uint64) uintptr {
	key := [2]uint64{flags, resolve}
	if b, ok := c.hows[key]; ok {
		return b
	}
	b := make([]byte, sizeofHow)
	binary.NativeEndian.PutUint64(b, flags)
	binary.NativeEndian.PutUint64(b[16:], resolve)
	if c.hows == nil {
		c.hows = make(map[[2]uint64]uintptr)
	}
	at := c.p.Addr(b)
	c.hows[key] = at
	return at
}

// inRoot resolves below the root as if it were "/" already: no link leads out
// (openat2(2) RESOLVE_IN_ROOT; it follows no magic links either).
func (c *child) inRoot(label, name string, flags, resolve uint64, to userns.Reg) userns.Step {
	switch {
	case !c.x.lacks.openat2:
	case c.joined:
		return c.walkHere(label, name, flags, resolve, to)
	default:
		return c.askWalker(label, name, flags, resolve, to)
	}
	return c.openat2(c.root, label, name, flags, unix.RESOLVE_IN_ROOT|resolve, to)
}

func (c *child) openat2(dir userns.Reg, label, name string, flags, resolve uint64, to userns.Reg) userns.Step {
	how := c.openHow(flags|unix.O_CLOEXEC, unix.RESOLVE_NO_MAGICLINKS|resolve)
	return c.p.Call(label, unix.SYS_OPENAT2, dir, strings.TrimPrefix(name, "/")+dotIfEmpty(name), how, sizeofHow).To(to)
}

func dotIfEmpty(name string) string {
	if strings.Trim(name, "/") == "" {
		return "."
	}
	return ""
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
	if c.ns.fresh&unix.CLONE_NEWNET == 0 || c.x.NoLoopback {
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
		if sysctlPath(key) == "kernel/domainname" {
			// Its file belongs to the host's root; the owner of the UTS namespace
			// has a call of its own.
			c.p.Call(label, unix.SYS_SETDOMAINNAME, value, uintptr(len(value)))
			continue
		}
		const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
		if c.x.lacks.openat2 {
			c.askWalker(label, "proc/sys/"+sysctlPath(key), unix.O_WRONLY, resolve, c.tmp)
		} else {
			c.openat2(c.dir, label, sysctlPath(key), unix.O_WRONLY, resolve, c.tmp)
		}
		c.p.Call(label, unix.SYS_WRITE, c.tmp, []byte(value), uintptr(len(value)))
		c.closeReg(c.tmp)
	}
	c.closeReg(c.dir)
}
