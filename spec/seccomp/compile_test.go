package seccomp

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func one(sc specs.LinuxSyscall) *specs.LinuxSeccomp { return allow("", sc) }

func TestCompileRefuses(t *testing.T) {
	n := func(v uint) *uint { return &v }
	read := []string{"read"}
	arg := func(a specs.LinuxSeccompArg) *specs.LinuxSeccomp {
		return allow("", specs.LinuxSyscall{Names: read, Action: specs.ActAllow},
			specs.LinuxSyscall{Names: read, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo}, a}})
	}
	notify := specs.LinuxSyscall{Names: read, Action: specs.ActNotify}
	for want, p := range map[string]*specs.LinuxSeccomp{
		`linux.seccomp.defaultAction: unknown action "ALLOW"`:                         {DefaultAction: "ALLOW"},
		`linux.seccomp.defaultAction: missing`:                                        {Syscalls: one(notify).Syscalls},
		`linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default`:          allow(specs.ActNotify),
		`linux.seccomp.defaultErrnoRet: action "SCMP_ACT_ALLOW" has no errno`:         {DefaultAction: specs.ActAllow, DefaultErrnoRet: n(1)},
		`linux.seccomp.defaultErrnoRet: 65536 is more than 65535`:                     {DefaultAction: specs.ActErrno, DefaultErrnoRet: n(65536)},
		`linux.seccomp.architectures[1]: unknown architecture "x86"`:                  {DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86, "x86"}},
		`linux.seccomp.flags[0]: unknown flag "TSYNC"`:                                {DefaultAction: specs.ActErrno, Flags: []specs.LinuxSeccompFlag{"TSYNC"}},
		`linux.seccomp.syscalls[0].names: missing`:                                    one(specs.LinuxSyscall{Action: specs.ActAllow}),
		`linux.seccomp.syscalls[0].names[1]: empty`:                                   one(specs.LinuxSyscall{Names: []string{"read", ""}, Action: specs.ActAllow}),
		`linux.seccomp.syscalls[0].action: missing`:                                   one(specs.LinuxSyscall{Names: read}),
		`linux.seccomp.syscalls[0].action: unknown action "allow"`:                    one(specs.LinuxSyscall{Names: read, Action: "allow"}),
		`linux.seccomp.syscalls[0].errnoRet: action "SCMP_ACT_KILL" has no errno`:     one(specs.LinuxSyscall{Names: read, Action: specs.ActKill, ErrnoRet: n(1)}),
		`linux.seccomp.syscalls[0].errnoRet: 65536 is more than 65535`:                one(specs.LinuxSyscall{Names: read, Action: specs.ActTrace, ErrnoRet: n(65536)}),
		`linux.seccomp.syscalls[1].args[1].op: unknown operator "=="`:                 arg(specs.LinuxSeccompArg{Op: "=="}),
		`linux.seccomp.syscalls[1].args[1].op: unknown operator ""`:                   arg(specs.LinuxSeccompArg{}),
		`linux.seccomp.syscalls[1].args[1].index: 6 is not an argument (0 to 5)`:      arg(specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo}),
		`linux.seccomp.listenerPath: missing, and a system call has the action SCMP_`: one(notify),
		`linux.seccomp.listenerMetadata: set without listenerPath`:                    {DefaultAction: specs.ActErrno, ListenerMetadata: "x"},
		`linux.seccomp.syscalls[0].names[0]: write cannot be notified`:                one(specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActNotify}),
	} {
		_, err := Compile(p, "amd64")
		if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, ErrProfile) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Compile(allow(""), "riscv64"); !errors.Is(err, ErrArch) {
		t.Errorf("riscv64: %v", err)
	}
}

func TestCompileNothing(t *testing.T) {
	for _, p := range []*specs.LinuxSeccomp{nil, {}} {
		if got, err := Compile(p, "amd64"); err != nil || len(got.Filter) != 0 {
			t.Errorf("%+v: %+v, %v", p, got, err)
		}
	}
}

func TestCompileFlags(t *testing.T) {
	notify := specs.LinuxSyscall{Names: []string{"mount"}, Action: specs.ActNotify}
	for _, c := range []struct {
		name  string
		flags []specs.LinuxSeccompFlag
		calls []specs.LinuxSyscall
		want  uint
	}{
		{"default", nil, nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"none", []specs.LinuxSeccompFlag{}, nil, 0},
		{"log", []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, nil, unix.SECCOMP_FILTER_FLAG_LOG},
		{"all", []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}, nil, unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"killable without a listener", []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}, nil, 0},
		{"killable", []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}, []specs.LinuxSyscall{notify}, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER},
	} {
		p := allow("", c.calls...)
		p.Flags, p.ListenerPath, p.ListenerMetadata = c.flags, "/run/agent", "hello"
		got, err := Compile(p, "arm64")
		if err != nil || got.Flags != c.want {
			t.Errorf("%s: flags %#x, %v; want %#x", c.name, got.Flags, err, c.want)
		}
		if path := got.ListenerPath + got.ListenerMetadata; got.Notify() != (path == "/run/agenthello") || got.Notify() != (len(c.calls) > 0) {
			t.Errorf("%s: listener %q, notify %v", c.name, path, got.Notify())
		}
	}
}

