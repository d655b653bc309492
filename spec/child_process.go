package spec

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"coracle/userns"

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
	slave := c.terminal()
	if c.joined {
		return // /dev/console is the first process's, and its own may lead a path astray
	}
	c.openTree("bind /dev/console", slave, "", false)
	c.openTarget("bind /dev/console", "/dev/console", false, 0)
	c.attach("bind /dev/console")
	c.closeReg(slave)
}

// terminal makes a terminal from the container's devpts, sends its master to
// the launcher and makes the other end, which it returns, the session's
// controlling terminal and the standard streams. In a container that runs
// already /dev/pts may be anything by now.
func (c *child) terminal() (slave userns.Reg) {
	const devptsMagic = 0x1cd1
	master, slave := c.p.NewReg(), c.p.NewReg()
	c.inRoot("open the terminal", "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS, master)
	buf := c.p.Bytes(make([]byte, 256)) // struct statfs; f_type comes first
	c.p.Call("open the terminal", unix.SYS_FSTATFS, master, buf)
	c.p.NeedWord("open the terminal: /dev/pts is no devpts", buf, devptsMagic, unix.ENOTTY)
	c.p.Call("unlock the terminal", unix.SYS_IOCTL, master, unix.TIOCSPTLCK, make([]byte, 4))
	c.p.Call("open the terminal", unix.SYS_IOCTL, master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC).To(slave)
	if uid := c.s.Process.User.UID; uid != 0 {
		c.p.Call(fmt.Sprintf("process.user.uid: give the terminal to user %d", uid), unix.SYS_FCHOWN, slave, uid, uintptr(^uint32(0)))
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
	return slave
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
func (c *child) sendFD(label string, sock any, fd userns.Reg) { c.p.SendFD(label, sock, fd) }

// process appends what makes the child the payload: directory, descriptors,
// limits, identity, capabilities, filter; then the stub.
func (c *child) process() {
	pr := c.s.Process
	c.enterWorkdir()
	c.keyring()
	exec := userns.Exec{
		Init: c.x.Init, Candidates: Candidates(pr.Args[0], pr.Env),
		Args: pr.Args, Env: c.environ(pr.Env), FirstFD: 3 + c.x.Preserve, Created: c.x.Created,
	}
	if !c.joined {
		c.p.AwaitLauncher() // until the guard stands
	}
	c.labels()
	c.keepNotify(exec.FirstFD)
	stub := c.p.PrepareStub(c.x.Stub, exec)
	path := c.stubPath(stub)
	rules := c.landlock()
	c.limits()
	c.scheduling()
	c.personality()
	umask := uint32(0o022)
	if pr.User.Umask != nil {
		umask = *pr.User.Umask
	}
	c.p.Call(fmt.Sprintf("process.user.umask: set it to %03o", umask), unix.SYS_UMASK, umask)
	if !pr.NoNewPrivileges {
		// Loading a filter takes CAP_SYS_ADMIN or no_new_privs.
		c.seccomp()
	}
	c.credentials()
	if pr.NoNewPrivileges {
		c.p.Call("process.noNewPrivileges: set it", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		c.landlocked(rules)
		c.seccomp()
	}
	c.findCommand(exec)
	if path != "" {
		c.p.ExecStubPath(path, exec)
		return
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
	c.p.Call(label, unix.SYS_OPENAT, c.target, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.cwd)
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
