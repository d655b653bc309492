package layer

import (
	"coracle/internal/plainfile"
	"errors"

	"golang.org/x/sys/unix"
)

// XattrLent marks a file whose data is at the same place in the lender's tree.
const XattrLent = "user.coracle.lent"

// lends says whether the data of a file can be read where the lender has it. All
// must be able to: who mounts the container's root may be in fewer groups. The
// directories on the way are tried by opening.
func (u *unpacker) lends(name string, h *header) bool {
	if u.r.Lender == nil || h.size == 0 {
		return false
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV}
	fd, err := plainfile.Openat2(int(u.r.Lender.Fd()), name, &how)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == h.size && st.Mode&0o004 != 0
}

// leaveLent gives a file its size and the mark. Where it takes no mark (a store
// without attributes) nothing can be lent.
func leaveLent(fd int, size int64) error {
	return errors.Join(unix.Ftruncate(fd, size), unix.Fsetxattr(fd, XattrLent, []byte("y"), 0))
}
