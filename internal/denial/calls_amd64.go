package denial

import (
	"encoding/binary"

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

// Calls of i386's by number (arch/x86/entry/syscalls/syscall_32.tbl) that name a path or
// an address, and this machine's own with the same arguments.
func same386() [][2]uint32 {
	return [][2]uint32{
		{5, unix.SYS_OPEN}, {8, unix.SYS_CREAT}, {10, unix.SYS_UNLINK}, {11, unix.SYS_EXECVE}, {12, unix.SYS_CHDIR}, {14, unix.SYS_MKNOD}, {15, unix.SYS_CHMOD},
		{33, unix.SYS_ACCESS}, {38, unix.SYS_RENAME}, {39, unix.SYS_MKDIR}, {40, unix.SYS_RMDIR}, {83, unix.SYS_SYMLINK}, {85, unix.SYS_READLINK},
		{16, unix.SYS_LCHOWN}, {198, unix.SYS_LCHOWN}, {182, unix.SYS_CHOWN}, {212, unix.SYS_CHOWN}, {92, unix.SYS_TRUNCATE}, {193, unix.SYS_TRUNCATE},
		{106, unix.SYS_STAT}, {195, unix.SYS_STAT}, {107, unix.SYS_LSTAT}, {196, unix.SYS_LSTAT}, {300, unix.SYS_NEWFSTATAT}, {383, unix.SYS_STATX},
		{295, unix.SYS_OPENAT}, {437, unix.SYS_OPENAT2}, {296, unix.SYS_MKDIRAT}, {297, unix.SYS_MKNODAT}, {298, unix.SYS_FCHOWNAT}, {301, unix.SYS_UNLINKAT},
		{302, unix.SYS_RENAMEAT}, {353, unix.SYS_RENAMEAT2}, {303, unix.SYS_LINKAT}, {304, unix.SYS_SYMLINKAT}, {305, unix.SYS_READLINKAT}, {306, unix.SYS_FCHMODAT},
		{307, unix.SYS_FACCESSAT}, {439, unix.SYS_FACCESSAT2}, {320, unix.SYS_UTIMENSAT}, {412, unix.SYS_UTIMENSAT}, {361, unix.SYS_BIND}, {362, unix.SYS_CONNECT},
	}
}

// socketcall leads to many calls; these (linux/net.h) are looked at.
const (
	socketcall386 = 102
	bind386       = 2
	connect386    = 3
)

// Watched386 are those of i386's calls that are told of.
func Watched386() []seccomp.Watch {
	out := []seccomp.Watch{{Nr: socketcall386, Is: bind386, I386: true}, {Nr: socketcall386, Is: connect386, I386: true}}
	like := map[uint32]seccomp.Watch{}
	for _, w := range Watched() {
		like[w.Nr] = w
	}
	for _, c := range same386() {
		w := like[c[1]]
		w.Nr, w.I386 = c[0], true
		out = append(out, w)
	}
	return out
}

// from386 is a call of i386's in this machine's numbers. Of socketcall the arguments are
// an array of 32-bit words in the task's memory.
func (t task) from386(nr uint32, args [6]uint64) (uint32, [6]uint64, bool) {
	if nr != socketcall386 {
		for _, c := range same386() {
			if c[0] == nr {
				return c[1], args, true
			}
		}
		return 0, args, false
	}
	const words = 3
	own, known := map[uint64]uint32{bind386: unix.SYS_BIND, connect386: unix.SYS_CONNECT}[args[0]]
	if !known {
		return 0, args, false
	}
	array, ok := t.memory(args[1], 4*words)
	if !ok || len(array) < 4*words {
		return 0, args, false
	}
	args = [6]uint64{}
	for i := range words {
		args[i] = uint64(binary.NativeEndian.Uint32(array[4*i:]))
	}
	return own, args, true
}
