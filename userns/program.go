package userns

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Program is a flat list of system calls that a raw-cloned child carries
// out. The child shares nothing with the Go runtime any more: it is single
// threaded, cannot allocate, grow its stack or call an ordinary function, and
// so everything it needs (strings, structures, jump targets) is laid out here
// before the clone. Results live in registers, mostly descriptors.
//
// The zero Program is empty and ready for use. Errors of the builder methods
// (a NUL in a string) are kept and returned by Start.
type Program struct {
	ops    []op
	labels []string
	keep   [][]byte
	room   []byte  // for short strings, see str
	spots  []int32 // jump targets, by Spot
	patch  []patch
	regs   uint8
	minErr uintptr // the error pipe's descriptor is at least this
	closed uint    // see CloseExec; 0 for none
	err    error
}

// Reg is a register of the child: the result of a call, used by later ones.
type Reg uint8

// Spot is a place in the Program that a failed call can jump to.
type Spot int

const (
	maxRegs = 64
	noReg   = 0xff

	// Pseudo calls, carried out by the child without entering the kernel.
	opPoke     = ^uintptr(0)      // *(*int32)(a0) = register a1
	opJump     = ^uintptr(0) - 1  // go on at target
	opNeed     = ^uintptr(0) - 2  // fail with errno a2 unless register a0 == a1
	opRefuse   = ^uintptr(0) - 3  // fail with errno a2 when *(*uint64)(a0) == a1
	opNeedWord = ^uintptr(0) - 4  // fail with errno a2 unless *(*uint64)(a0) == a1
	opPeek     = ^uintptr(0) - 5  // register a1 = *(*uint32)(a0)
	opBlend    = ^uintptr(0) - 8  // register a0 = register & a1 | a2
	opSame     = ^uintptr(0) - 6  // fail with errno a2 unless *(*uint64)(a0) == *(*uint64)(a1)
	opSet      = ^uintptr(0) - 7  // register a0 = a1
	opOctal    = ^uintptr(0) - 10 // *(*[4]byte)(a0) = the octal digits of *(*uint32)(a1)
	opReply    = ^uintptr(0) - 9  // fail with errno *(*uint32)(a0) unless it is 0; the result is *(*uint32)(a1)

	// anyErrno catches every error.
	anyErrno = 0xffff
)

// op is one step as the child reads it: no Go pointers, fixed size.
type op struct {
	nr     uintptr
	a      [6]uintptr
	byReg  uint8     // bit i: a[i] is a register's number
	dst    uint8     // register for the result, or noReg
	allow  [4]uint16 // errnos that count as success
	catch  uint16    // errno that jumps to target, or anyErrno
	target int32
}

type patch struct {
	op   int
	spot Spot
}

// NewReg reserves a register.
func (p *Program) NewReg() Reg {
	if Reg(p.regs) == syncFD {
		p.fail(fmt.Errorf("a program needs more than %d registers", syncFD))
		return 0
	}
	p.regs++
	return Reg(p.regs - 1)
}

// Len is the number of steps.
func (p *Program) Len() int { return len(p.ops) }

// Reserve makes room for n steps more. A Program grows without, but each time it
// does all steps are copied to fresh memory, which takes longer than laying
// them out.
func (p *Program) Reserve(n int) {
	p.ops, p.labels = slices.Grow(p.ops, n), slices.Grow(p.labels, n)
	p.keep, p.patch, p.spots = slices.Grow(p.keep, n/8), slices.Grow(p.patch, n/3), slices.Grow(p.spots, n/5)
}

// Labels are the steps in words, in order: what `--dry-run` prints.
func (p *Program) Labels() []string { return p.labels }

func (p *Program) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// Err is the first mistake made while building.
func (p *Program) Err() error { return p.err }

// Bytes copies b into memory that stays for the child and returns it.
func (p *Program) Bytes(b []byte) []byte {
	c := append(make([]byte, 0, (len(b)+16)&^15), b...) // 16: alignment
	p.keep = append(p.keep, c)
	return c
}

func (p *Program) str(s string) uintptr {
	if strings.IndexByte(s, 0) >= 0 {
		p.fail(fmt.Errorf("%q: a NUL in a string for the kernel", s))
	}
	n := len(s) + 1
	if n > len(p.room) {
		// A container has a thousand strings; they come in large pieces.
		p.room = make([]byte, max(n, 16<<10))
		p.keep = append(p.keep, p.room)
	}
	b := p.room[:n:n]
	p.room = p.room[n:]
	copy(b, s)
	return uintptr(unsafe.Pointer(&b[0]))
}

