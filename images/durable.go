package images

import (
	"coracle/internal/plainfile"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempFile is a file under ROOT/tmp, locked by its writer: what is not
// locked there belongs to the dead and is removed by sweepTemp.
type tempFile struct {
	*os.File
	done bool
}

func (s *Store) newTemp() (*tempFile, error) {
	for range 10 {
		f, err := os.CreateTemp(filepath.Join(s.root, "tmp"), "")
		if err != nil {
			return nil, explainWrite(err, s.root)
		}
		// Between creation and lock a sweep may have taken it for dead.
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil && plainfile.Named(f, f.Name()) {
			return &tempFile{File: f}, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("make a temporary file in %s: others remove it", s.root)
}

// discard removes the file unless it was kept.
func (t *tempFile) discard() {
	if !t.done {
		os.Remove(t.Name())
		t.Close()
	}
}

// keep makes the content durable and gives it its name. Whoever holds the
// descriptor may still read it.
func (t *tempFile) keep(path string) error {
	if err := t.Chmod(0o644); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	if err := os.Rename(t.Name(), path); err != nil {
		return err
	}
	t.done = true
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some network file systems cannot; the rename is then as durable as it gets.
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}

// replace writes a small file as old or new, never as something between.
func (s *Store) replace(path string, data []byte) error {
	t, err := s.newTemp()
	if err != nil {
		return err
	}
	defer t.discard()
	if _, err := t.Write(data); err != nil {
		return explainWrite(err, s.root)
	}
	if err := t.keep(path); err != nil {
		return explainWrite(fmt.Errorf("replace %s: %w", path, err), s.root)
	}
	return t.Close()
}

// sweepTemp removes the temporary files and leases of processes that died.
func (s *Store) sweepTemp(dir string) {
	entries, err := os.ReadDir(filepath.Join(s.root, dir))
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(s.root, dir, e.Name())
		if l, err := TryLock(path); err == nil && l != nil {
			l.Release()
		}
	}
}
