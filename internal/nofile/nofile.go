// Package nofile remembers the RLIMIT_NOFILE that the caller gave us.
//
// Go's os package raises the soft limit of its own process before main runs,
// and what we start would inherit the raised one. This package imports
// nothing but syscall, so that it is initialised before os (Go orders
// packages by import path among those whose imports are ready).
package nofile

import "syscall"

var original, ok = get()

func get() (syscall.Rlimit, bool) {
	var r syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	return r, err == nil
}

// Original returns the soft and hard limits at the start of the process;
// ok is false where the kernel did not tell.
func Original() (soft, hard uint64, known bool) {
	return original.Cur, original.Max, ok
}
