package images

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// WriteWhole writes a file that appears under its name when it is complete. Until then it
// has none, where the file system can do that: who is killed leaves nothing behind. With
// replace it takes the place of a file that is there, or of what a link leads to; else that
// is fs.ErrExist.
func WriteWhole(path string, replace bool, write func(*os.File) error) (err error) {
	if replace {
		if real, rerr := filepath.EvalSymlinks(path); rerr == nil {
			path = real
		}
	} else if _, serr := os.Lstat(path); serr == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	f, temp, err := openNameless(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && temp != "" {
			os.Remove(temp)
		}
	}()
	if err = write(f); err == nil && temp == "" {
		temp, err = link(f, path)
	}
	if err = errors.Join(err, f.Close()); err != nil || temp == "" {
		return err
	}
	if replace {
		return os.Rename(temp, path)
	}
	err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // network file systems
		err = os.Rename(temp, path)
	}
	return err
}

// openTmpfile is a variable for tests: here it fails on no file system.
var openTmpfile = func(dir string) (int, error) {
	return unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
}

// openNameless opens a file without a name in the directory of path, or where that cannot
// be, under another name.
func openNameless(path string) (f *os.File, temp string, err error) {
	fd, err := openTmpfile(filepath.Dir(path))
	if err == nil {
		return os.NewFile(uintptr(fd), path), "", nil //nolint:gosec // a descriptor is not negative
	}
	temp = besides(path)
	f, err = os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the caller's umask decides, as for any file
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		pe.Path = path // nobody has heard of the other
	}
	return f, temp, err
}

// besides is a name beside path that nothing has.
func besides(path string) string {
	base := filepath.Base(path)
	return filepath.Join(filepath.Dir(path), "."+base[:min(len(base), 200)]+"."+rand.Text()[:8])
}

// link gives a nameless file its name, or another one where that is taken.
func link(f *os.File, path string) (temp string, err error) {
	self := "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) //nolint:gosec // a descriptor fits
	err = unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.EEXIST) {
		temp = besides(path)
		err = unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, temp, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		err = &fs.PathError{Op: "create", Path: path, Err: err}
	}
	return temp, err
}
