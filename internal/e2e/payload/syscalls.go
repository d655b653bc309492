package main

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempt is a system call that docker's default profile refuses without
// further capabilities, with arguments that change nothing where it is let
// through: an unfiltered kernel then answers otherwise than EPERM or ENOSYS,
// or with the errno of a refusal that comes after the arguments were read.
type attempt struct {
	name string
	nr   uintptr
	args [4]uintptr
}

func attempts() []attempt {
	bad := ^uintptr(0)
	return []attempt{
		{"unshare(NEWUSER)", unix.SYS_UNSHARE, [4]uintptr{unix.CLONE_NEWUSER}},
		{"clone(NEWUSER|invalid)", unix.SYS_CLONE, [4]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS | unix.CLONE_THREAD}},
		{"setns", unix.SYS_SETNS, [4]uintptr{bad, 0}},
		{"keyctl", unix.SYS_KEYCTL, [4]uintptr{99999}},
		{"add_key", unix.SYS_ADD_KEY, [4]uintptr{0, 0, 0, 0}},
		{"request_key", unix.SYS_REQUEST_KEY, [4]uintptr{0, 0, 0, 0}},
		{"bpf", unix.SYS_BPF, [4]uintptr{99999, 0, 0}},
		{"userfaultfd", unix.SYS_USERFAULTFD, [4]uintptr{0xffff}},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [4]uintptr{0, 0, 0, 0}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [4]uintptr{0, 0}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [4]uintptr{bad, 0, 0}},
		{"fsopen", unix.SYS_FSOPEN, [4]uintptr{0, 0}},
		{"move_mount", unix.SYS_MOVE_MOUNT, [4]uintptr{bad, 0, bad, 0}},
		{"mount", unix.SYS_MOUNT, [4]uintptr{0, 0, 0, 0}},
		{"umount2", unix.SYS_UMOUNT2, [4]uintptr{0, 0}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, [4]uintptr{0, 0}},
		{"init_module", unix.SYS_INIT_MODULE, [4]uintptr{0, 0, 0}},
		{"socket(ALG)", unix.SYS_SOCKET, [4]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}},
		{"socket(VSOCK)", unix.SYS_SOCKET, [4]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM, 0}},
		{"kexec_load", unix.SYS_KEXEC_LOAD, [4]uintptr{0, 99999, 0, 0}},
	}
}

// syscalls makes each attempt by the native entry of this binary (built for
// 386 too), and on amd64 by the x32 entry; and clone3 by itself, whose
// arguments no filter can read.
func syscalls([]string) error {
	for _, a := range attempts() {
		fmt.Println(runtime.GOARCH, a.name, try(a.nr, a.args))
	}
	clone3 := struct{ flags, rest [8]uint64 }{}
	clone3.flags[0] = unix.CLONE_NEWUSER | unix.CLONE_THREAD
	fmt.Println(runtime.GOARCH, "clone3", try(unix.SYS_CLONE3, [4]uintptr{uintptr(unsafe.Pointer(&clone3)), 88}))
	if runtime.GOARCH == "amd64" {
		for _, a := range attempts() {
			fmt.Println("x32", a.name, try(a.nr|0x40000000, a.args))
		}
	}
	return nil
}

func try(nr uintptr, a [4]uintptr) string {
	_, _, errno := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], 0, 0)
	return answer(errnoOrNil(errno))
}
