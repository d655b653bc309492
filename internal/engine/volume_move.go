package engine

import (
	"errors"
	"fmt"
	"os"
	"path"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// moveIn moves what is in a directory into another, and removes it. What has
// the same name is replaced, but directories become one, with the metadata of
// the one that is moved unless it is in keep. It goes on where somebody was
// killed at it.
func moveIn(parent, to *os.File, name string, keep map[string]bool) error {
	m := mover{keep: keep}
	from, err := openDirectory(int(parent.Fd()), name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	if err := m.all(from, to, "."); err != nil {
		return err
	}
	if keep != nil && !keep["."] {
		if err := takeMeta(from, to); err != nil {
			return err
		}
	}
	return unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
}

type mover struct {
	keep map[string]bool
}

func (m mover) all(from, to *os.File, at string) error {
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.one(from, to, name, path.Join(at, name)); err != nil {
			return err
		}
	}
	return nil
}

func (m mover) one(from, to *os.File, name, at string) error {
	src, dst := int(from.Fd()), int(to.Fd())
	var a, b unix.Stat_t
	if err := unix.Fstatat(src, name, &a, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("move %q into the volume: %w", at, err)
	}
	err := unix.Fstatat(dst, name, &b, unix.AT_SYMLINK_NOFOLLOW)
	isDir := func(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }
	switch {
	case errors.Is(err, unix.ENOENT):
		err = nil
	case err != nil:
	case isDir(a) && isDir(b):
		return m.merge(from, to, name, at)
	case isDir(a) || isDir(b):
		err = layer.RemoveAll(dst, name)
	}
	if err == nil {
		err = unix.Renameat(src, name, dst, name)
	}
	if err == nil && a.Nlink > 1 && !isDir(a) {
		_ = unix.Unlinkat(src, name, 0) // two names of one file: rename(2) does nothing
	}
	if err != nil {
		return fmt.Errorf("move %q into the volume: %w", at, err)
	}
	return nil
}

func (m mover) merge(from, to *os.File, name, at string) error {
	src, err := openDirectory(int(from.Fd()), name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openDirectory(int(to.Fd()), name)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := m.all(src, dst, at); err != nil {
		return err
	}
	if !m.keep[at] {
		if err := takeMeta(src, dst); err != nil {
			return err
		}
	}
	return unix.Unlinkat(int(from.Fd()), name, unix.AT_REMOVEDIR)
}

// takeMeta gives a directory owner and mode of another.
func takeMeta(from, to *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	return dirMeta{UID: st.Uid, GID: st.Gid, Mode: st.Mode & 0o7777}.give(to)
}
