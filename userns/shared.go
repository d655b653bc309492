package userns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Begin clones a child whose program comes later, by Give: its namespaces are
// made while the launcher is still working out what is to be done in them. It
// has the launcher's memory until it executes something, so neither page tables
// nor pages are copied; what it has of descriptors is what is open now.
//
// Only for namespaces that the clone itself makes. Where others are already,
// one who may trace the child would have the launcher's memory, too.
//
// An error says that this cannot be done here (clone3(2) is younger than
// clone(2), and refused by some filters); Start may do.
func Begin(flags uintptr) (*Child, error) {
	if raceDetector {
		return nil, fmt.Errorf("clone: %w", errors.ErrUnsupported)
	}
	s := &shared{stack: make([]byte, sharedStack), regs: make([]uintptr, maxRegs)}
	var err error
	if s.dumpable, err = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("ask whether the launcher may be traced: %w", err)
	}
	// Plain descriptors: os.Pipe would put them into the poller.
	var start, errs [2]int
	if err := unix.Pipe2(start[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make the start pipe: %w", err)
	}
	defer unix.Close(start[0])
	if err := unix.Pipe2(errs[:], unix.O_CLOEXEC); err != nil {
		unix.Close(start[1])
		return nil, fmt.Errorf("make the error pipe: %w", err)
	}
	defer unix.Close(errs[1])
	s.regs[ErrFD], s.regs[syncFD] = uintptr(errs[1]), uintptr(start[0])
	s.frame = &childFrame{
		regs: unsafe.Pointer(unsafe.SliceData(s.regs)), shared: 1,
		syncR: uintptr(start[0]), syncW: uintptr(start[1]), errW: uintptr(errs[1]),
	}
	args := &cloneArgs{
		flags: uint64(flags | unix.CLONE_PIDFD | unix.CLONE_VM | unix.CLONE_CLEAR_SIGHAND), exitSignal: uint64(syscall.SIGCHLD),
		pidfd: uint64(uintptr(unsafe.Pointer(&s.pidfd))),
		stack: uint64(uintptr(unsafe.Pointer(&s.stack[0]))), stackSize: sharedStack - 64, // childLoop's argument lies above
	}
	syscall.ForkLock.Lock()
	pid, errno := startShared(args, s.frame)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		unix.Close(start[1])
		unix.Close(errs[0])
		return nil, fmt.Errorf("clone: %w", &StepError{Step: "create namespaces", Errno: errno})
	}
	return &Child{
		PID: int(pid), PIDFD: os.NewFile(uintptr(s.pidfd), "pidfd"),
		sync: os.NewFile(uintptr(start[1]), "start pipe"), errs: os.NewFile(uintptr(errs[0]), "error pipe"), shared: s,
	}, nil
}

// sharedStack is much: the linker lets what runs on it have 800 bytes.
const sharedStack = 16 << 10

// shared is what a child uses of the launcher's memory.
type shared struct {
	stack    []byte
	regs     []uintptr
	frame    *childFrame
	prog     *Program
	pidfd    int32
	dumpable int
}

// Give hands a child of Begin its program. It may be changed no more, and the
// child's first Release comes after this.
func (c *Child) Give(p *Program) error {
	if err := p.finish(); err != nil {
		return fmt.Errorf("prepare the child: %w", err)
	}
	s := c.shared
	if s.frame.errW < p.minErr {
		return fmt.Errorf("prepare the child: its error pipe is %d, and must be from %d on", s.frame.errW, p.minErr)
	}
	s.prog, c.labels = p, p.labels
	s.frame.ops, s.frame.n = unsafe.Pointer(unsafe.SliceData(p.ops)), int32(len(p.ops))
	return nil
}

// executed says that the child has memory of its own now, or is gone. While it
// had ours, its change of user closed our own /proc files to us.
func (s *shared) executed() {
	if s == nil || s.frame == nil {
		return
	}
	if s.dumpable == 1 {
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // never fails for 1
	}
	runtime.KeepAlive(s)
	*s = shared{}
}

// startShared clones; the child goes on in childLoop on its own stack.
//
//go:norace
//go:noinline
func startShared(args *cloneArgs, f *childFrame) (pid uintptr, errno syscall.Errno) {
	// The child's dispositions are the default ones from its first moment
	// (CLONE_CLEAR_SIGHAND); it gives itself the mask back in childLoop.
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&f.mask)), 8, 0, 0)
	beforeFork()
	pid, e := cloneShared(args, unsafe.Sizeof(*args), f)
	afterFork()
	return pid, syscall.Errno(e)
}

// cloneShared is clone3(2); the child calls childLoop with f. In shared_*.s.
func cloneShared(args *cloneArgs, size uintptr, f *childFrame) (pid, errno uintptr)
