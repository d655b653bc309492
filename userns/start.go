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

	"golang.org/x/sys/unix"
)

// The runtime keeps these three names for packages that fork by themselves
// (gVisor does): signals are blocked around the clone, and the child gets the
// default dispositions and the caller's mask back.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// Child is a process that carries out a Program. It waits for Release before
// its first step and dies when the launcher does so before that.
type Child struct {
	PID   int
	PIDFD *os.File

	sync   *os.File // write end: one byte lets it go
	errs   *os.File // read end: steps and exec errors, EOF once exec'd
	labels []string
}

// Start clones a child with the given namespace flags that will carry out p.
// The last step has to be an exec; the stub of ExecStub reports through the
// descriptor that p.ErrFD names.
func Start(p *Program, flags uintptr) (*Child, error) {
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("prepare the child: %w", err)
	}
	syncR, syncW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the start pipe: %w", err)
	}
	defer syncR.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		syncW.Close()
		return nil, fmt.Errorf("make the error pipe: %w", err)
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
	syscall.ForkLock.Lock()
	pid, errno := rawStart(flags|unix.CLONE_PIDFD|uintptr(syscall.SIGCHLD), &pidfd, &frame)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	runtime.KeepAlive(regs)
	if errno != 0 {
		syncW.Close()
		errR.Close()
		return nil, fmt.Errorf("clone: %w", &StepError{"create namespaces", errno})
	}
	return &Child{
		PID: int(pid), PIDFD: os.NewFile(uintptr(pidfd), "pidfd"),
		sync: syncW, errs: errR, labels: p.labels,
	}, nil
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

// Release lets the child begin, or go on after AwaitLauncher.
func (c *Child) Release() error {
	if _, err := c.sync.Write([]byte{1}); err != nil {
		return fmt.Errorf("release the child: %w", err)
	}
	return nil
}

