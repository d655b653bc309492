package spec

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unsafe"

	"coracle/internal/nofile"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// console makes the terminal from the container's own devpts, sends its master
// to the launcher and makes the other end the session's controlling terminal,
// standard input, output, error and /dev/console. The slave comes from the
// master by TIOCGPTPEER, not from a path that the image could have replaced.
func (c *child) console() {
	if !c.s.Process.Terminal {
		for i, f := range c.x.Stdio {
			if f != nil {
				c.stdio(f.Fd(), i)
				c.giveStdio(f, i)
			}
		}
		return
	}
	master, slave := c.p.NewReg(), c.p.NewReg()
	c.inRoot("open the terminal", "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS, master)
	c.p.Call("unlock the terminal", unix.SYS_IOCTL, master, unix.TIOCSPTLCK, make([]byte, 4))
	c.p.Call("open the terminal", unix.SYS_IOCTL, master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC).To(slave)
	if uid := c.s.Process.User.UID; uid != 0 {
		c.p.Call("give the terminal to the user", unix.SYS_FCHOWN, slave, uid, uintptr(^uint32(0)))
	}
	if cs := c.s.Process.ConsoleSize; cs != nil {
		ws := make([]byte, 8)
		binary.NativeEndian.PutUint16(ws, uint16(cs.Height))
		binary.NativeEndian.PutUint16(ws[2:], uint16(cs.Width))
		c.p.Call("size the terminal", unix.SYS_IOCTL, master, unix.TIOCSWINSZ, ws)
	}
	c.sendFD("hand the terminal to the launcher", c.x.Console.Fd(), master)
	c.closeReg(master)
	c.p.Call("take the terminal", unix.SYS_IOCTL, slave, unix.TIOCSCTTY, 0)
	for i := range 3 {
		c.stdio(slave, i)
	}
	c.openTree("bind /dev/console", slave, "", false)
	c.openTarget("bind /dev/console", "/dev/console", false, 0)
	c.attach("bind /dev/console")
	c.closeReg(slave)
}

// stdio places a descriptor; dup3 refuses equal numbers, where only the
// close-on-exec flag has to go.
func (c *child) stdio(from any, to int) {
	names := [3]string{"standard input", "standard output", "standard error"}
	same, done := c.p.NewSpot(), c.p.NewSpot()
	c.p.Call("place "+names[to], unix.SYS_DUP3, from, to, 0).Catch(unix.EINVAL, same)
	c.p.Jump(done)
	c.p.Mark(same)
	c.p.Call("place "+names[to], unix.SYS_FCNTL, to, unix.F_SETFD, 0)
	c.p.Mark(done)
}

// giveStdio gives a pipe among the standard streams to the payload's user, who
// could not open /dev/stdout otherwise. Never a file, nor a named pipe: the user's
// own would change hands.
func (c *child) giveStdio(f *os.File, i int) {
	uid := c.s.Process.User.UID
	var fs unix.Statfs_t
	if uid == 0 || unix.Fstatfs(int(f.Fd()), &fs) != nil || fs.Type != unix.PIPEFS_MAGIC {
		return
	}
	c.p.Call("give a standard stream to the user", unix.SYS_FCHOWN, i, uid, uintptr(^uint32(0))).Allow(unix.EPERM, unix.EINVAL)
}

// sendFD sends one descriptor over a unix socket (SCM_RIGHTS).
func (c *child) sendFD(label string, sock uintptr, fd userns.Reg) {
	oob := c.p.Bytes(make([]byte, unix.CmsgSpace(4)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	c.p.Poke(oob[unix.CmsgLen(0):], fd)
	payload := c.p.Bytes([]byte{0})
	iov := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.Iovec{})))
	v := (*unix.Iovec)(unsafe.Pointer(&iov[0]))
	v.Base = &payload[0]
	v.SetLen(1)
	msg := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.Msghdr{})))
	m := (*unix.Msghdr)(unsafe.Pointer(&msg[0]))
	m.Iov, m.Control = v, &oob[0]
	m.SetIovlen(1)
	m.SetControllen(len(oob))
	c.p.Call(label, unix.SYS_SENDMSG, sock, msg, unix.MSG_NOSIGNAL)
}

