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

// Watched386 are none: only amd64 has i386's calls.
func Watched386() []seccomp.Watch { return nil }

func (task) from386(_ uint32, args [6]uint64) (uint32, [6]uint64, bool) { return 0, args, false }
