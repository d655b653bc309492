package spec

import (
	"os"

	"golang.org/x/sys/unix"
)

// HostRoot says whether the caller is the machine's root, and not that of a
// user namespace.
func HostRoot() bool {
	var st unix.Stat_t
	return os.Geteuid() == 0 && unix.Stat("/proc/self/ns/user", &st) == nil && st.Ino == initUserNS
}
