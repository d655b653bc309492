package userns

import (
	"syscall"
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

// syncStep is the step number that stands for the wait before the first one.
const syncStep = 1<<63 - 1

// textStep is the step number of a text for the step that fails next; one of
// maxText bytes still goes through the pipe in one piece.
const (
	textStep = 1 << 62
	maxText  = unix.PathMax - 16
)

// sysOpenat2 has one number everywhere.
const sysOpenat2 = 437

// maxAgain bounds how often a child repeats its openat2(2): two seconds and more,
// for a millisecond of sleep comes after every 64.
const maxAgain = 2000 * 64

// childFrame is what childLoop needs, in memory that the clone copies or shares.
type childFrame struct {
	ops    unsafe.Pointer // of n op
	regs   unsafe.Pointer // of maxRegs uintptr
	n      int32
	shared int32 // 1: see Begin
	syncR  uintptr
	syncW  uintptr
	errW   uintptr
	buf    [2]uint64
	// Only with shared.
	mask  uint64         // of signals
	poll  [2]unix.PollFd // syncR and the launcher's pidfd
	begun [2]uint64      // the message that the descriptors are its own
}

// cloneArgs is struct clone_args of clone3(2), up to the cgroup.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// rawStart clones; the child never returns. clone(2) serves where no cgroup is
// asked for: clone3(2) is refused by filters that cannot look into its arguments.
//
//go:norace
//go:noinline
func rawStart(args *cloneArgs, f *childFrame) (pid uintptr, errno syscall.Errno) {
	beforeFork()
	if args.flags&unix.CLONE_INTO_CGROUP != 0 {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, 0, 0, 0)
	} else {
		pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(args.flags|args.exitSignal), 0, uintptr(args.pidfd), 0, 0, 0)
	}
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
	var i, again, digit int32
	var r uintptr
	var e syscall.Errno
	if f.shared != 0 {
		syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&f.mask)), 0, 8, 0, 0)
		// The pipe does not end with the launcher: its write end is ours, too.
		for e = syscall.EINTR; e == syscall.EINTR; {
			_, _, e = syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&f.poll)), 2, 0, 0, 0, 0)
		}
		if f.poll[0].Revents == 0 {
			goto exit
		}
		_, _, e = syscall.RawSyscall6(unix.SYS_UNSHARE, unix.CLONE_FILES, 0, 0, 0, 0, 0)
		if e != 0 {
			f.buf[0], f.buf[1] = syncStep, uint64(e)
			goto fail
		}
		syscall.RawSyscall6(syscall.SYS_WRITE, f.errW, uintptr(unsafe.Pointer(&f.begun)), 16, 0, 0, 0)
	}
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
		case opSet:
			*(*uintptr)(unsafe.Add(f.regs, o.a[0]*8)) = o.a[1]
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
		case opPeek:
			*(*uintptr)(unsafe.Add(f.regs, o.a[1]*8)) = uintptr(*(*uint32)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0]))))
			continue
		case opBlend:
			*(*uintptr)(unsafe.Add(f.regs, o.a[0]*8)) = *(*uintptr)(unsafe.Add(f.regs, o.a[0]*8))&o.a[1] | o.a[2]
			continue
		case opOctal:
			r = uintptr(*(*uint32)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[1]))))
			for digit = 3; digit >= 0; digit-- {
				*(*byte)(unsafe.Add(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0])), digit)) = '0' + byte(r&7)
				r >>= 3
			}
			continue
		case opSame:
			if *(*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0]))) != *(*uint64)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[1]))) {
				e = syscall.Errno(o.a[2])
			}
		case opReply:
			e = syscall.Errno(*(*uint32)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[0]))))
			r = uintptr(*(*uint32)(*(*unsafe.Pointer)(unsafe.Pointer(&o.a[1]))))
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
		if e == syscall.EAGAIN && o.nr == sysOpenat2 && again < maxAgain {
			// Something was renamed or mounted, by anybody, while the path was walked:
			// openat2(2). Who takes thousands of mounts apart does so for milliseconds.
			again++
			i--
			if again%64 == 0 {
				f.buf[0], f.buf[1] = 0, 1e6 // struct timespec, 1 ms
				syscall.RawSyscall6(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&f.buf)), 0, 0, 0, 0, 0)
			}
			continue
		}
		if o.catch == uint16(e) || o.catch == anyErrno {
			i = o.target - 1
			continue
		}
		if uint16(e) == o.allow[0] || uint16(e) == o.allow[1] || uint16(e) == o.allow[2] || uint16(e) == o.allow[3] {
			continue
		}
		f.buf[0], f.buf[1] = uint64(uint32(i)), uint64(e)
		goto fail
	}
	// A program ends in an exec; falling off its end is a mistake of ours.
	f.buf[0], f.buf[1] = uint64(uint32(f.n-1)), uint64(syscall.ENOEXEC)
fail:
	syscall.RawSyscall6(syscall.SYS_WRITE, f.errW, uintptr(unsafe.Pointer(&f.buf)), 16, 0, 0, 0)
exit:
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 125, 0, 0, 0, 0, 0)
	}
}
