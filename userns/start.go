package userns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Child is a process that carries out a Program. It waits for Release before
// its first step and dies when the launcher does so before that.
type Child struct {
	PID   int
	PIDFD *os.File

	sync   *os.File // write end: one byte lets it go
	errs   *os.File // read end: steps and exec errors, EOF once exec'd
	labels []string
	shared *shared // nil unless Begin made it
}

// Start clones a child with the given namespace flags that will carry out p.
// The last step has to be an exec; the stub of ExecStub reports through the
// descriptor that p.ErrFD names.
func Start(p *Program, flags uintptr) (*Child, error) { return StartIn(p, flags, -1) }

// StartIn is Start with the child in a cgroup from its first moment; cgroup is
// its directory, or -1. The namespace of cgroups is then a matter for a step
// of p: clone(2) would root it in the launcher's cgroup. ErrNoCloneInto says
// that the kernel or an outer filter does not let it.
func StartIn(p *Program, flags uintptr, cgroup int) (*Child, error) {
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("prepare the child: %w", err)
	}
	syncR, syncW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the start pipe: %w", err)
	}
	defer syncR.Close()
	errR, errW, err := errorPipe(p.minErr)
	if err != nil {
		syncW.Close()
		return nil, err
	}
	defer errW.Close()

	var pidfd int32 = -1
	regs := make([]uintptr, maxRegs)
	regs[ErrFD] = errW.Fd() // Fd makes it blocking, as the child needs it
	regs[syncFD] = syncR.Fd()
	frame := childFrame{
		ops: unsafe.Pointer(unsafe.SliceData(p.ops)), n: int32(len(p.ops)),
		regs:  unsafe.Pointer(unsafe.SliceData(regs)),
		syncR: syncR.Fd(), syncW: syncW.Fd(), errW: errW.Fd(),
	}
	args := cloneArgs{flags: uint64(flags | unix.CLONE_PIDFD), pidfd: uint64(uintptr(unsafe.Pointer(&pidfd))), exitSignal: uint64(syscall.SIGCHLD)}
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	syscall.ForkLock.Lock()
	pid, errno := rawStart(&args, &frame)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	runtime.KeepAlive(regs)
	if errno != 0 {
		syncW.Close()
		errR.Close()
		if cgroup >= 0 {
			return nil, fmt.Errorf("%w: %w", ErrNoCloneInto, errno)
		}
		return nil, fmt.Errorf("clone: %w", &StepError{Step: "create namespaces", Errno: errno})
	}
	return &Child{
		PID: int(pid), PIDFD: os.NewFile(uintptr(pidfd), "pidfd"),
		sync: syncW, errs: errR, labels: p.labels,
	}, nil
}

// ErrNoCloneInto is what StartIn's errors unwrap to when the child could not be
// made in its cgroup; clone(2) without it may work.
var ErrNoCloneInto = errors.New("clone into the cgroup")

// errorPipe makes the pipe of a child's errors. Its write end has a number from
// least on, so that no step puts something else in its place.
func errorPipe(least uintptr) (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make the error pipe: %w", err)
	}
	if w.Fd() >= least {
		return r, w, nil
	}
	fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, int(least))
	w.Close()
	if err != nil {
		r.Close()
		return nil, nil, fmt.Errorf("move the error pipe: %w", err)
	}
	return r, os.NewFile(uintptr(fd), w.Name()), nil
}

// Registers that Start fills in: the error pipe's descriptor in the child, and
// that of the pipe from the launcher.
const (
	ErrFD  Reg = maxRegs - 1
	syncFD Reg = maxRegs - 2
)

// AwaitLauncher makes the child wait for one more Release.
func (p *Program) AwaitLauncher() {
	got := p.NewReg()
	p.Call("wait for the launcher", unix.SYS_READ, syncFD, p.Bytes(make([]byte, 1)), 1).To(got)
	p.Need("wait for the launcher", got, 1, syscall.EPIPE)
}

// Release lets the child begin, or go on after AwaitLauncher. What the program
// names of descriptors is the child's own when the first returns.
func (c *Child) Release() error {
	if _, err := c.sync.Write([]byte{1}); err != nil {
		return fmt.Errorf("release the child: %w", err)
	}
	return c.shared.settle(c)
}

// WaitExec blocks until the payload runs (nil), or a step (StepError) or the
// exec itself (ExecError) has failed. With Exec.Created it is the waiting stub
// that runs then.
func (c *Child) WaitExec() error {
	defer c.errs.Close()
	for {
		code, err := c.next()
		if errors.Is(err, io.EOF) {
			c.shared.executed()
			return nil
		}
		if err != nil {
			return err
		}
		if code != reportFork {
			return fmt.Errorf("the child reports %d unasked", code-reportBase)
		}
	}
}

