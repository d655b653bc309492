package main

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without CALL,…[=EPERM] CMD… executes CMD on a kernel that does not know these
// system calls: a filter answers ENOSYS, or EPERM as the old ones of container
// runtimes do. It takes the privilege of setuid programs away, newuidmap's too.
func without(args []string) error {
	calls := map[string]uint32{
		"openat2": unix.SYS_OPENAT2, "mount_setattr": unix.SYS_MOUNT_SETATTR, "open_tree": unix.SYS_OPEN_TREE,
		"move_mount": unix.SYS_MOVE_MOUNT, "clone3": unix.SYS_CLONE3, "close_range": unix.SYS_CLOSE_RANGE,
		"fsopen": unix.SYS_FSOPEN, "fsconfig": unix.SYS_FSCONFIG, "fsmount": unix.SYS_FSMOUNT, "fspick": unix.SYS_FSPICK,
		"pidfd_open": unix.SYS_PIDFD_OPEN, "landlock_create_ruleset": unix.SYS_LANDLOCK_CREATE_RULESET,
	}
	names, eperm := strings.CutSuffix(args[0], "=EPERM")
	answer := unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	if eperm {
		answer = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for name := range strings.SplitSeq(names, ",") {
		nr, ok := calls[name]
		if !ok {
			return errors.New("unknown system call " + name)
		}
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: answer})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
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
