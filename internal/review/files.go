package review

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// file is what is at a name, by one statx(2); the zero value: nothing.
type file struct {
	there bool
	st    unix.Stat_t
	mount uint64
	links uint32
}

func (f *file) typ() Type      { return typeOf(f.st.Mode) }
func (f *file) is(t Type) bool { return f.there && f.typ() == t }
func (f *file) perm() uint32   { return f.st.Mode & 0o7777 }
func (f *file) ctime() int64   { return f.st.Ctim.Nano() }
func (f *file) mtime() int64   { return f.st.Mtim.Nano() }
func (f *file) print() Print   { return printOf(&f.st, f.links) }
func (f *file) side() *Side {
	if !f.there {
		return nil
	}
	s := &Side{Type: f.typ(), Mode: Mode(f.perm())}
	if s.Type == File {
		s.Size = f.st.Size
	}
	return s
}

// look says what is at a name in an open directory, without following a link.
func look(dir int, name string) (file, error) {
	var x unix.Statx_t
	_, err := plainfile.Retry(func() (int, error) {
		return 0, unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH,
			unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &x)
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return file{}, nil
	}
	if err != nil {
		return file{}, err
	}
	f := file{there: true, mount: x.Mnt_id, links: x.Nlink}
	f.st.Ino, f.st.Mode, f.st.Size, f.st.Uid, f.st.Gid = x.Ino, uint32(x.Mode), int64(x.Size), x.Uid, x.Gid
	f.st.Rdev = unix.Mkdev(x.Rdev_major, x.Rdev_minor)
	f.st.Mtim = unix.Timespec{Sec: x.Mtime.Sec, Nsec: int64(x.Mtime.Nsec)}
	f.st.Ctim = unix.Timespec{Sec: x.Ctime.Sec, Nsec: int64(x.Ctime.Nsec)}
	return f, nil
}

func openat(dir int, name string, flags int) (int, error) {
	return plainfile.Retry(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0) })
}

// beneath opens what is at a path below an open directory: no link is followed on
// the way, and no mount point crossed, for the overlay shows what is below them.
func beneath(dir int, name string, flags uint64) (int, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	fd, err := plainfile.Openat2(dir, name, how)
	switch err {
	case unix.EXDEV:
		err = fmt.Errorf("another file system is mounted there: %w", err)
	case unix.ENOSYS:
		err = fmt.Errorf("safe look-ups take openat2(2), from Linux 5.6: %w", err)
	case unix.ELOOP:
		err = fmt.Errorf("a link is on the way: %w", err)
	}
	return fd, err
}

const (
	listable = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	readable = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
)

// openOwn opens a file or directory of a sandbox's upper, whatever permissions it has
// been given: they are put back by done. A directory may be entered until then.
func openOwn(dir int, name string, f *file, flags int) (fd int, done func(), err error) {
	fd, err = openat(dir, name, flags)
	need := uint32(0o400)
	if f.is(Directory) {
		need = 0o500
	}
	if err == nil && (f.is(File) || f.st.Mode&need == need) {
		return fd, func() { unix.Close(fd) }, nil
	}
	if err != nil && !errors.Is(err, unix.EACCES) {
		return -1, nil, err
	}
	if err == nil {
		unix.Close(fd)
	}
	path, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return -1, nil, err
	}
	put := func() {
		_ = chmodFD(path, f.perm()) // it was ours to change a moment ago
		unix.Close(path)
	}
	if err = chmodFD(path, f.perm()|need); err == nil {
		fd, err = openat(unix.AT_FDCWD, fdPath(path), flags&^unix.O_NOFOLLOW)
	}
	if err != nil {
		put()
		return -1, nil, err
	}
	return fd, func() { unix.Close(fd); put() }, nil
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// chmodFD changes the mode of what an O_PATH descriptor is of, which is no link.
func chmodFD(fd int, mode uint32) error {
	return unix.Fchmodat(unix.AT_FDCWD, fdPath(fd), mode, 0)
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax+1)
	n, err := unix.Readlinkat(dir, name, buf)
	return string(buf[:max(n, 0)]), err
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

func split(path string) (dir, base string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}
