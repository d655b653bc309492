package cgroupv2

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Below is the cgroup at a path below c, which stays open. The payload owns
// what is there: no link is followed, and nothing leads out.
func (c *Cgroup) Below(path string) (*Cgroup, error) {
	if c.dir == nil {
		return nil, ErrNone
	}
	rel := strings.Trim(filepath.Clean("/"+path), "/")
	if rel == "" {
		rel = "."
	}
	how := unix.OpenHow{
		Flags:   unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	name := filepath.Join(c.ref.Path, rel)
	fd, err := unix.Openat2(c.FD(), rel, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open cgroup", Path: name, Err: c.gone(err)}
	}
	dir := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		dir.Close()
		return nil, fmt.Errorf("stat cgroup %s: %w", name, err)
	}
	return &Cgroup{ref: Ref{Path: name, ID: st.Ino}, dir: dir, sys: c.sys}, nil
}
