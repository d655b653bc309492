package userns

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Begin clones a child whose program comes later, by Give: its namespaces are
// made while the launcher is still working out what is to be done in them.
//
// It has the launcher's memory until it executes something, so neither page
// tables nor pages are copied. Until its first Release it also has the very
// descriptors of the launcher: those that the program needs may be opened
// meanwhile, and it keeps no pipe open that another process is to see the end of.
//
// Only for namespaces that the clone itself makes, or for a child that joins others where
// nobody can name it, and forks (Program.Fork) to be seen. Who may trace the child
// would have the launcher's memory, too.
//
// cgroup is the directory of the one that it is to be born in, or -1.
//
// An error says that this cannot be done here (clone3(2) is younger than
// clone(2), and refused by some filters); Start may do.
func Begin(flags uintptr, cgroup int) (*Child, error) {
	if raceDetector {
		return nil, fmt.Errorf("clone: %w", errors.ErrUnsupported)
	}
	s := &shared{stack: make([]byte, sharedStack), regs: make([]uintptr, maxRegs), pidfd: -1}
	start, errs, err := s.open()
	if err != nil {
		s.close()
		return nil, err
	}
	args := &cloneArgs{
		flags:      uint64(flags | unix.CLONE_PIDFD | unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_CLEAR_SIGHAND),
		exitSignal: uint64(syscall.SIGCHLD), pidfd: uint64(uintptr(unsafe.Pointer(&s.pidfd))),
		stack: uint64(uintptr(unsafe.Pointer(&s.stack[0]))), stackSize: sharedStack - 64, // childLoop's argument lies above
	}
	if cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(cgroup)
	}
	syscall.ForkLock.Lock()
	pid, errno := startShared(args, s.frame)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		s.close()
		unix.Close(start)
		unix.Close(errs)
		return nil, fmt.Errorf("clone: %w", &StepError{Step: "create namespaces", Errno: errno})
	}
	return &Child{
		PID: int(pid), PIDFD: os.NewFile(uintptr(s.pidfd), "pidfd"),
		sync: os.NewFile(uintptr(start), "start pipe"), errs: os.NewFile(uintptr(errs), "error pipe"), shared: s,
	}, nil
}

// open makes the pipes and lays out the frame; it returns the launcher's ends.
// Plain descriptors: os.Pipe would put them into the poller.
func (s *shared) open() (start, errs int, err error) {
	if s.dumpable, err = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return -1, -1, fmt.Errorf("ask whether the launcher may be traced: %w", err)
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return -1, -1, fmt.Errorf("open the launcher's process: %w", err)
	}
	s.childs = append(s.childs, self)
	var pipes [2][2]int
	for i := range pipes {
		if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
			s.childs = append(s.childs, pipes[0][:2*i]...)
			return -1, -1, fmt.Errorf("make the child's pipes: %w", err)
		}
	}
	s.childs = append(s.childs, pipes[0][0], pipes[1][1])
	s.regs[syncFD], s.regs[ErrFD] = uintptr(pipes[0][0]), uintptr(pipes[1][1])
	s.frame = &childFrame{
		regs: unsafe.Pointer(unsafe.SliceData(s.regs)), shared: 1, begun: [2]uint64{reportBegun},
		syncR: uintptr(pipes[0][0]), syncW: uintptr(pipes[0][1]), errW: uintptr(pipes[1][1]),
		poll: [2]unix.PollFd{{Fd: int32(pipes[0][0]), Events: unix.POLLIN}, {Fd: int32(self), Events: unix.POLLIN}},
	}
	return pipes[0][1], pipes[1][0], nil
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
	childs   []int // the child's descriptors, open here until it has its own
}

// settle waits until the released child has descriptors of its own, or is gone.
// Before that its ends of the pipes are open here, and no end of theirs would show.
func (s *shared) settle(c *Child) error {
	if s == nil || len(s.childs) == 0 {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(c.errs.Fd()), Events: unix.POLLIN}, {Fd: int32(c.PIDFD.Fd()), Events: unix.POLLIN}}
	if _, err := plainfile.Retry(func() (int, error) { return unix.Poll(fds, -1) }); err != nil {
		return fmt.Errorf("wait for the child: %w", err)
	}
	s.close()
	return nil
}

func (s *shared) close() {
	if s == nil {
		return
	}
	for _, fd := range s.childs {
		unix.Close(fd)
	}
	s.childs = nil
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
	s.close()
	s.stack, s.regs, s.frame, s.prog = nil, nil, nil, nil
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
