package seccomp

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// flag is a flag of a profile and what it is for seccomp(2).
type flag struct {
	name     specs.LinuxSeccompFlag
	kernel   uint // what the kernel calls it
	bits     uint // what is asked of the kernel
	listener bool // only where there is one
}

// flags are in the order in which the kernel got them. TSYNC is accepted and
// without effect, as in runc: one thread loads the filter and then executes the
// payload. With a listener the kernel would refuse it.
var flags = [...]flag{
	{"SECCOMP_FILTER_FLAG_TSYNC", unix.SECCOMP_FILTER_FLAG_TSYNC, 0, false},
	{specs.LinuxSeccompFlagLog, unix.SECCOMP_FILTER_FLAG_LOG, unix.SECCOMP_FILTER_FLAG_LOG, false},
	{specs.LinuxSeccompFlagSpecAllow, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, false},
	{specs.LinuxSeccompFlagWaitKillableRecv, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, true},
}

func flagByName(name specs.LinuxSeccompFlag) (flag, bool) {
	for _, f := range flags {
		if f.name == name {
			return f, true
		}
	}
	return flag{}, false
}

// Known are the names that a profile may use, each list sorted but for flags.
type Known struct {
	Actions, Operators, Archs, Flags []string
	SupportedFlags                   []string // those that this kernel has, too
}

// Names lists what Compile takes.
func Names() Known {
	var k Known
	for _, a := range actions {
		k.Actions = append(k.Actions, string(a.name))
	}
	for _, o := range operators {
		k.Operators = append(k.Operators, string(o.name))
	}
	for _, a := range archs {
		k.Archs = append(k.Archs, string(a))
	}
	for _, f := range flags {
		k.Flags = append(k.Flags, string(f.name))
		if f.supported() {
			k.SupportedFlags = append(k.SupportedFlags, string(f.name))
		}
	}
	return k
}

// supported asks the kernel, as seccomp(2) advises: with a filter that cannot be
// read a flag that it knows gives EFAULT, and one that it does not EINVAL.
func (f flag) supported() bool {
	with := f.kernel
	if f.listener {
		with |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(with), 0)
	return errors.Is(errno, unix.EFAULT)
}
