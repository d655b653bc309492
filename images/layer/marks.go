package layer

import (
	"strings"

	"golang.org/x/sys/unix"
)

// fuse-overlayfs has its own marks, where it cannot make devices: a file
// .wh.NAME deletes NAME, and .wh..wh..opq or an attribute of its own makes a
// directory opaque. Source: fuse-overlayfs 1.14, main.c, "get_whiteout_name" and
// "is_directory_opaque".

func hasMark(fd int, base string) bool {
	var st unix.Stat_t
	return unix.Fstatat(fd, whiteoutPrefix+base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func markedOpaque(fd int) bool {
	var b [1]byte
	if n, err := unix.Fgetxattr(fd, "user.fuseoverlayfs.opaque", b[:]); err == nil && n == 1 && b[0] == 'y' {
		return true
	}
	return hasMark(fd, strings.TrimPrefix(opaqueMarker, whiteoutPrefix))
}

// named is the name that an entry of a marked layer speaks of; "" for what is
// about the directory itself.
func named(base string) string {
	of, mark := strings.CutPrefix(base, whiteoutPrefix)
	if mark && strings.HasPrefix(of, whiteoutPrefix) {
		return ""
	}
	return of
}
