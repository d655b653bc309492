package seccomp

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// elf386 is a 32-bit program that makes one call by int 0x80 and exits with the
// errno it got.
func elf386(t *testing.T, nr, arg uint32) string {
	t.Helper()
	le := binary.LittleEndian
	code := le.AppendUint32([]byte{0xb8}, nr)                                             // mov eax, nr
	code = le.AppendUint32(append(code, 0xbb), arg)                                       // mov ebx, arg
	code = append(code, 0x31, 0xc9, 0x31, 0xd2)                                           // xor ecx, ecx; xor edx, edx
	code = append(code, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80) // int 0x80; exit(-eax)
	const base, head = 0x08048000, 52 + 32
	b := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	for _, v := range []uint32{3<<16 | 2, 1, base + head, 52, 0, 0} { // EM_386, ET_EXEC; version; entry; phoff; shoff; flags
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint16{52, 32, 1, 40, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	size := uint32(head + len(code))
	for _, v := range []uint32{1, 0, base, base, size, size, 5, 0x1000} { // PT_LOAD, r-x
		b = le.AppendUint32(b, v)
	}
	return program(t, append(b, code...))
}

// elf64 is a 64-bit program that makes one call and exits with 0.
func elf64(t *testing.T, nr uint32) string {
	t.Helper()
	le := binary.LittleEndian
	code := le.AppendUint32([]byte{0xb8}, nr)                                  // mov eax, nr
	code = append(code, 0x0f, 0x05, 0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05) // syscall; exit(0)
	const base, head = 0x400000, 64 + 56
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint64(b, 1<<32|62<<16|2)                            // version; EM_X86_64, ET_EXEC
	for _, v := range []uint64{base + head, 64, 0, 56<<48 | 64<<32} { // entry; phoff; shoff; phentsize, ehsize, flags
		b = le.AppendUint64(b, v)
	}
	for _, v := range []uint16{1, 64, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	size := uint64(head + len(code))
	for _, v := range []uint64{5<<32 | 1, 0, base, base, size, size, 0x1000} { // r-x, PT_LOAD
		b = le.AppendUint64(b, v)
	}
	return program(t, append(b, code...))
}

func program(t *testing.T, elf []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, elf, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKernelI386 comes in by the 32-bit door.
func TestKernelI386(t *testing.T) {
	const badf = 6 // close(-1)
	if _, state := command(t, order{Exec: elf386(t, badf, 0xffffffff)}); state.ExitCode() != int(unix.EBADF) {
		cannot(t, "this kernel runs no i386 programs: %v", state)
	}
	prog := compiled(t, defaultFor(t, dockerCaps))
	for _, c := range []struct {
		name    string
		nr, arg uint32
		want    unix.Errno
	}{
		{"close", badf, 0xffffffff, unix.EBADF},
		{"keyctl", 288, 9999, unix.EPERM},
		{"unshare", 310, 1, unix.EPERM},
		{"clone3", 435, 0, unix.ENOSYS},
		{"clone", 120, unix.CLONE_SIGHAND, unix.EINVAL},
		{"clone newuser", 120, unix.CLONE_SIGHAND | unix.CLONE_NEWUSER, unix.EPERM},
		{"socketcall", 102, 99, unix.EINVAL},
		{"socket alg", 359, unix.AF_ALG, unix.EPERM},
		{"newer than the profile", 467, 0, unix.ENOSYS},
	} {
		_, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Exec: elf386(t, c.nr, c.arg)})
		if state.ExitCode() != int(c.want) {
			t.Errorf("%s: %v, want exit %d", c.name, state, c.want)
		}
	}
	p := defaultFor(t, dockerCaps)
	p.Architectures = nil
	prog = compiled(t, p)
	_, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Exec: elf386(t, badf, 0)})
	if state.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
		t.Errorf("i386 not in the profile: %v, want SIGSYS", state)
	}
}

// TestKernelX32: a call of the x32 ABI is judged as such, whether or not the
// kernel has that ABI.
func TestKernelX32(t *testing.T) {
	prog := compiled(t, defaultFor(t, dockerCaps))
	rs, _ := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Calls: [][]uint64{
		{x32Bit | unix.SYS_KEYCTL, 9999}, {x32Bit | unix.SYS_CLONE3}, {x32Bit | 600}, {x32Bit | unix.SYS_CLONE, unix.CLONE_SIGHAND | unix.CLONE_NEWUSER},
	}})
	for i, want := range []unix.Errno{unix.EPERM, unix.ENOSYS, unix.ENOSYS, unix.EPERM} {
		if got := rs[i+1].Errno; got != want {
			t.Errorf("x32 call %d: %v, want %v", i, got, want)
		}
	}
	p := defaultFor(t, dockerCaps)
	p.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86}
	prog = compiled(t, p)
	if _, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Exec: elf64(t, unix.SYS_GETPID)}); !state.Success() {
		t.Errorf("x86_64: %v", state)
	}
	_, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Exec: elf64(t, x32Bit|unix.SYS_GETPID)})
	if state.Sys().(syscall.WaitStatus).Signal() != unix.SIGSYS {
		t.Errorf("x32 not in the profile: %v, want SIGSYS", state)
	}
}
