package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without CALL CMD… executes CMD on a kernel that does not know that system
// call: a filter answers ENOSYS. It takes the privilege of setuid programs
// away, newuidmap's too.
func without(args []string) error {
	calls := map[string]uint32{
		"openat2": unix.SYS_OPENAT2, "mount_setattr": unix.SYS_MOUNT_SETATTR, "open_tree": unix.SYS_OPEN_TREE,
		"move_mount": unix.SYS_MOVE_MOUNT, "clone3": unix.SYS_CLONE3, "close_range": unix.SYS_CLOSE_RANGE,
		"fsopen": unix.SYS_FSOPEN, "pidfd_open": unix.SYS_PIDFD_OPEN,
	}
	nr, ok := calls[args[0]]
	if !ok {
		return errors.New("unknown system call " + args[0])
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // no_new_privs is the thread's, and the filter takes it
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	// For every thread: exec goes on with one, and which one is Go's to choose.
	_, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}
