package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// carryCopyUp copies the tree at carrierSource into the empty tmpfs at
// carrierTarget (option tmpcopyup). Arguments: whether the tmpfs takes the
// directory's owner too, and its size for messages.
const carryCopyUp = "copyup"

func copyUp(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s takes 2 arguments, not %d", carryCopyUp, len(args))
	}
	c := copier{target: carrierTarget, links: make(map[fileID]string)}
	err := c.tree(args[0] == "true")
	if errors.Is(err, unix.ENOSPC) {
		size := args[1]
		if size == "" {
			size = "the kernel's default"
		}
		return fmt.Errorf("what the image has there does not fit into the tmpfs (its size is %s): %w", size, err)
	}
	return err
}

type fileID struct{ dev, ino uint64 }

// copier copies a tree by descriptors: no name of the tree is ever followed.
type copier struct {
	target int               // the copy's top
	links  map[fileID]string // files with several names, where the first copy is
}

func (c *copier) tree(owner bool) error {
	src, err := openDir(carrierSource, ".")
	if err != nil {
		return fmt.Errorf("open the directory: %w", err)
	}
	defer src.Close()
	dst, err := openDir(c.target, ".")
	if err != nil {
		return fmt.Errorf("open the tmpfs: %w", err)
	}
	defer dst.Close()
	if owner {
		var st unix.Stat_t
		if err := unix.Fstat(int(src.Fd()), &st); err != nil {
			return fmt.Errorf("look at the directory: %w", err)
		}
		if err := chown(int(dst.Fd()), "", st); err != nil {
			return fmt.Errorf("give the tmpfs its owner: %w", err)
		}
	}
	return c.dir(src, dst, "")
}

func openDir(dirfd int, name string) (*os.File, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// dir copies the entries of a directory; at is its name below the top.
func (c *copier) dir(src, dst *os.File, at string) error {
	for {
		names, err := src.Readdirnames(1024)
		for _, name := range names {
			if err := c.entry(src, dst, name, path.Join(at, name)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: list it: %w", orDot(at), err)
		}
	}
}

func orDot(at string) string {
	if at == "" {
		return "."
	}
	return at
}

func (c *copier) entry(src, dst *os.File, name, at string) error {
	from, to := int(src.Fd()), int(dst.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	kind, id := st.Mode&unix.S_IFMT, fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // another type on arm64
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if first, ok := c.links[id]; ok {
			if err := unix.Linkat(c.target, first, to, name, 0); err != nil {
				return fmt.Errorf("%s: link it: %w", at, err)
			}
			return nil
		}
		c.links[id] = at
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		err = c.subdir(from, to, name, at, st)
	case unix.S_IFREG:
		err = copyFile(from, to, name, st)
	case unix.S_IFLNK:
		err = copySymlink(from, to, name)
	default:
		err = unix.Mknodat(to, name, st.Mode, int(st.Rdev)) //nolint:gosec // the kernel's own number
		if errors.Is(err, unix.EPERM) {
			err = errors.New("a device node, which cannot be made in a user namespace")
		}
	}
	if err == nil && kind != unix.S_IFDIR && kind != unix.S_IFREG {
		err = metadataByName(to, name, st)
	}
	if err != nil && kind != unix.S_IFDIR { // a directory's error has its name
		return fmt.Errorf("%s: %w", at, err)
	}
	return err
}

// subdir copies a directory with what is in it; of a mount point only itself.
func (c *copier) subdir(from, to int, name, at string, st unix.Stat_t) error {
	if err := unix.Mkdirat(to, name, 0o700); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	src, err := openDir(from, name)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	defer src.Close()
	dst, err := openDir(to, name)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	defer dst.Close()
	var sx unix.Statx_t
	if err := unix.Statx(int(src.Fd()), "", unix.AT_EMPTY_PATH, 0, &sx); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	mountPoint := sx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	if sx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 { // before Linux 5.8
		if mountPoint, err = otherMount(from, src); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	if !mountPoint {
		if err := c.dir(src, dst, at); err != nil {
			return err
		}
	}
	if err := metadata(src, dst, st); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// otherMount says whether a directory is on another mount than its parent.
func otherMount(parent int, dir *os.File) (bool, error) {
	above, err := mountIDOf(parent)
	if err != nil {
		return false, err
	}
	id, err := mountIDOf(int(dir.Fd()))
	return id != above, err
}

func copyFile(from, to int, name string, st unix.Stat_t) error {
	// Not blocking: it may have become a named pipe by now.
	fd, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(fd), name)
	defer src.Close()
	if fd, err = unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600); err != nil {
		return err
	}
	dst := os.NewFile(uintptr(fd), name)
	defer dst.Close()
	if err := copyData(src, dst, st.Size); err != nil {
		return err
	}
	return metadata(src, dst, st)
}

// copyData copies what is written and leaves holes holes.
func copyData(src, dst *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // the rest is a hole
		}
		end := size
		if err != nil {
			start = at // a file system that does not say
		} else if end, err = unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := src.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, end-start); err != nil {
			return err
		}
		at = end
	}
	return dst.Truncate(size)
}

func copySymlink(from, to int, name string) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, name, buf)
	if err != nil {
		return err
	}
	return unix.Symlinkat(string(buf[:n]), to, name)
}

// chown gives a file its owner. An id that the container's user namespace does
// not have cannot be given to anything there: the copy stays root's.
func chown(dirfd int, name string, st unix.Stat_t) error {
	err := unix.Fchownat(dirfd, name, int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// metadata: the owner first, which clears set-id bits and capabilities.
func metadata(src, dst *os.File, st unix.Stat_t) error {
	if err := chown(int(dst.Fd()), "", st); err != nil {
		return fmt.Errorf("set the owner: %w", err)
	}
	if err := unix.Fchmod(int(dst.Fd()), st.Mode&0o7777); err != nil {
		return fmt.Errorf("set the mode: %w", err)
	}
	if err := copyXattrs(src, dst); err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(int(dst.Fd()), "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set the times: %w", err)
	}
	return nil
}

func metadataByName(to int, name string, st unix.Stat_t) error {
	if err := chown(to, name, st); err != nil {
		return fmt.Errorf("set the owner: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(to, name, st.Mode&0o7777, 0); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
	}
	return unix.UtimesNanoAt(to, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// copyXattrs copies what a tmpfs can have: capabilities, access lists, and from
// Linux 6.6 on the user's. A label is the mount's own, trusted ones are the
// host's.
func copyXattrs(src, dst *os.File) error {
	size, err := unix.Flistxattr(int(src.Fd()), nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil
	}
	list := make([]byte, size)
	if err == nil {
		size, err = unix.Flistxattr(int(src.Fd()), list)
	}
	if err != nil {
		return fmt.Errorf("list its attributes: %w", err)
	}
	for name := range bytes.SplitSeq(bytes.TrimRight(list[:size], "\x00"), []byte{0}) {
		if err := copyXattr(src, dst, string(name)); err != nil {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

func copyXattr(src, dst *os.File, name string) error {
	if name == "security.selinux" || strings.HasPrefix(name, "trusted.") {
		return nil
	}
	size, err := unix.Fgetxattr(int(src.Fd()), name, nil)
	if err != nil {
		return err
	}
	value := make([]byte, size)
	if size, err = unix.Fgetxattr(int(src.Fd()), name, value); err != nil {
		return err
	}
	err = unix.Fsetxattr(int(dst.Fd()), name, value[:size], 0)
	if errors.Is(err, unix.ENOTSUP) && strings.HasPrefix(name, "user.") {
		return nil
	}
	return err
}
