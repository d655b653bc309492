package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"coracle/internal/plainfile"
	"coracle/internal/randid"

	"golang.org/x/sys/unix"
)

// Destination is a file of the caller's that is written once a payload has ended. It is
// looked up before the payload begins: one that may write there could have its name, or
// the directories that lead there, lead anywhere else by then, and have the caller write
// into a file of its choice.
type Destination struct {
	name string
	dir  *os.File // where it is
	base string   // under which name
	open *os.File // what is no file that can be replaced: a pipe, a terminal
}

// OpenDestination finds out before anything runs that the file cannot be written. It
// changes nothing.
func OpenDestination(name string) (*Destination, error) {
	d := &Destination{name: name, base: filepath.Base(name)}
	st, err := os.Stat(name)
	switch {
	case err == nil && st.IsDir():
		return nil, unix.EISDIR
	case err == nil && !st.Mode().IsRegular():
		if d.open, err = plainfile.Open(name, unix.O_WRONLY|unix.O_NOCTTY, 0); err != nil {
			return nil, errors.Unwrap(err)
		}
		return d, nil
	}
	dir := filepath.Dir(name)
	if d.dir, err = plainfile.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, errors.Unwrap(err))
	}
	if err := unix.Faccessat(int(d.dir.Fd()), ".", unix.W_OK|unix.X_OK, 0); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return d, nil
}

// Write replaces the file in one step, for good.
func (d *Destination) Write(data []byte) error {
	if d.open != nil {
		_, err := d.open.Write(data)
		return err
	}
	err := d.replace(data)
	if full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT); full && d.overwrite(data) == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", d.name, err)
	}
	return nil
}

func (d *Destination) replace(data []byte) error {
	dir, tmp := int(d.dir.Fd()), ".coracle-"+randid.New(12)
	fd, err := plainfile.Retry(func() (int, error) {
		return unix.Openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	})
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = unix.Renameat(dir, tmp, dir, d.base)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, tmp, 0)
		return err
	}
	// Where the directory may not be read, its change is on the disk a little later.
	if at, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Fsync(at)
		unix.Close(at)
	}
	return nil
}

func (d *Destination) overwrite(data []byte) error {
	fd, err := unix.Openat(int(d.dir.Fd()), d.base, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return overwrite(os.NewFile(uintptr(fd), d.base), data)
}

// Close is for nil, too.
func (d *Destination) Close() {
	if d == nil {
		return
	}
	for _, f := range []*os.File{d.dir, d.open} {
		if f != nil {
			f.Close()
		}
	}
}
