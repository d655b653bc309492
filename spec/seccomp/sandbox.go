package seccomp

import (
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CompileSandbox compiles the profile of `coracle sandbox`: docker's for a process without
// any capability, less what a command of the host's has no use for, and native calls
// only. docs/security.md argues each of these. A call of another kind of machine (32-bit,
// x32) ends the process, where Compile ends the thread: the others would wait for that
// for ever.
func CompileSandbox(goarch string) (Program, error) {
	t, err := newTarget(nil, goarch)
	if err != nil {
		return Program{}, err
	}
	return t.compileSandbox(false)
}

// CompileSandbox32 is CompileSandbox, and allows the same of i386's calls. Only amd64 has
// these: elsewhere the error unwraps to ErrArch.
func CompileSandbox32(goarch string) (Program, error) {
	if goarch != "amd64" {
		return Program{}, fmt.Errorf("%w: %q has no 32-bit calls of i386's", ErrArch, goarch)
	}
	t, err := newTarget(nil, goarch)
	if err != nil {
		return Program{}, err
	}
	return t.compileSandbox(true)
}

func (t target) compileSandbox(with32 bool) (Program, error) {
	profile := t.sandboxProfile()
	if with32 {
		profile.Architectures = append(profile.Architectures, specs.ArchX86)
		profile.Syscalls = append([]specs.LinuxSyscall{socketcallSocket()}, profile.Syscalls...)
	}
	p, err := Compile(profile, t.goarch)
	for i := range p.Filter {
		if f := &p.Filter[i]; f.Code == unix.BPF_RET|unix.BPF_K && f.K == unix.SECCOMP_RET_KILL_THREAD {
			f.K = unix.SECCOMP_RET_KILL_PROCESS
		}
	}
	return p, err
}

// sandboxDenied are the calls that docker allows and the sandbox does not.
func sandboxDenied() []string {
	return []string{
		// The clock and the owner of ids are nobody's business here, and take
		// capabilities that are gone: they would only be tried.
		"adjtimex", "clock_adjtime", "clock_adjtime64", "setgroups", "setgroups32",
		// Segments of the processor for 16-bit programs, and a page that no debugger
		// of the host's sees.
		"modify_ldt", "memfd_secret",
		// What is mounted, what a file is called by its number, watching for others.
		"listmount", "statmount", "name_to_handle_at", "fanotify_mark", "fanotify_init",
		// Multiplexers, whose arguments a filter does not see.
		"socketcall", "ipc",
		// Old, and with no user left.
		"remap_file_pages", "epoll_ctl_old", "epoll_wait_old",
		// Another process's pages at a time, not by way of ptrace(2).
		"vmsplice",
		"socket", "ioctl", "personality", // for these see sandboxRules
	}
}

func (t target) sandboxProfile() *specs.LinuxSeccomp {
	p := t.defaultProfile()
	p.Architectures = []specs.Arch{t.nativeArch()}
	denied := sandboxDenied()
	kept := p.Syscalls[:0]
	for _, sc := range p.Syscalls {
		sc.Names = slices.DeleteFunc(slices.Clone(sc.Names), func(name string) bool { return slices.Contains(denied, name) })
		if len(sc.Names) > 0 {
			kept = append(kept, sc)
		}
	}
	p.Syscalls = append(kept, sandboxRules()...)
	return p
}

// socketcallSocket refuses what socket(2) is by i386's multiplexer: its arguments are in
// memory, and the families that sandboxRules leave out would all come in by it. The other
// calls that it leads to take a socket that is there. First, and with another errno than
// the default action, which would drop the rule.
func socketcallSocket() specs.LinuxSyscall {
	eacces := uint(unix.EACCES)
	return specs.LinuxSyscall{Names: []string{"socketcall"}, Action: specs.ActErrno, ErrnoRet: &eacces,
		Args: []specs.LinuxSeccompArg{low32(0, 1)}} // SYS_SOCKET, linux/net.h
}

// low32 compares the half of an argument that the kernel reads of an int: with the
// other half set it would be another number to the filter and the same to the call.
func low32(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: 1<<32 - 1, ValueTwo: value}
}

// sandboxRules allow what needs a look at arguments.
func sandboxRules() []specs.LinuxSyscall {
	rule := func(name string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args}
	}
	eio := uint(unix.EIO) // what the kernel says without TIOCSTI; not the default action, of which rules are dropped
	out := []specs.LinuxSyscall{
		rule("socket", low32(0, unix.AF_UNIX)), rule("socket", low32(0, unix.AF_INET)), rule("socket", low32(0, unix.AF_INET6)),
		// Interfaces and routes are read by this; no nftables, no XFRM, no audit.
		rule("socket", low32(0, unix.AF_NETLINK), low32(2, unix.NETLINK_ROUTE)),
		rule("personality", low32(0, 0)), rule("personality", low32(0, 0xffffffff)),
	}
	// Typing into a terminal, pasting on a console, another line discipline (which
	// loads modules).
	for _, request := range []uint64{unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCSETD} {
		out = append(out, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActErrno, ErrnoRet: &eio, Args: []specs.LinuxSeccompArg{low32(1, request)}})
	}
	// A rule without arguments would come before those with: so two, for even and
	// for odd descriptors.
	return append(out, rule("ioctl", specs.LinuxSeccompArg{Op: specs.OpMaskedEqual, Value: 1}),
		rule("ioctl", specs.LinuxSeccompArg{Op: specs.OpMaskedEqual, Value: 1, ValueTwo: 1}))
}
