package seccomp

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestSyntheticAgainstLibseccomp goes through every operator at every kind of
// value, on wide and narrow ABIs, alone and with a second condition, and
// through the shapes of profiles that users write.
func TestSyntheticAgainstLibseccomp(t *testing.T) {
	j := newJudge(t)
	rng := rand.New(rand.NewPCG(3, 4))
	var broken []string
	for goarch, arches := range map[string][]specs.Arch{
		"amd64": {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		"arm64": {specs.ArchAARCH64, specs.ArchARM},
	} {
		for name, p := range syntheticProfiles() {
			p.Architectures = arches
			t.Run(goarch+"/"+name, func(t *testing.T) {
				if agree(t, j, p, goarch, rng) == 0 {
					broken = append(broken, goarch+"/"+name)
				}
			})
		}
	}
	if t.Logf("libseccomp %s compiles wrongly: %v", j.version, broken); len(broken) > 4 {
		t.Errorf("that is too many")
	}
}

func syntheticProfiles() map[string]*specs.LinuxSeccomp {
	out := map[string]*specs.LinuxSeccomp{}
	for op := range scmpOp {
		for _, v := range []uint64{0, 1, 38, 1<<32 - 1, 1 << 32, 1<<63 | 5, 1<<64 - 1} {
			arg := specs.LinuxSeccompArg{Index: 2, Value: v, ValueTwo: v & 0xff00ff00ff00ff01, Op: op}
			out[fmt.Sprintf("%s/%#x", op[9:], v)] = allow("", specs.LinuxSyscall{Names: []string{"ioctl", "semctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg}})
			out[fmt.Sprintf("%s/%#x/and", op[9:], v)] = allow("", specs.LinuxSyscall{
				Names: []string{"socket", "prctl"}, Action: specs.ActLog,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: 40, Op: specs.OpNotEqual}, arg},
			})
		}
	}
	seven := uint(7)
	eq := func(i uint, v uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: i, Value: v, Op: specs.OpEqualTo}}
	}
	all := specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow}
	for _, act := range []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace, specs.ActAllow, specs.ActLog,
	} {
		out["default "+string(act)] = allow(act, all, specs.LinuxSyscall{Names: []string{"write", "clock_gettime64"}, Action: specs.ActTrap})
		out["rule "+string(act)] = allow("", specs.LinuxSyscall{Names: []string{"write", "socketcall"}, Action: act}, all)
		out["argument "+string(act)] = allow("", specs.LinuxSyscall{Names: []string{"write"}, Action: act, Args: eq(0, 1)}, all)
	}
	out["no rules"] = allow("")
	out["no rules, allowed"] = allow(specs.ActAllow)
	out["only number 0"] = allow("", all)
	out["only unknown here"] = allow("", specs.LinuxSyscall{Names: []string{"s390_pci_mmio_read"}, Action: specs.ActAllow})
	out["errno"] = allow("", specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActErrno, ErrnoRet: &seven})
	out["trace data"] = allow("", specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActTrace, ErrnoRet: &seven})
	out["no argument beats argument"] = allow("",
		specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActLog, Args: eq(0, 1)}, specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActAllow})
	out["first of two"] = allow("", specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActLog}, specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActAllow})
	out["default action dropped"] = allow("",
		specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActErrno}, specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActAllow})
	out["argument twice"] = allow("", specs.LinuxSyscall{
		Names: []string{"kill"}, Action: specs.ActAllow,
		Args: []specs.LinuxSeccompArg{{Index: 1, Value: 3, Op: specs.OpEqualTo}, {Index: 1, Value: 9, Op: specs.OpEqualTo}},
	})
	out["multiplexed"] = allow("",
		specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow, Args: eq(0, 1)},
		specs.LinuxSyscall{Names: []string{"accept", "recv"}, Action: specs.ActLog},
		specs.LinuxSyscall{Names: []string{"semop", "shmat"}, Action: specs.ActTrap, Args: eq(1, 5)})
	out["deny list"] = allow(specs.ActAllow, specs.LinuxSyscall{Names: []string{"mount", "umount2", "ptrace", "socket", "ipc"}, Action: specs.ActErrno, ErrnoRet: &seven})
	out["all six arguments"] = allow("", specs.LinuxSyscall{Names: []string{"mmap"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
		{Index: 0, Value: 0, Op: specs.OpEqualTo},
		{Index: 1, Value: 1 << 33, Op: specs.OpLessEqual},
		{Index: 2, Value: 4, ValueTwo: 0, Op: specs.OpMaskedEqual},
		{Index: 3, Value: 2, ValueTwo: 2, Op: specs.OpMaskedEqual},
		{Index: 4, Value: 3, Op: specs.OpGreaterThan},
		{Index: 5, Value: 9, Op: specs.OpNotEqual},
	}})
	return out
}

func allow(def specs.LinuxSeccompAction, calls ...specs.LinuxSyscall) *specs.LinuxSeccomp {
	if def == "" {
		def = specs.ActErrno
	}
	return &specs.LinuxSeccomp{DefaultAction: def, Syscalls: calls}
}
