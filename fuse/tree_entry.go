package fuse

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// entries copies everything in a directory but what is in its subdirectories,
// whose names it returns.
func (b *builder) entries(d *dirPair) (subs []string, err error) {
	var seen map[string]bool
	if len(d.src) > 1 {
		seen = map[string]bool{}
	}
	for _, fd := range d.src {
		names, err := dirNames(fd)
		if err != nil {
			return nil, fmt.Errorf("read the directory /%s: %w", d.path, err)
		}
		marked := fxattr(fd, xattrOpaque) == "x"
		for _, name := range names {
			if seen != nil {
				if seen[name] {
					continue
				}
				seen[name] = true
			}
			isDir, err := b.entry(d, fd, name, marked)
			if err != nil {
				return nil, err
			}
			if isDir {
				subs = append(subs, name)
			}
		}
	}
	return subs, nil
}

// dirNames reads a directory from its start.
func dirNames(fd int) ([]string, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "directory")
	defer f.Close()
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	return f.Readdirnames(-1)
}

// entry copies one name of one layer.
func (b *builder) entry(d *dirPair, parent int, name string, marked bool) (isDir bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, fmt.Errorf("stat /%s: %w", d.join(name), err)
	}
	path := d.join(name)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(d.dst, name, 0o700); err != nil {
			return false, fmt.Errorf("make the directory /%s: %w", path, err)
		}
		return true, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		return false, nil // a whiteout: layers hold no other device
	case unix.S_IFREG:
		return false, b.linked(d, name, &st, func() error { return b.file(d, parent, name, &st, marked) })
	case unix.S_IFLNK:
		return false, b.linked(d, name, &st, func() error { return b.symlink(d, parent, name, &st) })
	}
	return false, b.linked(d, name, &st, func() error {
		if err := unix.Mknodat(d.dst, name, st.Mode, 0); err != nil {
			return fmt.Errorf("make /%s: %w", path, err)
		}
		return b.finishAt(d.dst, name, &st, path)
	})
}

// linked makes the first name of an inode and links the others to it. Only
// inodes of several names wait for each other.
func (b *builder) linked(d *dirPair, name string, st *unix.Stat_t, make func() error) error {
	if st.Nlink < 2 {
		return make()
	}
	b.mu.Lock()
	first, ok := b.links[inode{uint64(st.Dev), st.Ino}]
	if ok {
		b.mu.Unlock()
		if err := unix.Linkat(b.root, first, d.dst, name, 0); err != nil {
			return fmt.Errorf("link /%s to /%s: %w", d.join(name), first, err)
		}
		return nil
	}
	b.mu.Unlock()
	return b.firstLink(d, name, st, make)
}

// firstLink makes an inode under a name that is ours alone, then publishes it.
// Two directories may do so at once: the later throws its own away.
func (b *builder) firstLink(d *dirPair, name string, st *unix.Stat_t, make func() error) error {
	if err := make(); err != nil {
		return err
	}
	var is unix.Stat_t
	if unix.Fstatat(d.dst, name, &is, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return nil // it was a whiteout
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := inode{uint64(st.Dev), st.Ino}
	first, ok := b.links[key]
	if !ok {
		b.links[key] = d.join(name)
		return nil
	}
	err := unix.Unlinkat(d.dst, name, 0)
	if err == nil {
		err = unix.Linkat(b.root, first, d.dst, name, 0)
	}
	if err != nil {
		return fmt.Errorf("link /%s to /%s: %w", d.join(name), first, err)
	}
	b.stats.Inodes--
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		b.stats.Files--
	}
	return nil
}

func (b *builder) symlink(d *dirPair, parent int, name string, st *unix.Stat_t) error {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(parent, name, buf[:])
	if err == nil {
		err = unix.Symlinkat(string(buf[:n]), d.dst, name)
	}
	if err != nil {
		return fmt.Errorf("make the link /%s: %w", d.join(name), err)
	}
	return b.finishAt(d.dst, name, st, d.join(name))
}

