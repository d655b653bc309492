package seccomp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// judge is libseccomp in a process of its own; see testdata/judge.c.
type judge struct {
	in      *bufio.Writer
	out     *bufio.Reader
	version string
}

// cannot skips a test that lacks something, or fails it where everything is
// promised to be there.
func cannot(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func newJudge(t testing.TB) *judge {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "judge")
	if out, err := exec.Command("cc", "-O1", "-o", bin, "testdata/judge.c", "-lseccomp").CombinedOutput(); err != nil {
		cannot(t, "build the judge (needs gcc and libseccomp-dev): %v\n%s", err, out)
	}
	cmd := exec.Command(bin)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("judge: %v", err)
		}
	})
	j := &judge{in: bufio.NewWriter(in), out: bufio.NewReader(out)}
	fmt.Fprintln(j.in, "version")
	v := j.read(t, 3)
	j.version = fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
	return j
}

func (j *judge) read(t testing.TB, n int) []uint32 {
	t.Helper()
	if err := j.in.Flush(); err != nil {
		t.Fatal(err)
	}
	v := make([]uint32, n)
	if err := binary.Read(j.out, binary.NativeEndian, v); err != nil {
		t.Fatalf("judge: %v", err)
	}
	return v
}

// libseccomp's names for architectures (seccomp.h): the audit token, but for
// x32 one of its own.
var scmpArch = map[specs.Arch]uint32{
	specs.ArchX86_64:  unix.AUDIT_ARCH_X86_64,
	specs.ArchX86:     unix.AUDIT_ARCH_I386,
	specs.ArchX32:     unix.AUDIT_ARCH_X86_64 &^ 0x80000000,
	specs.ArchAARCH64: unix.AUDIT_ARCH_AARCH64,
	specs.ArchARM:     unix.AUDIT_ARCH_ARM,
}

var scmpOp = map[specs.LinuxSeccompOperator]int{
	specs.OpNotEqual: 1, specs.OpLessThan: 2, specs.OpLessEqual: 3, specs.OpEqualTo: 4,
	specs.OpGreaterEqual: 5, specs.OpGreaterThan: 6, specs.OpMaskedEqual: 7,
}

// scmpAction is written out once more, apart from parseAction.
func scmpAction(act specs.LinuxSeccompAction, errno *uint) uint32 {
	ret := uint32(1)
	if errno != nil {
		ret = uint32(*errno)
	}
	switch act {
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		return 0
	case "SCMP_ACT_KILL_PROCESS":
		return 0x80000000
	case "SCMP_ACT_TRAP":
		return 0x00030000
	case "SCMP_ACT_ERRNO":
		return 0x00050000 | ret
	case "SCMP_ACT_NOTIFY":
		return 0x7fc00000
	case "SCMP_ACT_TRACE":
		return 0x7ff00000 | ret
	case "SCMP_ACT_LOG":
		return 0x7ffc0000
	case "SCMP_ACT_ALLOW":
		return 0x7fff0000
	}
	panic("action " + act)
}

// resolve asks libseccomp for a number. Without one, ok is false; without any
// architecture that has the name, known is.
func (j *judge) resolve(t testing.TB, arch specs.Arch, name string) (nr uint32, ok, known bool) {
	t.Helper()
	fmt.Fprintf(j.in, "resolve %x %s\n", scmpArch[arch], name)
	v := int32(j.read(t, 1)[0])
	return uint32(v), v >= 0, v != -1 && !j.tooOld(name)
}

// tooOld: libseccomp 2.5 took map_shadow_stack for one of x86_64 alone.
func (j *judge) tooOld(name string) bool {
	return name == "map_shadow_stack" && strings.HasPrefix(j.version, "2.5.")
}

