package layer

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

func modTime(fd int) (unix.Timespec, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Mtim, err
}

// copyMeta gives dst the owner, mode, xattrs and time of src.
func copyMeta(src, dst int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
		return err
	}
	if err := copyXattrs(src, dst); err != nil {
		return err
	}
	return futimens(dst, st.Mtim.Sec, st.Mtim.Nsec)
}

// copyXattrs copies what the layer below has; the overlay's own marks speak of
// where they are and stay there.
func copyXattrs(src, dst int) error {
	n, err := unix.Flistxattr(src, nil)
	if n <= 0 {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return err
	}
	list := make([]byte, n)
	if n, err = unix.Flistxattr(src, list); err != nil {
		return err
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for key := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if key != XattrStat && key != XattrLent && forbiddenXattr(key) != "" {
			continue
		}
		n, err := unix.Fgetxattr(src, key, value)
		if err == nil {
			err = unix.Fsetxattr(dst, key, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("copy xattr %s: %w", quote(key), err)
		}
	}
	return nil
}

// copyUp copies something that is no directory, with all its metadata, to a
// name that is free.
func copyUp(srcDir int, srcName string, st *unix.Stat_t, dstDir int, dstName string) error {
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyFile(srcDir, srcName, dstDir, dstName)
	case unix.S_IFLNK:
		var target string
		if target, err = readlinkat(srcDir, srcName); err == nil {
			err = unix.Symlinkat(target, dstDir, dstName)
		}
	case unix.S_IFIFO:
		if err = unix.Mknodat(dstDir, dstName, unix.S_IFIFO, 0); err == nil {
			err = unix.Fchmodat(dstDir, dstName, st.Mode&0o7777, 0)
		}
	default:
		return fmt.Errorf("%w: it is neither a file, a link nor a fifo", ErrBadEntry)
	}
	if err == nil {
		err = unix.Fchownat(dstDir, dstName, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.UtimesNanoAt(dstDir, dstName, []unix.Timespec{st.Mtim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	return err
}

func copyFile(srcDir int, srcName string, dstDir int, dstName string) error {
	src, err := openat(srcDir, srcName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := openat(dstDir, dstName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err = unix.IoctlFileClone(dst, src); err != nil {
		err = copyBytes(src, dst)
	}
	if err == nil {
		err = copyMeta(src, dst)
	}
	if cerr := unix.Close(dst); err == nil {
		err = cerr
	}
	return err
}

// copyBytes copies the data of a file and keeps its holes.
func copyBytes(src, dst int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	for off := int64(0); off < st.Size; {
		data, err := unix.Seek(src, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(src, data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(src, dst, data, hole); err != nil {
			return err
		}
		off = hole
	}
	return unix.Ftruncate(dst, st.Size)
}

func copyRange(src, dst int, from, to int64) error {
	buf := make([]byte, min(to-from, chunkSize))
	if _, err := unix.Seek(dst, from, io.SeekStart); err != nil {
		return err
	}
	for from < to {
		n, err := unix.Pread(src, buf[:min(to-from, int64(len(buf)))], from)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		if err := writeAll(dst, buf[:n]); err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}