// Strings lays out a NULL-terminated vector of C strings (argv, envp) and
// returns its address as an argument.
func (p *Program) Strings(ss []string) uintptr {
	words := make([]byte, 8*(len(ss)+1))
	p.keep = append(p.keep, words)
	for i, s := range ss {
		*(*uintptr)(unsafe.Pointer(&words[8*i])) = p.str(s)
	}
	return uintptr(unsafe.Pointer(&words[0]))
}

// Step is one call under construction.
type Step struct {
	p *Program
	i int
}

// Call appends a system call. Arguments are integers, Reg, string (a C
// string), []byte (its address; nil is NULL) or uintptr; label says what the
// step does, for errors and for the printed plan.
func (p *Program) Call(label string, nr uintptr, args ...any) Step {
	o := op{nr: nr, dst: noReg}
	if len(args) > len(o.a) {
		p.fail(fmt.Errorf("%s: %d arguments", label, len(args)))
		args = args[:len(o.a)]
	}
	for i, a := range args {
		v, isReg := p.arg(label, a)
		o.a[i] = v
		if isReg {
			o.byReg |= 1 << i
		}
	}
	if p.ops == nil {
		p.Reserve(512) // most programs are of some hundred steps
	}
	p.ops = append(p.ops, o)
	p.labels = append(p.labels, label)
	return Step{p, len(p.ops) - 1}
}

func (p *Program) arg(label string, a any) (v uintptr, isReg bool) {
	switch a := a.(type) {
	case Reg:
		return uintptr(a), true
	case int:
		return uintptr(a), false
	case uint:
		return uintptr(a), false
	case uint32:
		return uintptr(a), false
	case uint64:
		return uintptr(a), false
	case uintptr:
		return a, false
	case string:
		return p.str(a), false
	case []byte:
		if len(a) == 0 {
			return 0, false
		}
		if n := len(p.keep); n == 0 || unsafe.SliceData(p.keep[n-1]) != unsafe.SliceData(a) {
			p.keep = append(p.keep, a)
		}
		return uintptr(unsafe.Pointer(&a[0])), false
	}
	// Without its %T: no argument has to leave its caller's stack for this.
	p.fail(fmt.Errorf("%s: an argument of another type", label))
	return 0, false
}

// To keeps the result in r.
func (s Step) To(r Reg) Step {
	s.p.ops[s.i].dst = uint8(r)
	return s
}

// Allow takes up to four errnos as success.
func (s Step) Allow(errnos ...syscall.Errno) Step {
	for i, e := range errnos {
		if i >= len(s.p.ops[s.i].allow) {
			s.p.fail(fmt.Errorf("%s: more than four allowed errnos", s.p.labels[s.i]))
			break
		}
		s.p.ops[s.i].allow[i] = uint16(e)
	}
	return s
}

// Catch goes on at spot when the call fails with errno (0: with any).
func (s Step) Catch(errno syscall.Errno, spot Spot) Step {
	c := uint16(errno)
	if errno == 0 {
		c = anyErrno
	}
	s.p.ops[s.i].catch = c
	s.p.patch = append(s.p.patch, patch{s.i, spot})
	return s
}

// NewSpot makes a place to jump to; Mark says where it is.
func (p *Program) NewSpot() Spot {
	p.spots = append(p.spots, -1)
	return Spot(len(p.spots) - 1)
}

// Mark puts the spot before the next step.
func (p *Program) Mark(s Spot) { p.spots[s] = int32(len(p.ops)) }

// Jump goes on at spot.
func (p *Program) Jump(spot Spot) {
	p.Call("", opJump)
	p.patch = append(p.patch, patch{len(p.ops) - 1, spot})
}

// Poke writes the register as a 32-bit integer to the start of b, which must
// have come from Bytes.
func (p *Program) Poke(b []byte, r Reg) {
	p.Call("", opPoke, b, uintptr(r))
}

// Set puts a number into a register.
func (p *Program) Set(r Reg, v uintptr) {
	p.Call("", opSet, uintptr(r), v)
}

// Need fails with errno unless the register holds want.
func (p *Program) Need(label string, r Reg, want uintptr, errno syscall.Errno) Step {
	return p.Call(label, opNeed, uintptr(r), want, uintptr(errno))
}

