package images

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// asNobody runs do in a thread that has given up being root. The thread is
// never given back to the scheduler: it ends with its goroutine.
func asNobody(do func(), failed func(error)) {
	runtime.LockOSThread()
	// The raw call changes this thread only; the wrapper would change them all.
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
		failed(fmt.Errorf("setresuid: %w", e))
		return
	}
	do()
}
