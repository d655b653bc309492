package layer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What the kernel's overlay reads from a lower, mounted with userxattr
// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
const (
	xattrOpaque   = "user.overlay.opaque"   // "y": hides what is below; "x": has xattr whiteouts in it
	xattrWhiteout = "user.overlay.whiteout" // on an empty file, kernel 6.7 and later
)

func setOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, xattrOpaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark a directory opaque: %w", err)
	}
	return nil
}

// opaque returns "", "x" or "y".
func opaque(fd int) string {
	var b [1]byte
	if n, err := unix.Fgetxattr(fd, xattrOpaque, b[:]); err != nil || n != 1 {
		return ""
	}
	return string(b[:])
}

// isWhiteout tells whether name in a directory is a whiteout of either kind.
// Devices of archives are never made, so a 0:0 device is always ours.
func isWhiteout(dirfd int, name string) bool {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false
	}
	return isWhiteoutStat(dirfd, name, &st)
}

func isWhiteoutStat(dirfd int, name string, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0
	case unix.S_IFREG:
		if st.Size != 0 || opaque(dirfd) != "x" {
			return false
		}
		fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		_, err = unix.Fgetxattr(fd, xattrWhiteout, nil)
		return err == nil
	}
	return false
}

// makeWhiteout hides base of the layers below. A directory of that name which
// this layer has as well hides them by being opaque; anything else hides them
// as it is: whiteouts apply to lower layers only, wherever in the archive they
// stand (image-spec v1.1.1 layer.md#whiteouts).
func makeWhiteout(d *dir, base string, byXattr bool) error {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		fd, err := openat(d.fd, base, openDir, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return makeOpaque(fd)
	case err == nil:
		return nil
	case !errors.Is(err, unix.ENOENT):
		return err
	}
	if !byXattr {
		err = unix.Mknodat(d.fd, base, unix.S_IFCHR, 0)
		if err == nil || !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) &&
			!errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return xattrWhiteoutFile(d.fd, base)
}

// xattrWhiteoutFile is for where mknod is refused: kernels before 5.8, some
// network file systems, seccomp filters of outer containers.
func xattrWhiteoutFile(dirfd int, base string) error {
	if opaque(dirfd) == "y" {
		return nil // nothing is below, and the two marks cannot be had together
	}
	fd, err := openat(dirfd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, xattrWhiteout, []byte("y"), 0); err != nil {
		return err
	}
	return unix.Fsetxattr(dirfd, xattrOpaque, []byte("x"), 0)
}

// makeOpaque marks a directory opaque. Xattr whiteouts in it, which would now
// show as files, have nothing left to hide and go.
func makeOpaque(fd int) error {
	if opaque(fd) == "x" {
		names, err := listDir(fd)
		if err != nil {
			return err
		}
		for _, name := range names {
			if isWhiteout(fd, name) {
				if err := unix.Unlinkat(fd, name, 0); err != nil {
					return err
				}
			}
		}
	}
	return setOpaque(fd)
}
