package fuse

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// node is one file of the merged view: the descriptors (O_PATH) of it in the
// layers that contribute, topmost first. Only directories have several.
type node struct {
	fds    []int
	path   []string // components from the root
	st     unix.Stat_t
	link   string // a symbolic link's text
	shared bool   // the descriptors are the reader's own (the root)
}

func (n *node) name() string { return "/" + strings.Join(n.path, "/") }

func (n *node) close() {
	if n == nil || n.shared {
		return
	}
	for _, fd := range n.fds {
		_ = unix.Close(fd)
	}
	n.fds = nil
}

// open opens a regular file anew through its O_PATH descriptor, which cannot
// have become another file since.
func (n *node) open() (*os.File, error) {
	p := procFD(n.fds[0])
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), n.name()), nil
}

func (r *LayerReader) root() (*node, error) {
	if len(r.lowers) == 0 {
		return nil, unix.ENOENT
	}
	n := &node{fds: r.lowers, shared: true}
	if err := unix.Fstat(r.lowers[0], &n.st); err != nil {
		return nil, err
	}
	for i, fd := range r.lowers {
		if opaqueFD(fd) {
			n.fds = r.lowers[:i+1]
			break
		}
	}
	return n, nil
}

// walk looks a name up. The caller closes what it returns.
func (r *LayerReader) walk(name string, follow bool) (*node, error) {
	if strings.ContainsRune(name, 0) {
		return nil, unix.EINVAL
	}
	root, err := r.root()
	if err != nil {
		return nil, err
	}
	stack := []*node{root} // from the root down to where we are
	defer func() {
		for _, n := range stack {
			n.close()
		}
	}()
	todo := components(name)
	links := 0
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		here := stack[len(stack)-1]
		if here.st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil, unix.ENOTDIR
		}
		if c == ".." {
			if len(stack) > 1 {
				here.close()
				stack = stack[:len(stack)-1]
			}
			continue
		}
		n, err := child(here, c)
		if err != nil {
			return nil, err
		}
		if n.st.Mode&unix.S_IFMT != unix.S_IFLNK || len(todo) == 0 && !follow && !strings.HasSuffix(name, "/") {
			stack = append(stack, n)
			continue
		}
		text := n.link
		n.close()
		if links++; links > maxLinks {
			return nil, unix.ELOOP
		}
		if strings.HasPrefix(text, "/") {
			for _, s := range stack[1:] {
				s.close()
			}
			stack = stack[:1]
		}
		todo = append(components(text), todo...)
		if len(todo) > 4096 {
			return nil, unix.ENAMETOOLONG
		}
	}
	last := stack[len(stack)-1]
	stack = stack[:len(stack)-1]
	if strings.HasSuffix(name, "/") && last.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		last.close()
		return nil, unix.ENOTDIR
	}
	return last, nil
}

// components splits a name; "" and "." go.
func components(name string) []string {
	var out []string
	for _, c := range strings.Split(name, "/") {
		if c != "" && c != "." {
			out = append(out, c)
		}
	}
	return out
}

// child merges one name of a directory, as the overlay does: the topmost entry
// counts; below a directory further directories show through until a whiteout,
// an opaque mark or something that is no directory.
func child(dir *node, name string) (*node, error) {
	n := &node{path: append(dir.path[:len(dir.path):len(dir.path)], name)}
	for _, parent := range dir.fds {
		fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			n.close()
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			_ = unix.Close(fd)
			n.close()
			return nil, err
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if (len(n.fds) > 0 && !isDir) || (!isDir && len(dir.fds) >= 1 && whiteoutFD(fd, parent, &st)) {
			_ = unix.Close(fd)
			break
		}
		if len(n.fds) == 0 {
			n.st = st
		}
		n.fds = append(n.fds, fd)
		if !isDir || opaqueFD(fd) {
			break
		}
	}
	if len(n.fds) == 0 {
		return nil, unix.ENOENT
	}
	if n.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		text, err := readlinkFD(n.fds[0])
		if err != nil {
			n.close()
			return nil, err
		}
		n.link = text
	}
	return n, nil
}

func readlinkFD(fd int) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	return string(buf[:n]), err
}

// whiteoutFD: a 0:0 character device, or an empty file with the mark in a
// directory that is said to have such files.
func whiteoutFD(fd, parent int, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0
	case unix.S_IFREG:
		return st.Size == 0 && xattrFD(parent, xattrOpaque) == "x" && hasXattrFD(fd, xattrWhiteout)
	}
	return false
}

func opaqueFD(fd int) bool { return xattrFD(fd, xattrOpaque) == "y" }

// xattrFD reads a one-byte attribute through an O_PATH descriptor, which
// fgetxattr(2) refuses.
func xattrFD(fd int, name string) string {
	var b [1]byte
	n, err := unix.Getxattr(procFD(fd), name, b[:])
	if err != nil || n != 1 {
		return ""
	}
	return string(b[:])
}

func hasXattrFD(fd int, name string) bool {
	_, err := unix.Getxattr(procFD(fd), name, nil)
	return err == nil
}

func procFD(fd int) string {
	const digits = "0123456789"
	var buf [32]byte
	i := len(buf)
	for {
		i--
		buf[i] = digits[fd%10]
		if fd /= 10; fd == 0 {
			break
		}
	}
	return "/proc/self/fd/" + string(buf[i:])
}
