package seccomp

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSandbox asks the filter itself, on amd64.
func TestSandbox(t *testing.T) {
	const x64, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	const high = 1 << 32
	deny, eio := uint32(unix.SECCOMP_RET_ERRNO|unix.EPERM), uint32(unix.SECCOMP_RET_ERRNO|unix.EIO)
	p, err := target{nil, "amd64", readyKernel}.compileSandbox(false)
	if err != nil || len(p.Unknown) > 0 {
		t.Fatal(err, p.Unknown)
	}
	for _, tt := range []struct {
		name string
		arch uint32
		nr   uint32
		args [3]uint64
		want uint32
	}{
		{"read", x64, 0, [3]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"execveat", x64, 322, [3]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"AF_UNIX", x64, 41, [3]uint64{unix.AF_UNIX}, unix.SECCOMP_RET_ALLOW},
		{"AF_INET6", x64, 41, [3]uint64{unix.AF_INET6}, unix.SECCOMP_RET_ALLOW},
		{"routes", x64, 41, [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, unix.SECCOMP_RET_ALLOW},
		{"XFRM", x64, 41, [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM}, deny},
		{"netfilter", x64, 41, [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, high | unix.NETLINK_NETFILTER}, deny},
		{"AF_PACKET", x64, 41, [3]uint64{unix.AF_PACKET}, deny},
		{"AF_ALG", x64, 41, [3]uint64{unix.AF_ALG}, deny},
		{"AF_ALG with a high half", x64, 41, [3]uint64{high | unix.AF_ALG}, deny},
		{"AF_VSOCK", x64, 41, [3]uint64{unix.AF_VSOCK}, deny},
		{"TCGETS", x64, 16, [3]uint64{0, unix.TCGETS}, unix.SECCOMP_RET_ALLOW},
		{"TIOCSTI", x64, 16, [3]uint64{0, unix.TIOCSTI}, eio},
		{"TIOCSTI with a high half", x64, 16, [3]uint64{0, high | unix.TIOCSTI}, eio},
		{"TIOCLINUX", x64, 16, [3]uint64{0, unix.TIOCLINUX}, eio},
		{"personality asked for", x64, 135, [3]uint64{0xffffffff}, unix.SECCOMP_RET_ALLOW},
		{"addresses that are not random", x64, 135, [3]uint64{0x40000}, deny},
		{"a process", x64, 56, [3]uint64{unix.CLONE_VM | uint64(unix.SIGCHLD)}, unix.SECCOMP_RET_ALLOW},
		{"a user namespace", x64, 56, [3]uint64{unix.CLONE_NEWUSER}, deny},
		{"clone3", x64, 435, [3]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{"unshare", x64, 272, [3]uint64{}, deny},
		{"mount", x64, 165, [3]uint64{}, deny},
		{"bpf", x64, 321, [3]uint64{}, deny},
		{"perf_event_open", x64, 298, [3]uint64{}, deny},
		{"userfaultfd", x64, 323, [3]uint64{}, deny},
		{"io_uring_setup", x64, 425, [3]uint64{}, deny},
		{"keyctl", x64, 250, [3]uint64{}, deny},
		{"open_by_handle_at", x64, 304, [3]uint64{}, deny},
		{"fsopen", x64, 430, [3]uint64{}, deny},
		{"kexec_load", x64, 246, [3]uint64{}, deny},
		{"x32's read", x64, 1 << 30, [3]uint64{}, unix.SECCOMP_RET_KILL_PROCESS},
		{"i386's exit", i386, 1, [3]uint64{}, unix.SECCOMP_RET_KILL_PROCESS},
	} {
		if got := answer(t, p.Filter, data{arch: tt.arch, nr: tt.nr, args: [6]uint64{tt.args[0], tt.args[1], tt.args[2]}}); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

// TestSandbox32 asks the filter that lets i386's calls in, too: the native half is the one
// without them, and the other half refuses the same.
func TestSandbox32(t *testing.T) {
	const x64, i386 = unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386
	const allow = unix.SECCOMP_RET_ALLOW
	deny, eio, eacces := uint32(unix.SECCOMP_RET_ERRNO|unix.EPERM), uint32(unix.SECCOMP_RET_ERRNO|unix.EIO), uint32(unix.SECCOMP_RET_ERRNO|unix.EACCES)
	enosys := unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	p, err := target{nil, "amd64", readyKernel}.compileSandbox(true)
	if err != nil || len(p.Unknown) > 0 {
		t.Fatal(err, p.Unknown)
	}
	wellFormed(t, p.Filter)
	without, err := target{nil, "amd64", readyKernel}.compileSandbox(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][6]uint64{{}, {1, 1, 1}, {2, 2}, {16, 3, 6}, {38}, {0x7e020000}, {1<<32 | 38, 1<<32 | unix.TIOCSTI}} {
		for nr := range uint32(600) {
			for _, n := range []uint32{nr, nr | x32Bit} {
				d := data{arch: x64, nr: n, args: args}
				if got, want := answer(t, p.Filter, d), answer(t, without.Filter, d); got != want {
					t.Errorf("%v: %#x, without 32-bit calls %#x", d, got, want)
				}
			}
		}
	}
	for _, tt := range []struct {
		name string
		nr   uint32
		args [3]uint64
		want uint32
	}{
		{"exit", 1, [3]uint64{}, allow},
		{"mmap2", 192, [3]uint64{}, allow},
		{"set_thread_area", 243, [3]uint64{}, allow},
		{"ptrace", 26, [3]uint64{}, allow},
		{"AF_UNIX", 359, [3]uint64{unix.AF_UNIX}, allow},
		{"AF_INET6", 359, [3]uint64{unix.AF_INET6}, allow},
		{"routes", 359, [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allow},
		{"XFRM", 359, [3]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM}, deny},
		{"AF_ALG", 359, [3]uint64{unix.AF_ALG}, deny},
		{"AF_VSOCK", 359, [3]uint64{unix.AF_VSOCK}, deny},
		{"AF_PACKET", 359, [3]uint64{unix.AF_PACKET}, deny},
		{"socket by the multiplexer", 102, [3]uint64{1, 0xffff, unix.NETLINK_ROUTE}, eacces},
		{"and with other arguments", 102, [3]uint64{1}, eacces},
		{"connect by the multiplexer", 102, [3]uint64{3}, allow},
		{"nothing of the multiplexer's", 102, [3]uint64{99}, deny},
		{"semop by the other one", 117, [3]uint64{1}, allow},
		{"nothing of that one's", 117, [3]uint64{99}, deny},
		{"TCGETS", 54, [3]uint64{0, unix.TCGETS}, allow},
		{"TIOCSTI", 54, [3]uint64{0, unix.TIOCSTI}, eio},
		{"TIOCLINUX", 54, [3]uint64{0, unix.TIOCLINUX}, eio},
		{"personality asked for", 136, [3]uint64{0xffffffff}, allow},
		{"addresses that are not random", 136, [3]uint64{0x40000}, deny},
		{"a process", 120, [3]uint64{unix.CLONE_VM | uint64(unix.SIGCHLD)}, allow},
		{"a user namespace", 120, [3]uint64{unix.CLONE_NEWUSER}, deny},
		{"clone3", 435, [3]uint64{}, enosys},
		{"unshare", 310, [3]uint64{}, deny},
		{"setns", 346, [3]uint64{}, deny},
		{"mount", 21, [3]uint64{}, deny},
		{"umount", 22, [3]uint64{}, deny},
		{"umount2", 52, [3]uint64{}, deny},
		{"bpf", 357, [3]uint64{}, deny},
		{"perf_event_open", 336, [3]uint64{}, deny},
		{"userfaultfd", 374, [3]uint64{}, deny},
		{"io_uring_setup", 425, [3]uint64{}, deny},
		{"keyctl", 288, [3]uint64{}, deny},
		{"open_by_handle_at", 342, [3]uint64{}, deny},
		{"kexec_load", 283, [3]uint64{}, deny},
		{"modify_ldt", 123, [3]uint64{}, deny},
		{"vm86old", 113, [3]uint64{}, deny},
		{"vm86", 166, [3]uint64{}, deny},
		{"iopl", 110, [3]uint64{}, deny},
		{"ioperm", 101, [3]uint64{}, deny},
		{"uselib", 86, [3]uint64{}, deny},
		{"stime", 25, [3]uint64{}, deny},
		{"settimeofday", 79, [3]uint64{}, deny},
		{"clock_settime64", 404, [3]uint64{}, deny},
		{"setgroups", 81, [3]uint64{}, deny},
		{"setgroups32", 206, [3]uint64{}, deny},
		{"remap_file_pages", 257, [3]uint64{}, deny},
		{"what is newer than the list", 999, [3]uint64{}, enosys},
	} {
		d := data{arch: i386, nr: tt.nr, args: [6]uint64{tt.args[0], tt.args[1], tt.args[2]}}
		if got := answer(t, p.Filter, d); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
	if got := answer(t, p.Filter, data{arch: unix.AUDIT_ARCH_ARM, nr: 1}); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("a call of a third kind of machine: %#x", got)
	}
	if _, err := CompileSandbox32("arm64"); !errors.Is(err, ErrArch) {
		t.Errorf("arm64: %v", err)
	}
}

func TestName386(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		if n := Name386(Data{Arch: unix.AUDIT_ARCH_I386, Nr: 1}); n != "" {
			t.Error(n)
		}
		return
	}
	for d, want := range map[Data]string{{Arch: unix.AUDIT_ARCH_I386, Nr: 21}: "mount", {Arch: unix.AUDIT_ARCH_I386, Nr: 102}: "socketcall",
		{Arch: unix.AUDIT_ARCH_I386, Nr: 1 << 31}: "", {Arch: unix.AUDIT_ARCH_X86_64, Nr: 21}: ""} {
		if got := Name386(d); got != want {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
}
