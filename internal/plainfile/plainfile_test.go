package plainfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100_000} {
		path, want := filepath.Join(dir, "f"), bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d, %v", size, len(got), err)
		}
		if got, err := ReadInto(path, make([]byte, 10)); err != nil || !bytes.Equal(got, want[:min(size, 10)]) {
			t.Errorf("10 of %d bytes: %d, %v", size, len(got), err)
		}
	}
	for _, name := range []string{"nothing", "."} { // the second opens, and cannot be read
		_, err := Read(filepath.Join(dir, name))
		_, err2 := ReadInto(filepath.Join(dir, name), make([]byte, 1))
		_, wrong := errors.AsType[*fs.PathError](err)
		_, wrong2 := errors.AsType[*fs.PathError](err2)
		if !wrong || !wrong2 {
			t.Errorf("%s: %v, %v", name, err, err2)
		}
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	f, err := Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if _, err := Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("once more: %v", err)
	}
}

func TestRetry(t *testing.T) {
	calls := 0
	n, err := Retry(func() (int, error) {
		if calls++; calls < 3 {
			return -1, unix.EINTR
		}
		return 7, unix.EAGAIN
	})
	if n != 7 || !errors.Is(err, unix.EAGAIN) || calls != 3 {
		t.Errorf("%d, %v after %d calls", n, err, calls)
	}
}

// TestOpenat2Again: what the neighbours rename does not count, and an end it has.
func TestOpenat2Again(t *testing.T) {
	calls := 0
	n, err := again(func() (int, error) {
		if calls++; calls < 1000 {
			return -1, unix.EAGAIN
		}
		return 7, nil
	})
	if n != 7 || err != nil || calls != 1000 {
		t.Errorf("%d, %v after %d calls", n, err, calls)
	}
	n, err = again(func() (int, error) { return -1, unix.EAGAIN })
	if n != -1 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("never: %d, %v", n, err)
	}
	dir, err := Open(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	how := unix.OpenHow{Flags: unix.O_PATH, Resolve: unix.RESOLVE_BENEATH}
	if _, err := Openat2(int(dir.Fd()), "..", &how); !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ENOSYS) {
		t.Errorf("out of a directory: %v", err)
	}
}

// TestLock: one holder at a time, of a file that may lose its name meanwhile.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if _, err := Lock(path, unix.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	f, err := Lock(path, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Lock(path, unix.O_RDWR); !errors.Is(err, unix.EWOULDBLOCK) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second one: %v", err)
	}
	if !Named(f, path) {
		t.Error("it has its name")
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if Named(f, path) {
		t.Error("nothing has that name")
	}
	if err := os.Symlink(path+".old", path); err != nil {
		t.Fatal(err)
	}
	if Named(f, path) {
		t.Error("a link has that name")
	}
}
