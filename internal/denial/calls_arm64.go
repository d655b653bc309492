package denial

import (
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

const (
	sysFstatat  = unix.SYS_FSTATAT
	sysRenameat = unix.SYS_RENAMEAT
)

// oldWatched are calls that this machine does not have, but for one.
func oldWatched() []seccomp.Watch { return []seccomp.Watch{{Nr: unix.SYS_RENAMEAT}} }

func oldWanted(uint32, [6]uint64) (want, bool) { return want{}, false }
