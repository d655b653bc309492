package engine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// seccompAvailable asks for SECCOMP_GET_ACTION_AVAIL (Linux 4.14).
func seccompAvailable(action *uint32) error {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(action)))
	if errno != 0 {
		return errno
	}
	return nil
}
