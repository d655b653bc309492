package userns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The stub stands between us and the payload (CVE-2019-5736): until the
// payload is exec'd, its /proc/PID/exe is what ran before, and an image whose
// command is /proc/self/exe, or a script with that interpreter, gets hold of
// it. So the last thing a child of ours runs is this: some hundred bytes of
// assembler in a sealed memfd, nothing worth overwriting. By argv[0] it is
//
//	[coracle:exec] ERRFD CANDIDATE… "" ARGV…   exec's the first candidate that is there
//	[coracle:init] ERRFD CANDIDATE… "" ARGV…   the same in a child, and stays as pid 1: forwards signals, reaps, ends with the child's status
//	[coracle:guard] 0 0                        reads descriptor 0 to its end, then kills the pidfd on descriptor 1
//	[coracle:created] …                        as exec, once a byte has come from descriptor ERRFD+1
//	[coracle:created-init] …                   as init, likewise
//
// and with any other argv[0] (somebody re-entered it) it exits 126. A failed
// exec writes its errno to ERRFD, which is closed on a successful one.
const (
	StubExec  = "[coracle:exec]"
	StubInit  = "[coracle:init]"
	StubGuard = "[coracle:guard]"

	stubCreated     = "[coracle:created]" // of these only the letters at 9 and 16 count
	stubCreatedInit = "[coracle:created-init]"
)

// In stub_amd64.s and stub_arm64.s.
func stubCode() //nolint:unused // by stubAddr, and it declares what the assembler defines
func stubAddr() uintptr

const (
	stubBase    = 0x400000
	elfHeader   = 64
	progHeader  = 56
	stubMaxSize = 2048
)

// stubBytes is the stub's machine code, from its entry up to its end mark.
func stubBytes() ([]byte, error) {
	addr := stubAddr()
	code := unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), stubMaxSize)
	end := bytes.Index(code, []byte("CRCL-END"))
	if end < 0 {
		return nil, fmt.Errorf("the stub has no end within %d bytes", stubMaxSize)
	}
	return code[:end], nil
}

// StubELF is a static executable made of the stub: one loadable segment,
// read and execute, and a stack that is not executable.
func StubELF() ([]byte, error) {
	code, err := stubBytes()
	if err != nil {
		return nil, err
	}
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	const start = elfHeader + 2*progHeader
	b := make([]byte, 0, start+len(code))
	b = append(b, 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	le := binary.LittleEndian
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, stubBase+start) // entry
	b = le.AppendUint64(b, elfHeader)      // program headers
	b = le.AppendUint64(b, 0)              // no sections
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{elfHeader, progHeader, 2, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	size := uint64(start + len(code))
	b = appendProgHeader(b, 1, 5, stubBase, size, 0x10000) // PT_LOAD, r-x
	b = appendProgHeader(b, 0x6474e551, 6, 0, 0, 16)       // PT_GNU_STACK, rw-
	return append(b, code...), nil
}

func appendProgHeader(b []byte, kind, flags uint32, addr, size, align uint64) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, kind)
	b = le.AppendUint32(b, flags)
	for _, v := range []uint64{0, addr, addr, size, size, align} {
		b = le.AppendUint64(b, v)
	}
	return b
}

// OpenStub returns a sealed memfd with the stub, close-on-exec.
func OpenStub() (*os.File, error) {
	elf, err := StubELF()
	if err != nil {
		return nil, err
	}
	// MFD_EXEC says that executing is meant (vm.memfd_noexec=1); kernels
	// before 6.3 do not know the flag.
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("coracle-stub", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("coracle-stub", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("make the exec stub (is sysctl vm.memfd_noexec set to 2?): %w", err)
	}
	f := os.NewFile(uintptr(fd), "coracle-stub")
	if _, err := f.Write(elf); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the exec stub: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the exec stub: %w", err)
	}
	return f, nil
}

// Exec is the payload as the stub starts it.
type Exec struct {
	Init       bool     // stay as a small pid 1
	Candidates []string // paths to try in order, as execvp would
	Args, Env  []string
	FirstFD    uint // descriptors from here on are closed (3 + preserved ones)
	// Created makes the stub wait before it goes on; nil for a start at once.
	Created *Created
}

// Created are the two named pipes of a container that has been created and
// waits to be started. Nothing of ours but the stub runs in it meanwhile.
type Created struct {
	Start  *os.File // read and write, so that it never ends: one byte starts the payload
	Report *os.File // write end: the errno of a failed exec; closed by one that succeeds
}

// PrepareStub appends the steps that sort the descriptors: the error pipe
// becomes x.FirstFD, everything behind it is closed on exec. It comes after
// the last step that uses a descriptor of the launcher, and before the limit
// on descriptors is set. The register is for ExecStub.
//
// With x.Created the pipes of that are x.FirstFD and the next; the error pipe
// then ends with the exec of the stub, which says "created".
func (p *Program) PrepareStub(stub *os.File, x Exec) Reg {
	next := uintptr(x.FirstFD) + 1
	if x.Created != nil {
		next++
		p.minErr = next
	}
	keep := func(what string, from any) Reg {
		r := p.NewReg()
		p.Call("keep the "+what, unix.SYS_FCNTL, from, unix.F_DUPFD_CLOEXEC, next).To(r)
		return r
	}
	if c := x.Created; c != nil {
		start, report, fd := keep("start pipe", c.Start.Fd()), keep("report pipe", c.Report.Fd()), keep("exec stub", stub.Fd())
		p.Call("place the report pipe", unix.SYS_DUP3, report, uintptr(x.FirstFD), 0)
		p.Call("place the start pipe", unix.SYS_DUP3, start, uintptr(x.FirstFD)+1, 0)
		p.CloseExec(uint(next))
		return fd
	}
	errs, fd := keep("error pipe", ErrFD), keep("exec stub", stub.Fd())
	p.Call("place the error pipe", unix.SYS_DUP3, errs, uintptr(x.FirstFD), 0)
	p.CloseExec(x.FirstFD + 1)
	return fd
}

// ExecStub appends the last step.
func (p *Program) ExecStub(stub Reg, x Exec) {
	argv := x.stubArgs()
	p.Call("exec "+x.Args[0], unix.SYS_EXECVEAT, stub, "", p.Strings(argv), p.Strings(x.Env), unix.AT_EMPTY_PATH)
}

// ExecStubPath is ExecStub for where execveat(2) cannot be had: by a path that
// leads to the stub.
func (p *Program) ExecStubPath(path string, x Exec) {
	p.Call("exec "+x.Args[0], unix.SYS_EXECVE, path, p.Strings(x.stubArgs()), p.Strings(x.Env))
}

func (x Exec) stubArgs() []string {
	name := StubExec
	switch {
	case x.Created != nil && x.Init:
		name = stubCreatedInit
	case x.Created != nil:
		name = stubCreated
	case x.Init:
		name = StubInit
	}
	argv := append([]string{name, strconv.FormatUint(uint64(x.FirstFD), 10)}, x.Candidates...)
	return append(append(argv, ""), x.Args...)
}
