package fuse

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// source is what is copied: by name, and open where it has to be. Most files
// have no attributes, and to a metadata tree their data is nothing: they are
// never opened.
type source struct {
	dir  int
	name string
	fd   int // -1: not open
	ours bool
}

func (s *source) open() (err error) {
	if s.fd >= 0 {
		return nil
	}
	s.fd, err = unix.Openat(s.dir, s.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	s.ours = err == nil
	return err
}

func (s *source) close() {
	if s.ours {
		_ = unix.Close(s.fd)
	}
}

// list reads the names of the attributes into buf.
func (s *source) list(buf []byte) (int, error) {
	if s.fd < 0 {
		n, err := listxattrat(s.dir, s.name, buf)
		if err == nil || err == unix.ERANGE {
			return n, err
		}
		// Linux 6.13 has it; outer containers may refuse what they do not know.
		if err := s.open(); err != nil {
			return 0, err
		}
	}
	return unix.Flistxattr(s.fd, buf)
}

// listxattrat is missing in x/sys/unix.
func listxattrat(dir int, name string, buf []byte) (int, error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.Syscall6(unix.SYS_LISTXATTRAT, uintptr(dir), uintptr(unsafe.Pointer(p)), unix.AT_SYMLINK_NOFOLLOW,
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// xattrs copies extended attributes. The overlay's own have done their work in
// the merge; labels of security modules are for the kernel to give.
func (b *builder) xattrs(src *source, dst int) error {
	var buf [1024]byte
	n, err := src.list(buf[:])
	list := buf[:max(n, 0)]
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 1<<16)
		n, err = src.list(list)
		list = list[:max(n, 0)]
	}
	if errors.Is(err, unix.EOPNOTSUPP) || len(list) == 0 && err == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list attributes: %w", err)
	}
	if err := src.open(); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if err := b.xattr(src.fd, dst, name); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) xattr(src, dst int, name string) error {
	const acl = "system.posix_acl_"
	isCaps, isACL := name == "security.capability", strings.HasPrefix(name, acl)
	own := strings.HasPrefix(name, xattrPrefix) && !strings.HasPrefix(name, xattrPrefix+"overlay.") // not one of an overlay inside
	if own || name == xattrLent || !isCaps && !isACL && !strings.HasPrefix(name, "user.") {
		return nil
	}
	var small [512]byte
	value := small[:]
	n, err := unix.Fgetxattr(src, name, value)
	if errors.Is(err, unix.ERANGE) {
		value = make([]byte, 1<<16) // XATTR_SIZE_MAX
		n, err = unix.Fgetxattr(src, name, value)
	}
	if err != nil {
		return fmt.Errorf("read the attribute %s: %w", name, err)
	}
	value = value[:n]
	if isCaps {
		value = b.ids.moveCaps(value)
	}
	if isACL {
		value = b.ids.moveACL(value)
	}
	if err := unix.Fsetxattr(dst, name, value, 0); err != nil {
		return fmt.Errorf("set the attribute %s: %w", name, err)
	}
	return nil
}