// Await blocks until the child reports code (Program.Report). It fails as
// WaitExec does, and with io.ErrUnexpectedEOF when the child is gone.
func (c *Child) Await(code uint32) error {
	for {
		got, err := c.next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("wait for the child: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return err
		case got == reportBase+uint64(code):
			return nil
		case got != reportFork:
			return fmt.Errorf("the child reports %d, want %d", got-reportBase, code)
		}
	}
}

// next reads one message: reportFork, which it has taken care of, a report of
// Program.Report, or an error. io.EOF: nobody holds the pipe any more.
func (c *Child) next() (uint64, error) {
	var buf [16]byte
	n, err := io.ReadFull(c.errs, buf[:])
	text := ""
	if err == nil && binary.NativeEndian.Uint64(buf[:8]) == textStep {
		b := make([]byte, min(binary.NativeEndian.Uint64(buf[8:]), maxText))
		if _, err := io.ReadFull(c.errs, b); err != nil {
			return 0, fmt.Errorf("read the child's report: %w", err)
		}
		text = string(b)
		n, err = io.ReadFull(c.errs, buf[:])
	}
	switch {
	case errors.Is(err, io.EOF) && text == "":
		return 0, io.EOF
	case n == 4:
		return 0, &ExecError{syscall.Errno(binary.NativeEndian.Uint32(buf[:4]))}
	case err != nil:
		return 0, fmt.Errorf("read the child's report: %w", err)
	}
	what, value := binary.NativeEndian.Uint64(buf[:8]), binary.NativeEndian.Uint64(buf[8:])
	switch {
	case what == syncStep:
		return 0, &StepError{Step: "wait for the launcher", Errno: syscall.Errno(value)}
	case what == reportBegun:
		return c.next()
	case what == reportFork:
		return what, c.follow(int(value))
	case what&reportBase != 0:
		return what, nil
	case what >= uint64(len(c.labels)):
		return 0, fmt.Errorf("the child reports step %d of %d", what, len(c.labels))
	}
	return 0, &StepError{Step: c.labels[what], Errno: syscall.Errno(value), Text: text}
}

// follow makes the child's child, which is ours by CLONE_PARENT, the child. Its
// pid cannot be another's: nobody but us reaps it.
func (c *Child) follow(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	err = c.reap() // the one in between has nothing more to do
	c.PIDFD.Close()
	c.PID, c.PIDFD = pid, os.NewFile(uintptr(fd), "pidfd")
	return err
}

// AwaitFork blocks until the child has been followed to a new process
// (Program.Fork). It fails as Await does.
func (c *Child) AwaitFork() error {
	got, err := c.next()
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("wait for the child: %w", io.ErrUnexpectedEOF)
	case err == nil && got != reportFork:
		return fmt.Errorf("the child reports %d, and has not forked", got-reportBase)
	}
	return err
}

// ReportText tells the launcher in words why the step that its caller carries
// out for a child is about to fail: WaitExec puts them in the StepError. w is
// the error pipe.
func ReportText(w io.Writer, text string) error {
	text = text[:min(len(text), maxText)]
	b := binary.NativeEndian.AppendUint64(nil, textStep)
	b = binary.NativeEndian.AppendUint64(b, uint64(len(text)))
	if _, err := w.Write(append(b, text...)); err != nil {
		return fmt.Errorf("report to the launcher: %w", err)
	}
	return nil
}

// Kill ends the child by SIGKILL; a child that is gone is no error.
func (c *Child) Kill() error {
	err := unix.PidfdSendSignal(int(c.PIDFD.Fd()), unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", c.PID, err)
	}
	return nil
}

// reap is Wait for a child of whose end nobody asks more.
func (c *Child) reap() error {
	_, err := plainfile.Retry(func() (int, error) { return syscall.Wait4(c.PID, nil, 0, nil) })
	if err != nil {
		return fmt.Errorf("wait for %d: %w", c.PID, err)
	}
	c.shared.executed()
	return nil
}

// Wait reaps the child.
func (c *Child) Wait() (syscall.WaitStatus, *syscall.Rusage, error) {
	var ws syscall.WaitStatus
	var ru syscall.Rusage
	for {
		_, err := syscall.Wait4(c.PID, &ws, 0, &ru)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, nil, fmt.Errorf("wait for %d: %w", c.PID, err)
		}
		c.shared.executed()
		return ws, &ru, nil
	}
}

// WaitFor says whether the child has ended, or does so within limit. It does
// not reap.
func (c *Child) WaitFor(limit time.Duration) bool {
	end := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(c.PIDFD.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(end).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// Abort kills and reaps a child that must not go on.
func (c *Child) Abort() {
	c.sync.Close()
	_ = c.Kill() // Wait says what matters
	_, _, _ = c.Wait()
	c.Close()
}

// Close releases the launcher's descriptors of the child.
func (c *Child) Close() {
	c.shared.close()
	c.sync.Close()
	c.errs.Close()
	c.PIDFD.Close()
}
