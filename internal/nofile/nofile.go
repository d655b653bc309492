// Package nofile remembers the RLIMIT_NOFILE that the caller gave us.
//
// Go's syscall package raises the soft limit of its own process when it is
// initialised, and what we start would inherit the raised one. This package
// imports nothing, so it is initialised first (Go takes packages whose imports
// are ready in the order of their paths), and asks the kernel by itself.
package nofile

var original [2]uint64

var ok = prlimit(&original) == 0

// prlimit is prlimit64(0, RLIMIT_NOFILE, NULL, r); the result is 0 or -errno.
func prlimit(r *[2]uint64) int64

// Original returns the soft and hard limits at the start of the process;
// known is false where the kernel did not tell.
func Original() (soft, hard uint64, known bool) {
	return original[0], original[1], ok
}
