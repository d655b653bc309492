package engine

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What files that came by tar get last: owners, modes, times.

func (u *unpacker) finishDir(d madeDir) error {
	dir, base := path.Split(d.name)
	parent, err := u.openDir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	fd, err := openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, d.mode); err != nil {
		return err
	}
	return setTimes(fd, "", d.time, unix.AT_EMPTY_PATH)
}

func (u *unpacker) mode(h *tar.Header) uint32 {
	if u.o.Host {
		return uint32(h.Mode) & 0o1777 //nolint:gosec // permissions
	}
	return uint32(h.Mode) & 0o7777 //nolint:gosec // permissions
}

// owner gives a file to whom it is to belong; "" is the descriptor itself.
func (u *unpacker) owner(fd int, name string, h *tar.Header) error {
	if u.o.Host {
		return nil
	}
	uid, gid := h.Uid, h.Gid
	if u.o.Chown {
		uid, gid = u.o.UID, u.o.GID
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err := unix.Fchownat(fd, name, uid, gid, flags)
	if errors.Is(err, unix.EINVAL) { // no such id in the map
		if !u.unmapped {
			u.unmapped = true
			u.note(fmt.Sprintf("%s: the container has no ids %d:%d, so it belongs to its root", h.Name, uid, gid))
		}
		return nil
	}
	return err
}

// finishAt gives an owner and times to what cannot be opened.
func (u *unpacker) finishAt(parent int, base string, h *tar.Header) error {
	if err := u.owner(parent, base, h); err != nil {
		return err
	}
	return setTimes(parent, base, h.ModTime, unix.AT_SYMLINK_NOFOLLOW)
}

func setTimes(fd int, name string, t time.Time, flags int) error {
	if t.IsZero() {
		t = time.Now()
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	err := unix.UtimesNanoAt(fd, name, []unix.Timespec{ts, ts}, flags)
	if name == "" && errors.Is(err, unix.EINVAL) { // AT_EMPTY_PATH, from Linux 5.8
		return os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", fd), t, t)
	}
	return err
}
