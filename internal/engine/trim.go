package engine

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trims are the times at which memory is given back.
type trims []*time.Timer

// trimLater gives memory back once a container has run for a moment, and once more
// when its network has come to rest: from then on the launcher only waits. The pages
// of our own executable were touched by package initialisation and by the start; they
// are read-only, and come back from the page cache if they are needed again.
func trimLater() trims {
	return trims{time.AfterFunc(300*time.Millisecond, giveBack), time.AfterFunc(3*time.Second, giveBack)}
}

// Stop cancels those that are still to come.
func (t trims) Stop() {
	for _, timer := range t {
		timer.Stop()
	}
}

func giveBack() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	fixed := fixedPosition()
	for line := range strings.Lines(string(maps)) {
		trimMapping(line, fixed)
	}
}

// fixedPosition says whether our executable was not relocated when it was loaded:
// whether the type in its header is ET_EXEC (elf(5)).
func fixedPosition() bool {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer f.Close()
	var header [18]byte
	const etExec = 2
	_, err = f.ReadAt(header[:], 0)
	return err == nil && header[16] == etExec && header[17] == 0
}

// trimMapping lets go of code, and of read-only data in an executable of a fixed
// position: in any other it was written to once, by relocation, and would come back
// as it is in the file.
func trimMapping(line string, fixed bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !strings.HasPrefix(f[5], "/") || f[1] != "r-xp" && (f[1] != "r--p" || !fixed) {
		return
	}
	a, b, _ := strings.Cut(f[0], "-")
	start, err1 := strconv.ParseUint(a, 16, 64)
	end, err2 := strconv.ParseUint(b, 16, 64)
	if err1 == nil && err2 == nil && end > start {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
	}
}