// finish resolves the jumps.
func (p *Program) finish() error {
	if p.err != nil {
		return p.err
	}
	for _, x := range p.patch {
		t := p.spots[x.spot]
		if t < 0 {
			return fmt.Errorf("step %q jumps to a spot that was never marked", p.labels[x.op])
		}
		p.ops[x.op].target = t
	}
	if p.closed > 0 && !HaveCloseRange() {
		return MarkCloseExec(p.closed)
	}
	return nil
}

// StepError is a step of the child that failed.
type StepError struct {
	Step  string // the label
	Errno syscall.Errno
	Text  string // says more than Errno, if not empty
}

func (e *StepError) Error() string {
	if e.Text != "" {
		return e.Step + ": " + e.Text
	}
	return e.Step + ": " + e.Errno.Error()
}

func (e *StepError) Unwrap() error { return e.Errno }

// ExecError says that the payload itself could not be executed.
type ExecError struct{ Errno syscall.Errno }

func (e *ExecError) Error() string { return "exec: " + e.Errno.Error() }
func (e *ExecError) Unwrap() error { return e.Errno }

// CloseExec marks every descriptor from first on close-on-exec. A kernel
// without close_range(2) and its flag for that (Linux 5.11) leaves it at what
// the launcher marks before the start (MarkCloseExec): the child's own are made
// with that flag. Of several, the last is for the payload, and counts there.
func (p *Program) CloseExec(first uint) {
	p.closed = first
	p.Call("close descriptors on exec", unix.SYS_CLOSE_RANGE, uintptr(first), uintptr(^uint32(0)), uintptr(unix.CLOSE_RANGE_CLOEXEC)).
		Allow(unix.ENOSYS, unix.EPERM, unix.EINVAL)
}

// RestoreNofile sets RLIMIT_NOFILE to what the caller had (see
// internal/nofile, whose answer this takes): Go raises its own soft limit.
func (p *Program) RestoreNofile(soft, hard uint64, known bool) {
	if !known {
		return
	}
	lim := make([]byte, 16)
	binary.NativeEndian.PutUint64(lim, soft)
	binary.NativeEndian.PutUint64(lim[8:], hard)
	p.Call("restore the limit on descriptors", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, lim, 0)
}

// Fork makes the rest of the program run in a new process, which is the
// launcher's child, too: setns(2) and unshare(2) put only later children into a
// pid namespace. Child.PID and PIDFD are the new one's once AwaitFork, Await or
// WaitExec has read of it.
func (p *Program) Fork(label string) {
	pid, parent, child := p.NewReg(), p.NewSpot(), p.NewSpot()
	// The new process goes on when this one has said who it is, and ended.
	fds, r, w := p.Bytes(make([]byte, 8)), p.NewReg(), p.NewReg()
	p.Call(label, unix.SYS_PIPE2, fds, unix.O_CLOEXEC)
	p.Peek(fds, r)
	p.Peek(fds[4:], w)
	p.Call(label, unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0).To(pid)
	p.Need(label, pid, 0, syscall.EEXIST).Catch(syscall.EEXIST, parent)
	p.Jump(child)
	p.Mark(parent)
	report := p.Bytes(message(reportFork, 0))
	p.Poke(report[8:], pid)
	p.Call(label+": say so", unix.SYS_WRITE, ErrFD, report, uintptr(len(report)))
	p.Call(label, unix.SYS_EXIT_GROUP, 0)
	p.Mark(child)
	p.Call(label, unix.SYS_CLOSE, w)
	p.Call(label, unix.SYS_READ, r, p.Bytes(make([]byte, 1)), 1)
	p.Call(label, unix.SYS_CLOSE, r)
}

// Report tells the launcher that the child has come this far; code is for
// Await, and below 1<<31.
func (p *Program) Report(label string, code uint32) {
	report := p.Bytes(message(reportBase+uint64(code), 0))
	p.Call(label, unix.SYS_WRITE, ErrFD, report, uintptr(len(report)))
}

// message is what comes through the error pipe: a step's number or a report,
// and a value.
func message(what, value uint64) []byte {
	b := binary.NativeEndian.AppendUint64(make([]byte, 0, 16), what)
	return binary.NativeEndian.AppendUint64(b, value)
}

// What a message is about when it is no step: see Child.next.
const (
	reportFork  = 1<<62 - 1
	reportBegun = 1<<62 - 2 // a child of Begin
	reportBase  = 1 << 61
)
