package spec

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// compileExec is Compile for a process that joins a container.
func compileExec(s *specs.Spec, x *Extra, t firstProcess) (*userns.Program, error) {
	c := &child{
		p: &userns.Program{}, s: s, x: x, ns: &namespaces{}, joined: true,
		userns: t.flags&unix.CLONE_NEWUSER != 0,
	}
	c.root, c.target, c.mount = c.p.NewReg(), c.p.NewReg(), c.p.NewReg()
	c.dir, c.tmp = c.p.NewReg(), c.p.NewReg()

	c.hostProc()
	c.join(t)
	c.p.Call("open the container's root", unix.SYS_OPENAT, atFDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.root)
	c.session()
	c.console()
	c.existingWorkdir()
	if s.Process.ExecCPUAffinity != nil {
		c.affinity("process.execCPUAffinity.final", s.Process.ExecCPUAffinity.Final)
	}
	c.process()
	if c.err != nil {
		return nil, c.err
	}
	return c.p, c.p.Err()
}

// join enters the namespaces, and makes sure that they are the container's own:
// its first process may have changed them since we looked.
func (c *child) join(t firstProcess) {
	// From here on this process, which still is our program, meets those of the
	// container: none of them may trace it or open its files (CVE-2019-5736).
	c.p.Call("hide from the container's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if t.flags != 0 {
		t.setns(c.p)
	}
	if t.root != nil {
		c.p.Call("enter the container's root", unix.SYS_FCHDIR, t.root.Fd())
		c.p.Call("enter the container's root", unix.SYS_CHROOT, ".")
	}
	for _, k := range namespaceKinds {
		want, ok := t.inodes[k.file]
		if !ok {
			continue
		}
		label := fmt.Sprintf("join the container's namespaces: its first process has left the %s namespace that it was made with", k.kind)
		name := "self/ns/" + k.file
		if k.flag == unix.CLONE_NEWPID {
			name += "_for_children"
		}
		// The link's text, as namespaceInode reads it, in whole words.
		var text [32]byte
		copy(text[:], fmt.Sprintf("%s:[%d]", k.file, want))
		buf := c.p.Bytes(make([]byte, len(text)))
		c.p.Call(label, unix.SYS_READLINKAT, c.proc, name, buf, uintptr(len(buf)))
		for i := 0; i < len(text); i += 8 {
			c.p.NeedWord(label, buf[i:], binary.NativeEndian.Uint64(text[i:]), unix.ESTALE)
		}
	}
	if c.userns {
		// EINVAL: the container has no such id.
		c.p.Call("become group 0", unix.SYS_SETRESGID, 0, 0, 0).Allow(unix.EINVAL)
		c.p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0).Allow(unix.EINVAL)
	}
	if t.flags&unix.CLONE_NEWPID != 0 {
		c.p.Fork("enter the container's pid namespace")
	}
}

// setns appends the steps that join the namespaces: all at once by the pidfd, or
// one by one before Linux 5.8, which answers EINVAL. By then the process may be
// another's that has got its number; not while the pidfd's still lives.
func (t firstProcess) setns(p *userns.Program) {
	const label = "join the container's namespaces"
	old, done := p.NewSpot(), p.NewSpot()
	p.Call(label, unix.SYS_SETNS, t.pidfd.Fd(), t.flags).Catch(unix.EINVAL, old)
	p.Jump(done)
	p.Mark(old)
	opened := make(map[uintptr]userns.Reg)
	for _, k := range namespaceKinds {
		if t.flags&k.flag != 0 {
			opened[k.flag] = p.NewReg()
			p.Call(label, unix.SYS_OPENAT, atFDCWD, fmt.Sprintf("/proc/%d/ns/%s", t.pid, k.file), unix.O_RDONLY|unix.O_CLOEXEC, 0).To(opened[k.flag])
		}
	}
	p.Call(label, unix.SYS_PIDFD_SEND_SIGNAL, t.pidfd.Fd(), 0, 0, 0)
	for _, k := range namespaceKinds {
		if fd, ok := opened[k.flag]; ok {
			p.Call(label+": "+string(k.kind), unix.SYS_SETNS, fd, k.flag)
			p.Call(label, unix.SYS_CLOSE, fd)
		}
	}
	p.Mark(done)
}

// existingWorkdir is workdir in a container that is there: nothing is made.
func (c *child) existingWorkdir() {
	label := "process.cwd: enter the working directory " + c.s.Process.Cwd
	c.cwd = c.p.NewReg()
	if c.x.lacks.openat2 {
		// The container's root is ours already. Whatever a link in its /proc leads
		// to, enterWorkdir refuses what is outside.
		c.p.Call(label, unix.SYS_OPENAT, atFDCWD, c.s.Process.Cwd, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.cwd)
		return
	}
	c.inRoot(label, c.s.Process.Cwd, unix.O_PATH|unix.O_DIRECTORY, 0, c.cwd)
}

func initialCPUs(p *specs.Process) string {
	if p.ExecCPUAffinity == nil {
		return ""
	}
	return p.ExecCPUAffinity.Initial
}

// onCPUs calls f with this thread bound to CPUs; what f clones is, too.
func onCPUs(field, cpus string, f func() error) error {
	if cpus == "" {
		return f()
	}
	mask, err := bitList(cpus, maxCPUs)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old := make([]byte, maxCPUs/8)
	n, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, 0, uintptr(len(old)), uintptr(unsafe.Pointer(&old[0])))
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	}
	if errno != 0 {
		return fmt.Errorf("%s: bind to the CPUs %s: %w", field, cpus, errno)
	}
	defer func() {
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, n, uintptr(unsafe.Pointer(&old[0]))) // what it was is allowed
	}()
	return f()
}
