package layer

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }

// finishFD gives an open file or directory its owner, mode and xattrs, in the
// order the kernel wants: chown clears the setuid bit and file capabilities.
// What was made just now with the right mode and owner is left as it is, unless
// force says that something may have interfered (a setgid directory above).
func (u *unpacker) finishFD(fd int, name string, h *header, force, replaced bool) error {
	uid, gid := uint32(h.uid), uint32(h.gid)
	if u.r.Record {
		uid, gid = u.ids.uid, u.ids.gid
	}
	if u.acls { // a default ACL above has been inherited
		for _, a := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
			_ = unix.Fremovexattr(fd, a)
		}
		force = true
	}
	if force || uid != u.ids.uid || gid != u.ids.gid {
		if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
			return fmt.Errorf("give it to %d:%d: %w", uid, gid, err)
		}
	}
	if force || u.ids.umask || h.mode&0o7000 != 0 {
		if err := unix.Fchmod(fd, h.mode); err != nil {
			return fmt.Errorf("set its mode to %#o: %w", h.mode, err)
		}
	}
	if len(h.xattrs) > 0 {
		if err := u.setXattrs(fd, name, h); err != nil {
			return err
		}
	}
	typ := uint32(unix.S_IFREG)
	if h.typ == typeDir {
		typ = unix.S_IFDIR
	}
	return u.record(fd, name, h, typ, replaced)
}

// finishAt is finishFD for what cannot be opened, and sets its time as well.
func (u *unpacker) finishAt(d *dir, base string, h *header, typ uint32, replaced bool) error {
	name := joinName(d.real, base)
	if !u.r.Record && (d.setgid || uint32(h.uid) != u.ids.uid || uint32(h.gid) != u.ids.gid) {
		if err := unix.Fchownat(d.fd, base, int(h.uid), int(h.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("give it to %d:%d: %w", h.uid, h.gid, err)
		}
	}
	if typ == unix.S_IFIFO && (u.ids.umask || u.acls || h.mode&0o7000 != 0) {
		// It follows links, but base is the fifo that was made just now.
		if err := unix.Fchmodat(d.fd, base, h.mode, 0); err != nil {
			return fmt.Errorf("set its mode to %#o: %w", h.mode, err)
		}
	}
	for _, x := range h.xattrs {
		u.skip(name, "xattr "+clip(x.key)+": only files and directories can have it")
	}
	if err := u.record(-1, name, h, typ, replaced); err != nil {
		return err
	}
	ts := []unix.Timespec{{Sec: h.sec, Nsec: h.nsec}, {Sec: h.sec, Nsec: h.nsec}}
	return unix.UtimesNanoAt(d.fd, base, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// record keeps the owner that a single-id map cannot give (see Stat). fd is -1
// for what has no user xattrs.
func (u *unpacker) record(fd int, name string, h *header, typ uint32, replaced bool) error {
	own := uint32(h.uid) == u.ids.uid && uint32(h.gid) == u.ids.gid
	if !u.r.Record || own && !replaced {
		return nil
	}
	s := Stat{UID: uint32(h.uid), GID: uint32(h.gid), Mode: typ | h.mode}
	if typ == unix.S_IFLNK {
		s.Mode = typ | 0o777
	}
	if fd >= 0 {
		err := unix.Fsetxattr(fd, XattrStat, []byte(s.String()), 0)
		if err == nil || !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return u.stat.add(s.String() + " " + name)
}

// setXattrs sets an entry's xattrs. What cannot be had is left out and said.
func (u *unpacker) setXattrs(fd int, name string, h *header) error {
	for _, x := range h.xattrs {
		if why := forbiddenXattr(x.key); why != "" {
			u.skip(name, "xattr "+clip(x.key)+": "+why)
			continue
		}
		err := unix.Fsetxattr(fd, x.key, []byte(x.value), 0)
		switch {
		case err == nil:
			u.acls = u.acls || x.key == "system.posix_acl_default"
		case err == unix.ENOSPC && hasSpace(fd), err == unix.E2BIG, err == unix.ERANGE:
			u.skip(name, "xattr "+clip(x.key)+": too big for this file system")
		case err == unix.EPERM, err == unix.EACCES, err == unix.ENOTSUP, err == unix.EINVAL:
			u.skip(name, fmt.Sprintf("xattr %s: %v", clip(x.key), err))
		default:
			return fmt.Errorf("set xattr %s: %w", quote(x.key), err)
		}
	}
	return nil
}

// forbiddenXattr names the reason why an xattr of an archive is not set: those
// that overlays read would let an image forge whiteouts and redirects, SELinux
// labels are the host's business, and ours would forge owners.
func forbiddenXattr(key string) string {
	for _, p := range []string{"user.overlay.", "trusted.overlay.", "user.fuseoverlayfs.", "user.coracle."} {
		if strings.HasPrefix(key, p) {
			return "reserved"
		}
	}
	switch {
	case key == "security.selinux":
		return "the host labels files itself"
	case key == "" || hasNUL(key) || len(key) > maxName:
		return "not a name"
	}
	return ""
}

// hasSpace tells a full disk from an xattr that is too big, which ext4 reports
// in the same way.
func hasSpace(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Bavail > 256
}

// futimens sets both times of an open file.
func futimens(fd int, sec, nsec int64) error {
	ts := [2]unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: sec, Nsec: nsec}}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("set its time: %w", e)
	}
	return nil
}

// setDirTimes sets the times of directories, now that nothing in them changes
// any more.
func (u *unpacker) setDirTimes() error {
	return u.times.each(func(name string, sec, nsec int64) error {
		if name == "." {
			return futimens(u.t.root.fd, sec, nsec)
		}
		u.t.trim()
		up, base := splitName(name)
		d, err := u.t.dir(up, false)
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, ErrBadEntry) || err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil // a later entry took its place
		}
		if err == nil {
			ts := []unix.Timespec{{Sec: sec, Nsec: nsec}, {Sec: sec, Nsec: nsec}}
			err = unix.UtimesNanoAt(d.fd, base, ts, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil {
			return fmt.Errorf("set the time of %s: %w", quote(name), err)
		}
		return nil
	})
}