// file makes a regular file, empty but for its size, or with its data.
func (b *builder) file(d *dirPair, parent int, name string, st *unix.Stat_t, marked bool) error {
	path := d.join(name)
	src := &source{dir: parent, name: name, fd: -1}
	defer src.close()
	if marked && st.Size == 0 {
		if err := src.open(); err != nil {
			return fmt.Errorf("open /%s: %w", path, err)
		}
		if _, err := unix.Fgetxattr(src.fd, xattrWhiteout, nil); err == nil {
			return nil
		}
	}
	dst, err := unix.Openat(d.dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, st.Mode&0o777)
	if err != nil {
		return fmt.Errorf("make /%s: %w", path, err)
	}
	defer unix.Close(dst)
	if st.Size > 0 {
		if err := b.content(src, dst, st, path); err != nil {
			return err
		}
	}
	if err := b.finish(src, dst, st, path); err != nil {
		return err
	}
	b.count(func(s *TreeStats) { s.Inodes++; s.Files++ })
	return nil
}

func (b *builder) content(src *source, dst int, st *unix.Stat_t, path string) error {
	meta := b.kind == metaOnly
	if b.kind == lentOnly {
		err := src.open()
		if err != nil {
			return fmt.Errorf("open /%s: %w", path, err)
		}
		_, err = unix.Fgetxattr(src.fd, xattrLent, nil)
		meta = err == nil
	}
	if meta {
		err := b.redirect(dst, st.Size, path)
		if err == nil || b.kind == lentOnly || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ERANGE) {
			return err
		}
		// A path too long for an attribute: this one file is copied.
		_ = unix.Fremovexattr(dst, xattrMetacopy)
		if err := unix.Ftruncate(dst, 0); err != nil {
			return fmt.Errorf("empty /%s: %w", path, err)
		}
	}
	var cloned bool
	err := src.open()
	if err == nil {
		cloned, err = b.copyData(src.fd, dst, st.Size)
	}
	if err != nil {
		return fmt.Errorf("copy /%s: %w", path, err)
	}
	b.count(func(s *TreeStats) {
		s.Bytes += st.Size
		if cloned {
			s.Cloned++
		} else {
			s.Copied++
		}
	})
	return nil
}

func (b *builder) redirect(dst int, size int64, path string) error {
	err := unix.Ftruncate(dst, size)
	if err == nil {
		err = unix.Fsetxattr(dst, xattrRedirect, []byte("/"+path), 0)
	}
	if err == nil {
		err = unix.Fsetxattr(dst, xattrMetacopy, nil, 0)
	}
	if err != nil {
		return fmt.Errorf("mark /%s: %w", path, err)
	}
	return nil
}

// finish gives an open file or directory its owner, mode, attributes and
// times, in this order: chown takes setuid bits and capabilities away.
func (b *builder) finish(src *source, dst int, st *unix.Stat_t, path string) error {
	uid, gid := b.ids.owner(st)
	var err error
	if b.chown || uid != b.uid || gid != b.gid {
		err = unix.Fchown(dst, uid, gid)
	}
	if isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; err == nil && (isDir || st.Mode&(0o7000|b.umask) != 0) {
		err = unix.Fchmod(dst, st.Mode&0o7777) // else open(2) has given the mode
	}
	if err == nil {
		err = b.xattrs(src, dst)
	}
	if err == nil {
		err = futimens(dst, st)
	}
	if err != nil {
		return fmt.Errorf("set the metadata of /%s: %w", path, err)
	}
	b.unmapped(st)
	return nil
}

// futimens is missing in x/sys/unix: utimensat with no path acts on the
// descriptor.
func futimens(fd int, st *unix.Stat_t) error {
	times := [2]unix.Timespec{st.Atim, st.Mtim}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// finishAt is for what cannot be opened: links, FIFOs, sockets. They have no
// attributes that a user namespace could set.
func (b *builder) finishAt(dir int, name string, st *unix.Stat_t, path string) error {
	uid, gid := b.ids.owner(st)
	var err error
	if b.chown || uid != b.uid || gid != b.gid {
		err = unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Fchmodat(dir, name, st.Mode&0o7777, 0)
	}
	if err == nil {
		err = unix.UtimesNanoAt(dir, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("set the metadata of /%s: %w", path, err)
	}
	b.unmapped(st)
	b.count(func(s *TreeStats) { s.Inodes++ })
	return nil
}

func (b *builder) unmapped(st *unix.Stat_t) {
	_, u := moveOr(b.ids.uids, st.Uid)
	_, g := moveOr(b.ids.gids, st.Gid)
	if !u || !g {
		b.count(func(s *TreeStats) { s.Unmapped++ })
	}
}
