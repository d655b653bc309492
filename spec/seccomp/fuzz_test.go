package seccomp

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// FuzzCompile lets the input be the source of a profile's rules, so that all of
// it is used, and compares the program with the plain reading of the rules.
func FuzzCompile(f *testing.F) {
	f.Add([]byte{}, uint64(1))
	f.Add([]byte("\x00\x00\x01\x03\x00\x06\x02\x10\x00\x00\x00\x00\x00\x00\x80"), uint64(2))
	f.Add([]byte("\x03\x02\x01\x00\x00\x01\x00\xff\xff\xff\xff\x00\x00\x00\x00\x05\x00\x01\x02\x01"), uint64(3))
	f.Fuzz(func(t *testing.T, src []byte, seed uint64) {
		p, goarch := profileFrom(src)
		prog, err := Compile(p, goarch)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, prog.Filter)
		checkFlags(t, p, prog)
		ref := newReference(p, goarch)
		probes(p, goarch, rand.New(rand.NewPCG(seed, 5)), func(d data) {
			if got, want := answer(t, prog.Filter, d), ref.answer(d); got != want {
				t.Fatalf("%s: %v: got %#x, want %#x%s", goarch, d, got, want, rulesFor(p, goarch, d))
			}
		})
	})
}

// checkFlags reads a profile's flags as config-linux.md#seccomp says them.
func checkFlags(t *testing.T, p *specs.LinuxSeccomp, prog Program) {
	t.Helper()
	// As in runc, even where no architecture has the calls: the agent waits for
	// a listener.
	notifies := slices.ContainsFunc(p.Syscalls, func(sc specs.LinuxSyscall) bool { return sc.Action == specs.ActNotify })
	want := uint(0)
	if notifies {
		want |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	for f, bit := range map[specs.LinuxSeccompFlag]uint{
		specs.LinuxSeccompFlagLog: unix.SECCOMP_FILTER_FLAG_LOG, specs.LinuxSeccompFlagSpecAllow: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
	} {
		if slices.Contains(p.Flags, f) || p.Flags == nil && f == specs.LinuxSeccompFlagSpecAllow {
			want |= bit
		}
	}
	if notifies && slices.Contains(p.Flags, specs.LinuxSeccompFlagWaitKillableRecv) {
		want |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	}
	if prog.Flags != want || prog.Notify() != notifies || notifies != (prog.ListenerPath != "") {
		t.Fatalf("flags %#x, listener %q; want %#x and notify %v", prog.Flags, prog.ListenerPath, want, notifies)
	}
}

// profileFrom reads a profile out of any bytes.
func profileFrom(src []byte) (*specs.LinuxSeccomp, string) {
	next := func() byte {
		if len(src) == 0 {
			return 0
		}
		b := src[0]
		src = src[1:]
		return b
	}
	word := func() uint64 {
		// A byte at a byte's place, or all ones around it: near the borders.
		v := uint64(next()) << (next() % 64)
		if next()%4 == 0 {
			v = ^v
		}
		return v
	}
	actions := []specs.LinuxSeccompAction{
		specs.ActErrno, specs.ActAllow, specs.ActKill, specs.ActLog, specs.ActTrace, specs.ActTrap, specs.ActKillProcess,
	}
	ops := []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual,
	}
	names := []string{"read", "socket", "ioctl", "clone", "semop", "shmat", "socketcall", "mseal", "_llseek", "set_tls", "accept", "nonsense"}
	goarch := []string{"amd64", "arm64"}[next()%2]
	p := &specs.LinuxSeccomp{DefaultAction: actions[next()%7], ListenerPath: "/run/agent"}
	// A rule may notify, the default may not.
	actions = append(actions, specs.ActNotify, specs.ActKillThread)
	flags := []specs.LinuxSeccompFlag{
		specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv, "SECCOMP_FILTER_FLAG_TSYNC",
	}
	for i, b := 0, next(); i < len(flags); i++ {
		if b>>i&1 == 1 {
			p.Flags = append(p.Flags, flags[i])
		}
	}
	for i, a := range abisOf(goarch) {
		if next()>>i&1 == 1 {
			p.Architectures = append(p.Architectures, a.name)
		}
	}
	for len(src) > 0 && len(p.Syscalls) < 64 {
		sc := specs.LinuxSyscall{Names: []string{names[int(next())%len(names)]}, Action: actions[int(next())%len(actions)]}
		switch sc.Action {
		case specs.ActErrno, specs.ActTrace:
			if b := next(); b%2 == 1 {
				ret := uint(b) << 8 >> (b % 8)
				sc.ErrnoRet = &ret
			}
		}
		if b := next(); b%16 == 0 {
			sc.Names = append(sc.Names, tableName(int(next())*2%len(tableEnds)))
		}
		for range next() % 4 {
			sc.Args = append(sc.Args, specs.LinuxSeccompArg{Index: uint(next() % 6), Op: ops[next()%7], Value: word(), ValueTwo: word()})
		}
		p.Syscalls = append(p.Syscalls, sc)
	}
	return p, goarch
}

// FuzzLoadProfile: whatever is loaded compiles, survives a round through the
// runtime-spec's JSON, and whatever is not says so in this package's words.
func FuzzLoadProfile(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"},"excludes":{"arches":["s390"]}}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/x","syscalls":[{"name":"write","action":"SCMP_ACT_NOTIFY"}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_KILL","defaultErrno":"EPERM","architectures":[null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := LoadProfile(body, []string{"CAP_SYS_ADMIN"}, "arm64")
		if err != nil {
			if !errors.Is(err, ErrProfile) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v", err)
			}
			return
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadProfile(text, nil, "arm64")
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		x, errX := Compile(p, "arm64")
		y, errY := Compile(again, "arm64")
		if errX != nil || errY != nil || len(x.Filter) != len(y.Filter) {
			t.Fatalf("%s: %v, %v, %d and %d instructions", text, errX, errY, len(x.Filter), len(y.Filter))
		}
	})
}
