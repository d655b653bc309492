package review

import (
	"os"
	"path/filepath"
	"time"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// Discard removes a sandbox's changes with its directory. The sandbox must be locked.
// The record goes first: what is left of a discard that was killed is no sandbox, and
// goes with the next one.
func (s *Sandbox) Discard() error {
	if s.lock == nil {
		return ErrRunning
	}
	if err := os.Remove(filepath.Join(s.Dir, "record.json")); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := removeIn(filepath.Dir(s.Dir), filepath.Base(s.Dir)); err != nil {
		return err
	}
	s.Release()
	return nil
}

// Drop is Discard for changes that an apply may have begun to bring over: what it has
// left of its own beside the host's files goes first.
func (s *Sandbox) Drop() error {
	if s.lock == nil {
		return ErrRunning
	}
	if err := s.clean(); err != nil {
		return err
	}
	return s.Discard()
}

// Sweep removes what a discard that was killed has left.
func Sweep(root string) error {
	entries, err := os.ReadDir(sandboxes(root))
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(sandboxes(root), e.Name())
		// One that has just been made has no record yet either, nor the lock.
		if st, err := os.Stat(dir); err != nil || time.Since(st.ModTime()) < time.Minute {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, "record.json")); !os.IsNotExist(err) {
			continue
		}
		s := &Sandbox{Record: Record{ID: e.Name()}, Dir: dir}
		if s.Lock() != nil {
			continue
		}
		err := s.Discard()
		s.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func removeIn(dir, name string) error {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return layer.RemoveAll(fd, name)
}
