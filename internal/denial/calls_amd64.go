package denial

import (
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

const (
	sysFstatat  = unix.SYS_NEWFSTATAT
	sysRenameat = unix.SYS_RENAMEAT
)

// oldWatched are calls that newer machines do not have.
func oldWatched() []seccomp.Watch {
	var out []seccomp.Watch
	for _, nr := range []uint32{unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS, unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK,
		unix.SYS_RENAME, unix.SYS_SYMLINK, unix.SYS_READLINK, unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_MKNOD, unix.SYS_RENAMEAT} {
		out = append(out, seccomp.Watch{Nr: nr})
	}
	return out
}

func oldWanted(nr uint32, a [6]uint64) (want, bool) {
	w := want{dir: unix.AT_FDCWD, addr: a[0]}
	switch nr {
	case unix.SYS_OPEN:
		w.action, w.noFollow = openFlags(a[1])
	case unix.SYS_CREAT, unix.SYS_CHMOD, unix.SYS_CHOWN:
		w.action = Write
	case unix.SYS_STAT:
		w.action = Look
	case unix.SYS_LSTAT, unix.SYS_READLINK:
		w.action, w.noFollow = Look, true
	case unix.SYS_ACCESS:
		w.action = accessMode(a[1])
	case unix.SYS_MKDIR, unix.SYS_MKNOD:
		w.action, w.noFollow, w.create = Write, true, true
	case unix.SYS_SYMLINK:
		w.addr, w.action, w.noFollow, w.create = a[1], Write, true, true
	case unix.SYS_RMDIR, unix.SYS_UNLINK:
		w.action, w.noFollow = Remove, true
	case unix.SYS_RENAME:
		w.addr, w.action, w.noFollow = a[1], Write, true
	case unix.SYS_LCHOWN:
		w.action, w.noFollow = Write, true
	default:
		return w, false
	}
	return w, true
}
