package denial

import (
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

// want is a path that a call names.
type want struct {
	dir      int32  // a descriptor of the caller's, or AT_FDCWD
	addr     uint64 // of the name in its memory
	how      uint64 // of a struct open_how, which has the flags
	action   string
	noFollow bool
	create   bool
}

// Watched are the calls that are told of: those that name a path, connect(2) and bind(2).
func Watched() []seccomp.Watch {
	out := []seccomp.Watch{
		{Nr: unix.SYS_OPENAT}, {Nr: unix.SYS_OPENAT2},
		// Most of these are fstat(3) of a descriptor.
		{Nr: sysFstatat, Arg: 3, Without: unix.AT_EMPTY_PATH}, {Nr: unix.SYS_STATX, Arg: 2, Without: unix.AT_EMPTY_PATH},
		{Nr: unix.SYS_FACCESSAT}, {Nr: unix.SYS_FACCESSAT2}, {Nr: unix.SYS_READLINKAT}, {Nr: unix.SYS_EXECVE}, {Nr: unix.SYS_CHDIR},
		{Nr: unix.SYS_MKDIRAT}, {Nr: unix.SYS_MKNODAT}, {Nr: unix.SYS_SYMLINKAT}, {Nr: unix.SYS_LINKAT}, {Nr: unix.SYS_UNLINKAT}, {Nr: unix.SYS_RENAMEAT2},
		{Nr: unix.SYS_FCHMODAT}, {Nr: unix.SYS_FCHOWNAT}, {Nr: unix.SYS_UTIMENSAT}, {Nr: unix.SYS_TRUNCATE}, {Nr: unix.SYS_CONNECT}, {Nr: unix.SYS_BIND},
	}
	return append(out, oldWatched()...)
}

// openFlags are those of open(2) in our words.
func openFlags(flags uint64) (action string, noFollow bool) {
	noFollow = flags&unix.O_NOFOLLOW != 0
	switch {
	case flags&unix.O_PATH != 0:
		return Look, noFollow
	case flags&unix.O_ACCMODE != unix.O_RDONLY, flags&(unix.O_TRUNC|unix.O_CREAT) != 0:
		return Write, noFollow
	}
	return Read, noFollow
}

// wanted are the paths that a call names, two at most.
func wanted(nr uint32, a [6]uint64) (out [2]want, n int) {
	if w, ok := oldWanted(nr, a); ok {
		return [2]want{w}, 1
	}
	dir := int32(uint32(a[0]))
	w := want{dir: dir, addr: a[1]}
	switch nr {
	case unix.SYS_OPENAT:
		w.action, w.noFollow = openFlags(a[2])
	case unix.SYS_OPENAT2:
		w.action, w.how = Read, a[2]
	case sysFstatat:
		w.action, w.noFollow = Look, a[3]&unix.AT_SYMLINK_NOFOLLOW != 0
	case unix.SYS_STATX:
		w.action, w.noFollow = Look, a[2]&unix.AT_SYMLINK_NOFOLLOW != 0
	case unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2:
		w.action = accessMode(a[2])
	case unix.SYS_READLINKAT:
		w.action, w.noFollow = Look, true
	case unix.SYS_EXECVE:
		w = want{dir: unix.AT_FDCWD, addr: a[0], action: Execute}
	case unix.SYS_CHDIR:
		w = want{dir: unix.AT_FDCWD, addr: a[0], action: Look}
	case unix.SYS_TRUNCATE:
		w = want{dir: unix.AT_FDCWD, addr: a[0], action: Write}
	case unix.SYS_MKDIRAT, unix.SYS_MKNODAT:
		w.action, w.noFollow, w.create = Write, true, true
	case unix.SYS_SYMLINKAT:
		w = want{dir: int32(uint32(a[1])), addr: a[2], action: Write, noFollow: true, create: true}
	case unix.SYS_LINKAT:
		return [2]want{{dir: dir, addr: a[1], action: Look, noFollow: true}, {dir: int32(uint32(a[2])), addr: a[3], action: Write, noFollow: true, create: true}}, 2
	case unix.SYS_RENAMEAT2, sysRenameat:
		return [2]want{{dir: dir, addr: a[1], action: Remove, noFollow: true}, {dir: int32(uint32(a[2])), addr: a[3], action: Write, noFollow: true}}, 2
	case unix.SYS_UNLINKAT:
		w.action, w.noFollow = Remove, true
	case unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT:
		w.action = Write
	default:
		return out, 0
	}
	return [2]want{w}, 1
}

// accessMode is what access(2) asks for. Whether something may be written to is asked
// by many that then do not.
func accessMode(mode uint64) string {
	if mode&unix.X_OK != 0 {
		return Execute
	}
	return Look
}
