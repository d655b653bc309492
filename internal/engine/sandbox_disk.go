package engine

import (
	"fmt"

	"coracle/internal/plainfile"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// holdDisk keeps what --disk and --inodes bound in sight until the end: /dev/shm is on
// the one tmpfs that all writes go to. A command that is over by then has left nothing
// that could be asked.
func (s *boxed) holdDisk(p *spec.Process) {
	if l := s.o.Options.Limits; l.Disk == 0 && l.Inodes == 0 {
		return
	}
	f, err := plainfile.Open(fmt.Sprintf("/proc/%d/root/dev/shm", p.PID), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	s.disk, s.opened = f, append(s.opened, f)
}

// diskFull says whether there was no room left when the command ended: the kernel tells
// nobody to whom it has said ENOSPC.
func (s *boxed) diskFull() bool {
	var st unix.Statfs_t
	if s.disk == nil || unix.Fstatfs(int(s.disk.Fd()), &st) != nil || st.Type != unix.TMPFS_MAGIC {
		return false
	}
	l := s.o.Options.Limits
	return l.Disk > 0 && st.Bfree == 0 || l.Inodes > 0 && st.Ffree == 0
}