func TestCompileReports(t *testing.T) {
	p := allow("", specs.LinuxSyscall{
		Names:  []string{"opne", "read", "riscv_flush_icache", "s390_runtime_instr", "set_tls", "opne", "flibble"},
		Action: specs.ActAllow,
	})
	p.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64, specs.ArchMIPS}
	got, err := Compile(p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"flibble", "opne"}; !slices.Equal(got.Unknown, want) {
		t.Errorf("unknown %v, want %v", got.Unknown, want)
	}
	if want := []specs.Arch{specs.ArchAARCH64, specs.ArchMIPS}; !slices.Equal(got.Foreign, want) {
		t.Errorf("foreign %v, want %v", got.Foreign, want)
	}
}

// manyRules allows n pairs of arguments that no search can merge.
func manyRules(n int) *specs.LinuxSeccomp {
	p := allow("")
	for i := range n {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{
			Names: []string{"ioctl"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: uint64(i) * 0x100000003, Op: specs.OpEqualTo}, {Index: 1, Value: uint64(i), Op: specs.OpGreaterThan},
			},
		})
	}
	return p
}

// TestCompileLong: jumps beyond 255 instructions still arrive.
func TestCompileLong(t *testing.T) {
	for _, n := range []int{10, 40, 60, 200, 400} {
		p := manyRules(n)
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"read", "mseal"}, Action: specs.ActLog})
		got, err := Compile(p, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, got.Filter)
		ref := newReference(p, "amd64")
		for i := range n + 2 {
			for _, d := range []data{
				{nr: 16, args: [6]uint64{uint64(i) * 0x100000003, uint64(i)}}, {nr: 16, args: [6]uint64{uint64(i) * 0x100000003, uint64(i + 1)}},
				{nr: 16, args: [6]uint64{uint64(i)*0x100000003 + 1<<32, 1 << 50}}, {nr: uint32(i)}, {nr: 462}, {nr: 463},
			} {
				d.arch = unix.AUDIT_ARCH_X86_64
				if got, want := answer(t, got.Filter, d), ref.answer(d); got != want {
					t.Fatalf("%d rules: %v: %#x, want %#x", n, d, got, want)
				}
			}
		}
	}
}

func TestCompileTooLarge(t *testing.T) {
	for _, n := range []int{1000, 5000, 200000} {
		_, err := Compile(manyRules(n), "amd64")
		var hint interface{ Hint() string }
		if !errors.Is(err, ErrTooLarge) || !errors.As(err, &hint) {
			t.Errorf("%d rules: %v", n, err)
		}
	}
	p := manyRules(0)
	for i := range 20000 {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Value: uint64(i) << 20, Op: specs.OpEqualTo}}})
	}
	if _, err := Compile(p, "amd64"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("20000 values: %v", err)
	}
}

// TestConstAllow checks that the kernel can see by itself which calls are
// always allowed: those then skip the filter (Linux 5.11, kernel/seccomp.c,
// seccomp_is_const_allow).
func TestConstAllow(t *testing.T) {
	p := target{dockerCaps, "amd64", kernelVersion{6, 1}}.defaultProfile()
	prog, err := Compile(p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"read": true, "futex": true, "openat": true, "ptrace": true, "socket": false, "mount": false, "clone3": false} {
		nr, _ := abisOf("amd64")[0].number(lookup(name))
		if got := constAllow(prog.Filter, data{nr: nr, arch: unix.AUDIT_ARCH_X86_64}); got != want {
			t.Errorf("%s: always allowed, as the kernel sees it: %v, want %v", name, got, want)
		}
	}
}

// constAllow is seccomp_is_const_allow: it gives up at anything but these.
func constAllow(code []unix.SockFilter, d data) bool {
	a := uint32(0)
	for pc := 0; ; pc++ {
		f, hit := code[pc], false
		switch {
		case f.Code == codeLoad && f.K == 0:
			a = d.nr
			continue
		case f.Code == codeLoad && f.K == 4:
			a = d.arch
			continue
		case f.Code == codeReturn:
			return f.K == unix.SECCOMP_RET_ALLOW
		case f.Code == codeJump:
			pc += int(f.K)
			continue
		case f.Code == codeAnd:
			a &= f.K
			continue
		case f.Code == codeEqual:
			hit = a == f.K
		case f.Code == codeAtLeast:
			hit = a >= f.K
		case f.Code == codeBits:
			hit = a&f.K != 0
		default:
			return false
		}
		if hit {
			pc += int(f.Jt)
		} else {
			pc += int(f.Jf)
		}
	}
}