// known drops the names that this libseccomp is too old for.
func (j *judge) known(t testing.TB, p *specs.LinuxSeccomp) (*specs.LinuxSeccomp, []string) {
	t.Helper()
	out := *p
	out.Syscalls = nil
	var dropped []string
	for _, sc := range p.Syscalls {
		sc.Names = slices.DeleteFunc(slices.Clone(sc.Names), func(name string) bool {
			_, _, known := j.resolve(t, specs.ArchX86_64, name)
			if !known {
				dropped = append(dropped, name)
			}
			return !known
		})
		if len(sc.Names) > 0 {
			out.Syscalls = append(out.Syscalls, sc)
		}
	}
	return &out, dropped
}

// compile is what runc hands to libseccomp (libcontainer/seccomp), without its
// ENOSYS stub.
func (j *judge) compile(t testing.TB, p *specs.LinuxSeccomp, goarch string, optimize int) ([]unix.SockFilter, error) {
	t.Helper()
	return j.compileFor(t, p, append(slices.Clone(p.Architectures), abisOf(goarch)[0].name), optimize)
}

func (j *judge) compileFor(t testing.TB, p *specs.LinuxSeccomp, archs []specs.Arch, optimize int) ([]unix.SockFilter, error) {
	t.Helper()
	fmt.Fprintf(j.in, "begin %x %d\n", scmpAction(p.DefaultAction, p.DefaultErrnoRet), optimize)
	for _, a := range archs {
		fmt.Fprintf(j.in, "arch %x\n", scmpArch[a])
	}
	if !slices.Contains(archs, abisOf(runtime.GOARCH)[0].name) {
		fmt.Fprintln(j.in, "alien")
	}
	for _, sc := range p.Syscalls {
		act := scmpAction(sc.Action, sc.ErrnoRet)
		for _, name := range sc.Names {
			for _, args := range asRunc(sc.Args) {
				fmt.Fprintf(j.in, "rule %x %s %d", act, name, len(args))
				for _, a := range args {
					fmt.Fprintf(j.in, " %x %x %x %x", a.Index, scmpOp[a.Op], a.Value, a.ValueTwo)
				}
				fmt.Fprintln(j.in)
			}
		}
	}
	fmt.Fprintln(j.in, "end")
	head := j.read(t, 2)
	if rc := int32(head[0]); rc != 0 {
		return nil, fmt.Errorf("libseccomp: %w", unix.Errno(-rc))
	}
	code := make([]unix.SockFilter, head[1])
	if err := binary.Read(j.out, binary.NativeEndian, code); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return code, nil
}

// asRunc takes a rule that names an argument twice apart.
func asRunc(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	seen := map[uint]bool{}
	for _, a := range args {
		if seen[a.Index] {
			var out [][]specs.LinuxSeccompArg
			for _, a := range args {
				out = append(out, []specs.LinuxSeccompArg{a})
			}
			return out
		}
		seen[a.Index] = true
	}
	return [][]specs.LinuxSeccompArg{args}
}

// stub is runc's ENOSYS stub (libcontainer/seccomp/patchbpf), as a function: the
// highest number of each ABI in the profile, or 0.
type stub map[specs.Arch]uint32

func (j *judge) stub(t testing.TB, p *specs.LinuxSeccomp, native specs.Arch) stub {
	t.Helper()
	if strings.HasSuffix(string(p.DefaultAction), "_ALLOW") || strings.HasSuffix(string(p.DefaultAction), "_LOG") ||
		strings.HasSuffix(string(p.DefaultAction), "_TRACE") {
		return nil
	}
	s := stub{}
	for _, a := range append([]specs.Arch{native}, p.Architectures...) {
		for _, sc := range p.Syscalls {
			for _, name := range sc.Names {
				if nr, ok, _ := j.resolve(t, a, name); ok {
					s[a] = max(s[a], nr)
				}
			}
		}
	}
	return s
}

func (s stub) says(d data) bool {
	abi := specs.Arch("")
	for name, token := range scmpArch {
		if token == d.arch && name != specs.ArchX32 {
			abi = name
		}
	}
	if abi == specs.ArchX86_64 && d.nr&0x40000000 != 0 {
		abi = specs.ArchX32
	}
	return s[abi] != 0 && d.nr > s[abi]
}