// process appends what makes the child the payload: directory, descriptors,
// limits, identity, capabilities, filter; then the stub.
func (c *child) process() {
	pr := c.s.Process
	c.enterWorkdir()
	// A session keyring of its own; a kernel or filter without keyrings has
	// none to leak either.
	c.p.Call("join a new session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).Allow(unix.ENOSYS, unix.EPERM)
	exec := userns.Exec{
		Init: c.x.Init, Candidates: Candidates(pr.Args[0], pr.Env),
		Args: pr.Args, Env: pr.Env, FirstFD: 3 + c.x.Preserve,
	}
	c.p.AwaitLauncher() // until the guard stands
	stub := c.p.PrepareStub(c.x.Stub, exec)
	if !slices.ContainsFunc(pr.Rlimits, func(r specs.POSIXRlimit) bool { return r.Type == "RLIMIT_NOFILE" }) {
		c.p.RestoreNofile(nofile.Original())
	}
	for _, r := range pr.Rlimits {
		c.rlimit(r)
	}
	if pr.User.Umask != nil {
		c.p.Call(fmt.Sprintf("set the umask to %#o", *pr.User.Umask), unix.SYS_UMASK, *pr.User.Umask)
	} else {
		c.p.Call("set the umask to 022", unix.SYS_UMASK, 0o022)
	}
	if p := c.s.Linux.Personality; p != nil && p.Domain == specs.PerLinux32 {
		c.p.Call("set the personality", unix.SYS_PERSONALITY, 8)
	}
	if !pr.NoNewPrivileges {
		// Loading a filter takes CAP_SYS_ADMIN or no_new_privs.
		c.seccomp()
	}
	c.credentials()
	if pr.NoNewPrivileges {
		c.p.Call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		c.seccomp()
	}
	c.p.ExecStub(stub, exec)
}

// workdir resolves the working directory inside the root, while the root is
// still a descriptor, and makes it where it is missing. Not after pivot_root,
// by name: /proc/self/fd/N would lead to whatever descriptor N is
// (CVE-2024-21626).
func (c *child) workdir() {
	label := "enter the working directory " + c.s.Process.Cwd
	c.openTarget(label, c.s.Process.Cwd, true, 0)
	c.cwd = c.p.NewReg()
	c.openat2(c.target, label, ".", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH, c.cwd)
	c.closeReg(c.target)
}

// enterWorkdir goes there, and makes sure that it is below the root: the
// kernel says "(unreachable)" of a directory that is not.
func (c *child) enterWorkdir() {
	label := "enter the working directory " + c.s.Process.Cwd
	c.p.Call(label, unix.SYS_FCHDIR, c.cwd)
	buf := c.p.Bytes(make([]byte, unix.PathMax))
	c.p.Call(label, unix.SYS_GETCWD, buf, uintptr(len(buf)))
	c.p.RefuseWord(label+": it is outside the root", buf, binary.NativeEndian.Uint64([]byte("(unreach")), unix.EXDEV)
}

// Candidates are the paths that a command may be at, in the order of PATH.
func Candidates(command string, env []string) []string {
	if strings.Contains(command, "/") {
		return []string{command}
	}
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			dirs = v
		}
	}
	var out []string
	for d := range strings.SplitSeq(dirs, ":") {
		if d == "" {
			d = "."
		}
		out = append(out, d+"/"+command)
	}
	return out
}

func (c *child) rlimit(r specs.POSIXRlimit) {
	n, ok := RlimitNumber(r.Type)
	if !ok {
		c.fail(fmt.Errorf("process.rlimits: %q is unknown", r.Type))
		return
	}
	lim := make([]byte, 16)
	binary.NativeEndian.PutUint64(lim, r.Soft)
	binary.NativeEndian.PutUint64(lim[8:], r.Hard)
	c.p.Call(fmt.Sprintf("set %s to %d:%d", r.Type, r.Soft, r.Hard), unix.SYS_PRLIMIT64, 0, n, lim, 0)
}

// RlimitNumber is the resource number of a limit by its OCI name.
func RlimitNumber(name string) (int, bool) {
	switch name {
	case "RLIMIT_CPU":
		return unix.RLIMIT_CPU, true
	case "RLIMIT_FSIZE":
		return unix.RLIMIT_FSIZE, true
	case "RLIMIT_DATA":
		return unix.RLIMIT_DATA, true
	case "RLIMIT_STACK":
		return unix.RLIMIT_STACK, true
	case "RLIMIT_CORE":
		return unix.RLIMIT_CORE, true
	case "RLIMIT_RSS":
		return unix.RLIMIT_RSS, true
	case "RLIMIT_NPROC":
		return unix.RLIMIT_NPROC, true
	case "RLIMIT_NOFILE":
		return unix.RLIMIT_NOFILE, true
	case "RLIMIT_MEMLOCK":
		return unix.RLIMIT_MEMLOCK, true
	case "RLIMIT_AS":
		return unix.RLIMIT_AS, true
	case "RLIMIT_LOCKS":
		return unix.RLIMIT_LOCKS, true
	case "RLIMIT_SIGPENDING":
		return unix.RLIMIT_SIGPENDING, true
	case "RLIMIT_MSGQUEUE":
		return unix.RLIMIT_MSGQUEUE, true
	case "RLIMIT_NICE":
		return unix.RLIMIT_NICE, true
	case "RLIMIT_RTPRIO":
		return unix.RLIMIT_RTPRIO, true
	case "RLIMIT_RTTIME":
		return unix.RLIMIT_RTTIME, true
	}
	return 0, false
}

