package engine

import "golang.org/x/sys/unix"

// bounded says that all writes go to one tmpfs of a certain size, the layers included.
func (s *boxed) bounded() bool {
	l := s.o.Options.Limits
	return l.Disk > 0 || l.Inodes > 0
}

// diskFull says whether there was no room left when the command ended: the kernel tells
// nobody to whom it has said ENOSPC.
func (s *boxed) diskFull() bool {
	var st unix.Statfs_t
	if s.disk == nil || unix.Fstatfs(int(s.disk.Fd()), &st) != nil {
		return false
	}
	l := s.o.Options.Limits
	return l.Disk > 0 && st.Bfree == 0 || l.Inodes > 0 && st.Ffree == 0
}