// WaitExec blocks until the payload runs (nil), or a step (StepError) or the
// exec itself (ExecError) has failed.
func (c *Child) WaitExec() error {
	defer c.errs.Close()
	var buf [16]byte
	n, err := io.ReadFull(c.errs, buf[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case n == 4:
		return &ExecError{syscall.Errno(binary.NativeEndian.Uint32(buf[:4]))}
	case err != nil:
		return fmt.Errorf("read the child's report: %w", err)
	}
	i := binary.NativeEndian.Uint64(buf[:8])
	errno := syscall.Errno(binary.NativeEndian.Uint64(buf[8:]))
	if i == syncStep {
		return &StepError{"wait for the launcher", errno}
	}
	if i >= uint64(len(c.labels)) {
		return fmt.Errorf("the child reports step %d of %d", i, len(c.labels))
	}
	return &StepError{c.labels[i], errno}
}

// Kill ends the child by SIGKILL; a child that is gone is no error.
func (c *Child) Kill() error {
	err := unix.PidfdSendSignal(int(c.PIDFD.Fd()), unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", c.PID, err)
	}
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
	c.sync.Close()
	c.errs.Close()
	c.PIDFD.Close()
}

// syncStep is the step number that stands for the wait before the first one.
const syncStep = 1<<63 - 1

// sysOpenat2 has one number everywhere.
const sysOpenat2 = 437

// childFrame is what childLoop needs, in memory that the clone copies.
type childFrame struct {
	ops   unsafe.Pointer // of n op
	regs  unsafe.Pointer // of maxRegs uintptr
	n     int32
	syncR uintptr
	syncW uintptr
	errW  uintptr
	buf   [2]uint64
}

// rawStart clones; the child never returns.
//
//go:norace
//go:noinline
func rawStart(flags uintptr, pidfd *int32, f *childFrame) (pid uintptr, errno syscall.Errno) {
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, flags, 0, uintptr(unsafe.Pointer(pidfd)), 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	childLoop(f)
	return 0, 0
}

// childLoop carries out the ops in the child. Only RawSyscall6 may be called
// here: there is no scheduler, no stack growth and no garbage collector any
// more (start_asm_test.go disassembles this function and refuses other calls).
//
//go:nosplit
//go:norace
//go:nocheckptr
//go:noinline
func childLoop(f *childFrame) {
	var i, again int32
	var r uintptr
	var e syscall.Errno
	// The write end is the launcher's alone: only then is its death an EOF.
	syscall.RawSyscall6(syscall.SYS_CLOSE, f.syncW, 0, 0, 0, 0, 0)
	r, _, e = syscall.RawSyscall6(syscall.SYS_READ, f.syncR, uintptr(unsafe.Pointer(&f.buf)), 1, 0, 0, 0)
	if e != 0 || r != 1 {
		f.buf[0], f.buf[1] = syncStep, uint64(syscall.EPIPE)
		goto fail
	}
	for i = 0; i < f.n; i++ {
		o := (*op)(unsafe.Add(f.ops, uintptr(i)*unsafe.Sizeof(op{})))
		e = 0
		switch o.nr {
		case opPoke:
			*(*int32)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0]))) = int32(*(*uintptr)(unsafe.Add(f.regs, o.a[1]*8)))
			continue
		case opJump:
			i = o.target - 1
			continue
		case opNeed:
			if *(*uintptr)(unsafe.Add(f.regs, o.a[0]*8)) != o.a[1] {
				e = syscall.Errno(o.a[2])
			}
		case opRefuse:
			if *(*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0]))) == uint64(o.a[1]) {
				e = syscall.Errno(o.a[2])
			}
		case opNeedWord:
			if *(*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0]))) != uint64(o.a[1]) {
				e = syscall.Errno(o.a[2])
			}
		default:
			a0, a1, a2, a3, a4, a5 := o.a[0], o.a[1], o.a[2], o.a[3], o.a[4], o.a[5]
			if o.byReg != 0 {
				if o.byReg&1 != 0 {
					a0 = *(*uintptr)(unsafe.Add(f.regs, a0*8))
				}
				if o.byReg&2 != 0 {
					a1 = *(*uintptr)(unsafe.Add(f.regs, a1*8))
				}
				if o.byReg&4 != 0 {
					a2 = *(*uintptr)(unsafe.Add(f.regs, a2*8))
				}
				if o.byReg&8 != 0 {
					a3 = *(*uintptr)(unsafe.Add(f.regs, a3*8))
				}
				if o.byReg&16 != 0 {
					a4 = *(*uintptr)(unsafe.Add(f.regs, a4*8))
				}
				if o.byReg&32 != 0 {
					a5 = *(*uintptr)(unsafe.Add(f.regs, a5*8))
				}
			}
			r, _, e = syscall.RawSyscall6(o.nr, a0, a1, a2, a3, a4, a5)
		}
		if e == 0 {
			if o.dst != noReg {
				*(*uintptr)(unsafe.Add(f.regs, uintptr(o.dst)*8)) = r
			}
			continue
		}
		if e == syscall.EAGAIN && o.nr == sysOpenat2 && again < 100 {
			// Something was renamed while the path was walked: openat2(2).
			again++
			i--
			continue
		}
		if o.catch == uint16(e) || o.catch == anyErrno {
			i = o.target - 1
			continue
		}
		if uint16(e) == o.allow[0] || uint16(e) == o.allow[1] {
			continue
		}
		f.buf[0], f.buf[1] = uint64(uint32(i)), uint64(e)
		goto fail
	}
	// A program ends in an exec; falling off its end is a mistake of ours.
	f.buf[0], f.buf[1] = uint64(uint32(f.n-1)), uint64(syscall.ENOEXEC)
fail:
	syscall.RawSyscall6(syscall.SYS_WRITE, f.errW, uintptr(unsafe.Pointer(&f.buf)), 16, 0, 0, 0)
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 125, 0, 0, 0, 0, 0)
	}
}