// credentials drops from root of the namespace, with all capabilities, to the
// payload's user with the payload's sets. Order: bounding set while CAP_SETPCAP
// is there; ids with the permitted set kept; then the sets; ambient last.
func (c *child) credentials() {
	u, caps := c.s.Process.User, c.s.Process.Capabilities
	if caps == nil {
		caps = &specs.LinuxCapabilities{}
	}
	bounding := c.capMask(caps.Bounding)
	for n := range lastCap + 1 {
		if bounding&(1<<n) == 0 {
			// EINVAL: a capability newer than the kernel.
			c.p.Call("drop from the bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0).Allow(unix.EINVAL)
		}
	}
	c.groups(u)
	c.p.Call("keep capabilities over the change of user", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	c.p.Call(fmt.Sprintf("become group %d", u.GID), unix.SYS_SETRESGID, u.GID, u.GID, u.GID)
	c.p.Call(fmt.Sprintf("become user %d", u.UID), unix.SYS_SETRESUID, u.UID, u.UID, u.UID)
	c.p.Call("", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0)
	c.capset(c.capMask(caps.Effective), c.capMask(caps.Permitted), c.capMask(caps.Inheritable))
	c.p.Call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	ambient := c.capMask(caps.Ambient)
	for n := range lastCap + 1 {
		if ambient&(1<<n) != 0 {
			c.p.Call(fmt.Sprintf("raise ambient capability %d", n), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0)
		}
	}
}

// groups sets the supplementary groups. Where the caller wrote its single-id
// map itself the kernel denies setgroups(2); then there is nothing to set.
func (c *child) groups(u specs.User) {
	if c.s.Annotations[KeepGroupsAnnotation] == "1" {
		return
	}
	list := make([]byte, 0, 4*len(u.AdditionalGids)+4)
	for _, g := range u.AdditionalGids {
		list = binary.NativeEndian.AppendUint32(list, g)
	}
	step := c.p.Call("set the supplementary groups", unix.SYS_SETGROUPS, len(u.AdditionalGids), list)
	if len(u.AdditionalGids) == 0 {
		step.Allow(unix.EPERM)
	}
}

// KeepGroupsAnnotation keeps the caller's supplementary groups; the name is
// crun's, the value "1".
const KeepGroupsAnnotation = "run.oci.keep_original_groups"

const lastCap = 40 // CAP_CHECKPOINT_RESTORE

func (c *child) capMask(names []string) uint64 {
	var mask uint64
	for _, name := range names {
		n, ok := capNumber(name)
		if !ok {
			c.fail(fmt.Errorf("process.capabilities: %q is unknown", name))
			continue
		}
		mask |= 1 << n
	}
	return mask
}

func (c *child) capset(effective, permitted, inheritable uint64) {
	hdr := make([]byte, 8)
	binary.NativeEndian.PutUint32(hdr, unix.LINUX_CAPABILITY_VERSION_3)
	data := make([]byte, 0, 24)
	for _, shift := range []int{0, 32} {
		for _, m := range []uint64{effective, permitted, inheritable} {
			data = binary.NativeEndian.AppendUint32(data, uint32(m>>shift))
		}
	}
	c.p.Call("set the capabilities", unix.SYS_CAPSET, hdr, data)
}

// seccomp loads the filter.
func (c *child) seccomp() {
	if len(c.x.Seccomp) == 0 {
		return
	}
	prog := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.SockFprog{})))
	f := (*unix.SockFprog)(unsafe.Pointer(&prog[0]))
	f.Len = uint16(len(c.x.Seccomp))
	code := unsafe.Slice((*byte)(unsafe.Pointer(&c.x.Seccomp[0])), len(c.x.Seccomp)*unix.SizeofSockFilter)
	f.Filter = (*unix.SockFilter)(unsafe.Pointer(&c.p.Bytes(code)[0])) // kept by the program
	c.p.Call(fmt.Sprintf("load the seccomp filter (%d instructions)", len(c.x.Seccomp)),
		unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, c.x.SeccompFlags, prog)
}
