package denial

import (
	"bytes"
	"coracle/internal/plainfile"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// task is the thread that waits for an answer.
type task struct {
	l   *Listener
	pid int
}

// memory reads from the task's memory, up to n bytes.
func (t task) memory(addr uint64, n int) ([]byte, bool) {
	buf := make([]byte, n)
	got := t.readInto(buf, addr)
	return buf[:got], got > 0
}

func (t task) readInto(buf []byte, addr uint64) int {
	local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}
	n, err := unix.ProcessVMReadv(t.pid, local, remote, 0)
	if err != nil {
		return 0
	}
	return n
}

// text reads a string that ends with a zero byte: page by page, for what is behind may
// not be there.
func (t task) text(addr uint64) (string, bool) {
	const page = 4096
	var out []byte
	for len(out) < unix.PathMax {
		size := page - int(addr%page)
		if len(out) == 0 && size > 256 {
			size = 256 // most are short
		}
		part, ok := t.memory(addr, size)
		if !ok {
			return "", false
		}
		if i := bytes.IndexByte(part, 0); i >= 0 {
			return string(append(out, part[:i]...)), true
		}
		out = append(out, part...)
		addr += uint64(len(part))
	}
	return "", false
}

func (t task) link(name string) (string, bool) {
	to, err := os.Readlink("/proc/" + strconv.Itoa(t.pid) + "/" + name)
	return to, err == nil && strings.HasPrefix(to, "/")
}

// access finds what a name means.
func (t task) access(w want) (Access, bool) {
	a := Access{Action: w.action, Create: w.create}
	if w.addr == 0 || w.action == "" {
		return a, false
	}
	name, ok := t.text(w.addr)
	if !ok || name == "" {
		return a, false
	}
	if name[0] != '/' {
		from := "cwd"
		if w.dir != unix.AT_FDCWD {
			from = "fd/" + strconv.Itoa(int(w.dir))
		}
		base, ok := t.link(from)
		if !ok {
			return a, false
		}
		name = base + "/" + name
	}
	if again, is := t.reopened(name); is {
		a.Path, a.Exists, a.Parent, a.Reopened = again, true, true, true
		return a, again != ""
	}
	ok = t.resolve(&a, name, w.noFollow)
	if named := path.Clean(name); named != a.Path {
		a.Named = named
	}
	return a, ok
}

// reopened is what a descriptor leads to that is opened by a name of it.
func (t task) reopened(name string) (string, bool) {
	switch name {
	case "/dev/stdin":
		name = "/proc/self/fd/0"
	case "/dev/stdout":
		name = "/proc/self/fd/1"
	case "/dev/stderr":
		name = "/proc/self/fd/2"
	}
	n, ok := strings.CutPrefix(name, "/proc/self/fd/")
	if !ok {
		n, ok = strings.CutPrefix(name, "/dev/fd/")
	}
	if !ok || n == "" || strings.Trim(n, "0123456789") != "" {
		return "", false
	}
	to, _ := t.link("fd/" + n)
	return to, true
}

// resolve follows a name inside the sandbox's root as far as it is there.
func (t task) resolve(a *Access, name string, noFollow bool) bool {
	root, err := t.root()
	if err != nil {
		return false
	}
	flags := uint64(unix.O_PATH)
	if noFollow {
		flags |= unix.O_NOFOLLOW
	}
	got, err := at(root, name, flags)
	if err == nil {
		a.Path, a.Exists, a.Parent = got, true, true
		return true
	}
	a.Path = path.Clean(name)
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return false // it may not be looked at, or is no path as others are
	}
	trimmed := strings.TrimRight(name, "/")
	dir, base := path.Split(trimmed)
	if base == "" || base == "." || base == ".." {
		return true
	}
	if got, err := at(root, dir, unix.O_PATH|unix.O_DIRECTORY); err == nil {
		a.Path, a.Parent = path.Join(got, base), true
	}
	return true
}

// at is where a path leads, by the names that lead there.
func at(root int, name string, flags uint64) (string, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := plainfile.Openat2(root, name, &how)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}

// root is the sandbox's, in which nobody can change his own (chroot(2) takes a capability).
func (t task) root() (int, error) {
	if t.l.root == nil {
		f, err := os.OpenFile("/proc/"+strconv.Itoa(t.pid)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return -1, err
		}
		t.l.root = f
	}
	return int(t.l.root.Fd()), nil
}
