package userns

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// HaveCloseRange says whether close_range(2) can mark descriptors: Linux 5.11,
// and no filter around us.
var HaveCloseRange = sync.OnceValue(func() bool {
	const none = uintptr(^uint32(0)) // beyond all descriptors
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOSE_RANGE, none, none, unix.CLOSE_RANGE_CLOEXEC)
	return errno == 0
})

// MarkCloseExec marks every descriptor of this process from first on
// close-on-exec. Go's are so from the beginning; those of our caller are not.
func MarkCloseExec(first uint) error {
	if HaveCloseRange() {
		if err := unix.CloseRange(first, uint(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC); err != nil {
			return fmt.Errorf("mark descriptors to be closed on exec: %w", err)
		}
		return nil
	}
	// As many as there are, and none is made meanwhile that is not marked.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("mark descriptors to be closed on exec, without close_range(2) (Linux 5.11): %w", err)
	}
	for _, e := range open {
		fd, err := strconv.ParseUint(e.Name(), 10, 31)
		if err != nil || uint(fd) < first {
			continue
		}
		// EBADF: that of the list itself, for one.
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil && err != unix.EBADF { //nolint:errorlint // an errno
			return fmt.Errorf("mark descriptor %d to be closed on exec: %w", fd, err)
		}
	}
	return nil
}
