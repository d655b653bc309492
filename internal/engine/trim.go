package engine

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trimLater gives memory back once a container has run for a moment: from then
// on the launcher only waits. The pages of our own executable were touched by
// package initialisation and by the start; they are read-only, and come back
// from the page cache if they are needed again.
func trimLater() *time.Timer {
	return time.AfterFunc(300*time.Millisecond, func() {
		debug.FreeOSMemory()
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			return
		}
		for line := range strings.Lines(string(maps)) {
			trimMapping(line)
		}
	})
}

// trimMapping lets go of code. Not of read-only data: in a position-independent
// executable that was written to once, by relocation.
func trimMapping(line string) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasPrefix(f[5], "/") || f[1] != "r-xp" {
		return
	}
	a, b, _ := strings.Cut(f[0], "-")
	start, err1 := strconv.ParseUint(a, 16, 64)
	end, err2 := strconv.ParseUint(b, 16, 64)
	if err1 == nil && err2 == nil && end > start {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
	}
}
