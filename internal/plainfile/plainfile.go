// Package plainfile opens and reads files by plain system calls. An os.File is
// tried with the poller first: that takes six system calls more, and for most
// files of /proc and of cgroups it wakes another thread. A start of a container
// reads dozens of them.
package plainfile

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Retry makes a call again as long as a signal has interrupted it.
func Retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// Openat2 is openat2(2), made again when a signal has interrupted it and when something
// was renamed or mounted, by anybody on the machine, while it walked up (EAGAIN): for
// two seconds at least, as a program that starts does (userns).
func Openat2(dir int, name string, how *unix.OpenHow) (int, error) {
	return again(func() (int, error) { return unix.Openat2(dir, name, how) })
}

func again(call func() (int, error)) (int, error) {
	for try := 1; ; try++ {
		fd, err := Retry(call)
		if err != unix.EAGAIN || try == 2000*64 { //nolint:errorlint // a plain errno
			return fd, err
		}
		if try%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// Open is os.OpenFile with the flags of open(2); O_CLOEXEC goes without saying.
// Errors are of type *fs.PathError.
func Open(path string, flags int, mode uint32) (*os.File, error) {
	fd, err := open(path, flags, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func open(path string, flags int, mode uint32) (int, error) {
	fd, err := Retry(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, mode) })
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Lock opens a file with the flags of open(2), or a directory, and takes its flock(2)
// for itself. unix.EWOULDBLOCK: another holds it. Who removes such a file does so while
// it is locked, and who gets the lock looks whether the file still has its name (Named).
func Lock(path string, flags int) (*os.File, error) {
	fd, err := open(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Named says whether f is what has that path now, and not what a link there leads to.
func Named(f *os.File, path string) bool {
	var here, there unix.Stat_t
	return unix.Fstat(int(f.Fd()), &here) == nil && unix.Lstat(path, &there) == nil && here.Dev == there.Dev && here.Ino == there.Ino
}

// Read is os.ReadFile.
func Read(path string) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data := make([]byte, 0, 4096)
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := read(fd, path, data[len(data):cap(data)])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return data, nil
		}
		data = data[:len(data)+n]
	}
}

// Write writes a whole file, which is made where it is missing; flags are further
// ones of open(2), such as O_EXCL. With O_SYNC it is on the disk afterwards.
func Write(path string, data []byte, mode uint32, flags int) error {
	fd, err := Retry(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|flags, mode)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	for len(data) > 0 && err == nil {
		var n int
		n, err = Retry(func() (int, error) { return unix.Write(fd, data) })
		data = data[max(n, 0):]
	}
	if err == nil && flags&unix.O_SYNC != 0 {
		err = unix.Fsync(fd)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// ReadInto reads what one read(2) gives of a file, which is all of a short one,
// and returns that part of buf.
func ReadInto(path string, buf []byte) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := read(fd, path, buf)
	return buf[:max(n, 0)], err
}

func read(fd int, path string, buf []byte) (int, error) {
	n, err := Retry(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return n, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return n, nil
}

// UnescapeMount undoes \040 and the like, which /proc/PID/mountinfo has for space, tab,
// newline, backslash and '#' (proc(5)).
func UnescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
