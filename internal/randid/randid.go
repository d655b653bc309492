// Package randid makes the names of containers and sandboxes: random, and with one system
// call. The first use of crypto/rand prepares a generator for many, in a seventh of a
// millisecond of each start.
package randid

import (
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// New is n random bytes, at most 256, as hexadecimal digits.
func New(n int) string {
	b := make([]byte, n)
	for {
		got, err := unix.Getrandom(b, 0)
		switch {
		case err == unix.EINTR: //nolint:errorlint // an errno: only before the kernel has gathered enough
		case err != nil || got != n:
			panic(fmt.Sprintf("getrandom: %d bytes, %v", got, err)) // as crypto/rand
		default:
			return hex.EncodeToString(b)
		}
	}
}
