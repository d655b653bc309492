// Package quiet stills what Go's runtime does for itself while a short program begins.
//
// A thread of its own, sysmon, wakes every 20 µs to look after the others. Where there are few
// processors that is where the main thread runs, which it interrupts each time, some
// sixty times in a start. As one of SCHED_BATCH it waits for its turn.
//
// And one allocation in half a megabyte is written down with its stack, for which
// tables are read from pages that nobody has touched yet. Nobody here asks for them.
//
// This package imports nothing but the runtime, so it is initialised before nearly all others.
package quiet

import (
	"runtime"
	"unsafe"
)

var _ = still()

func still() bool {
	runtime.MemProfileRate = 0
	return calm(call(sysGetpid, 0, 0, 0))
}

const (
	batch       = 3       // SCHED_BATCH: who wakes takes nobody's turn
	resetOnFork = 1 << 30 // SCHED_RESET_ON_FORK: threads and processes that sysmon starts are as ever
	near        = 8
)

// calm makes the first thread that process pid, which is this one, has started wait for its
// turn: it is sysmon. A thread with a number far from the process's is not found,
// which is no harm.
func calm(pid uintptr) bool {
	for tid := pid + 1; tid < pid+near; tid++ {
		if call(sysTgkill, pid, tid, 0) == 0 { // it is one of ours
			var priority int32
			return call(sysSchedSetscheduler, tid, batch|resetOnFork, uintptr(unsafe.Pointer(&priority))) == 0
		}
	}
	return false
}

// call is a system call; one that fails returns -errno.
//
//go:noescape
func call(number, a, b, c uintptr) uintptr
