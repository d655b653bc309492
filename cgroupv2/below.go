package cgroupv2

import (
	"cmp"
	"coracle/internal/plainfile"
	"errors"
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
	fd, err := plainfile.Openat2(c.FD(), rel, &how)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // before Linux 5.6, or a filter around us
		fd, err = openBelow(c.FD(), rel)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open cgroup", Path: name, Err: c.gone(err)}
	}
	dir := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		dir.Close()
		return nil, fmt.Errorf("stat cgroup %s: %w", name, err)
	}
	return &Cgroup{ref: Ref{Path: name, ID: st.Ino, Scope: cmp.Or(c.ref.Scope, c.ref.Unit)}, dir: dir, sys: c.sys}, nil
}

// openBelow is openat2(2) by single steps. That nothing is mounted on the way is
// seen by the file system: of cgroup v2 there is only one.
func openBelow(dir int, rel string) (int, error) {
	at := dir
	for part := range strings.SplitSeq(rel, "/") {
		fd, err := unix.Openat(at, part, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != dir {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	var fs unix.Statfs_t
	err := unix.Fstatfs(at, &fs)
	if err == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC {
		err = unix.EXDEV
	}
	if err != nil {
		unix.Close(at)
		return -1, err
	}
	return at, nil
}
