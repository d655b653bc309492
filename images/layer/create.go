package layer

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// once makes something at a name that must be free. What an earlier entry has
// put there goes first: the last one wins. It tells whether there was any.
func (u *unpacker) once(d *dir, base string, mk func() error) (replaced bool, err error) {
	err = mk()
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	if err := RemoveAll(d.fd, base); err != nil {
		return false, err
	}
	u.t.flushBut(d)
	return true, mk()
}

func (u *unpacker) file(d *dir, base string, h *header) error {
	var fd int
	replaced, err := u.once(d, base, func() (err error) {
		fd, err = openat(d.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, h.mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	if u.lends(joinName(d.real, base), h) {
		err = leaveLent(fd, h.size)
	} else {
		err = u.fill(fd, h)
	}
	if err == nil {
		err = u.finishFD(fd, joinName(d.real, base), h, d.setgid, replaced)
	}
	if err == nil {
		err = futimens(fd, h.sec, h.nsec)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr // network file systems report a full disk or quota only here
	}
	return err
}

// fill writes a file's data, leaving holes where the archive says so.
func (u *unpacker) fill(fd int, h *header) error {
	if !h.sparse {
		return u.copyData(fd)
	}
	for _, e := range h.extents {
		if _, err := unix.Seek(fd, e.off, io.SeekStart); err != nil {
			return err
		}
		for left := e.n; left > 0; {
			b, err := u.a.data(left)
			if err != nil {
				return err
			}
			if err := writeAll(fd, b); err != nil {
				return err
			}
			left -= int64(len(b))
		}
	}
	return unix.Ftruncate(fd, h.size)
}

func (u *unpacker) copyData(fd int) error {
	for {
		b, err := u.a.data(chunkSize)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeAll(fd, b); err != nil {
			return err
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// directory makes a directory, or gives an existing one its metadata.
func (u *unpacker) directory(d *dir, base, name string, h *header) error {
	real := joinName(d.real, base)
	fresh, hides := true, false
	err := unix.Mkdirat(d.fd, base, h.mode&0o777)
	if errors.Is(err, unix.EEXIST) {
		fresh, hides, err = u.takeDir(d, base, h.mode&0o777)
	}
	if err != nil {
		return err
	}
	if !fresh {
		u.t.flushBut(d) // others may know its old mode
		if err := u.explicit(real); err != nil {
			return err
		}
	}
	nd, err := u.t.open(d.fd, base, real)
	if err != nil {
		return err
	}
	u.t.dirs[name] = nd
	if hides {
		if err := setOpaque(nd.fd); err != nil {
			return err
		}
	}
	if err := u.finishFD(nd.fd, real, h, d.setgid || !fresh, !fresh); err != nil {
		return err
	}
	nd.setgid = h.mode&unix.S_ISGID != 0
	return u.times.add(real, h.sec, h.nsec)
}

// takeDir is for a name that is taken. A directory stays; a whiteout, made
// because the layer deletes the name before it uses it anew, gives way to a
// directory that hides what is below.
func (u *unpacker) takeDir(d *dir, base string, mode uint32) (fresh, hides bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, false, nil
	}
	hides = isWhiteoutStat(d.fd, base, &st)
	_, err = u.once(d, base, func() error { return unix.Mkdirat(d.fd, base, mode) })
	return true, hides, err
}

func (u *unpacker) symlink(d *dir, base string, h *header) error {
	if h.link == "" || len(h.link) > maxPath || hasNUL(h.link) {
		return fmt.Errorf("%w: a symbolic link to %s", ErrBadEntry, quote(h.link))
	}
	replaced, err := u.once(d, base, func() error { return unix.Symlinkat(h.link, d.fd, base) })
	if err != nil {
		return err
	}
	return u.finishAt(d, base, h, unix.S_IFLNK, replaced)
}

func (u *unpacker) fifo(d *dir, base string, h *header) error {
	replaced, err := u.once(d, base, func() error { return unix.Mknodat(d.fd, base, unix.S_IFIFO|h.mode&0o777, 0) })
	if err != nil {
		return err
	}
	return u.finishAt(d, base, h, unix.S_IFIFO, replaced)
}

// device leaves a device out: the kernel lets nobody make one in a user
// namespace, and nobody could use it.
func (u *unpacker) device(d *dir, base string, h *header) error {
	name := joinName(d.real, base)
	what, typ := "character", uint32(unix.S_IFCHR)
	if h.typ == typeBlock {
		what, typ = "block", unix.S_IFBLK
	}
	u.skip(name, fmt.Sprintf("%s device %d:%d: devices cannot be made in a user namespace", what, h.major, h.minor))
	if len(u.skipped) < 1<<16 {
		u.skipped[name] = true
	}
	if err := RemoveAll(d.fd, base); err != nil { // an earlier entry
		return err
	}
	u.t.flushBut(d)
	if !u.r.Record {
		return nil
	}
	s := Stat{uint32(h.uid), uint32(h.gid), typ | h.mode, h.major, h.minor}
	return u.stat.add(s.String() + " " + name)
}

// hardLink links to a file of this layer. One that is not here is in a layer
// below, which may not be unpacked yet: Finish links to it.
func (u *unpacker) hardLink(d *dir, base string, h *header) error {
	name := joinName(d.real, base)
	target, err := cleanName(h.link)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	up, tbase := splitName(target)
	if role, _, err := roleOf(up, tbase); err != nil || role != roleFile || target == "." {
		return fmt.Errorf("%w: a hard link to %s", ErrBadEntry, quote(h.link))
	}
	err = u.linkHere(d, base, up, tbase)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if td, err := u.t.dir(up, false); err == nil && u.skipped[joinName(td.real, tbase)] {
		u.skip(name, "a hard link to a device")
		return nil
	}
	if err := RemoveAll(d.fd, base); err != nil {
		return err
	}
	u.t.flushBut(d)
	return u.pending.add("l"+name, target)
}

// linkHere is ENOENT when the target is not in this layer, or is deleted by it.
func (u *unpacker) linkHere(d *dir, base, up, tbase string) error {
	var st, old unix.Stat_t
	_, err := u.once(d, base, func() error {
		td, err := u.t.dir(up, false)
		if err != nil {
			return err
		}
		if err := unix.Fstatat(td.fd, tbase, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if isWhiteoutStat(td.fd, tbase, &st) {
			return unix.ENOENT
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return fmt.Errorf("%w: a hard link to the directory %s", ErrBadEntry, quote(joinName(up, tbase)))
		}
		err = unix.Linkat(td.fd, tbase, d.fd, base, 0)
		if err == unix.EEXIST && unix.Fstatat(d.fd, base, &old, unix.AT_SYMLINK_NOFOLLOW) == nil &&
			old.Ino == st.Ino && old.Dev == st.Dev {
			return nil // it is that file already
		}
		return err
	})
	return err
}
