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
	asDir := strings.HasSuffix(name, "/")
	w := &walker{trail: []*node{root}, todo: components(name), follow: follow || asDir}
	defer w.close()
	for len(w.todo) > 0 {
		if err := w.step(); err != nil {
			return nil, err
		}
	}
	last := w.here()
	if asDir && last.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	w.trail = w.trail[:len(w.trail)-1] // it is the caller's now
	return last, nil
}

// walker is a lookup under way.
type walker struct {
	trail  []*node // from the root down to where it is
	todo   []string
	follow bool // a link in the last place is followed
	links  int
}

func (w *walker) here() *node { return w.trail[len(w.trail)-1] }

func (w *walker) close() { w.back(0) }

// back returns to the first keep directories of the trail.
func (w *walker) back(keep int) {
	for _, n := range w.trail[keep:] {
		n.close()
	}
	w.trail = w.trail[:keep]
}

func (w *walker) step() error {
	name := w.todo[0]
	w.todo = w.todo[1:]
	here := w.here()
	if here.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	if name == ".." {
		w.back(max(len(w.trail)-1, 1))
		return nil
	}
	n, err := child(here, name)
	if err != nil {
		return err
	}
	if n.st.Mode&unix.S_IFMT != unix.S_IFLNK || len(w.todo) == 0 && !w.follow {
		w.trail = append(w.trail, n)
		return nil
	}
	n.close()
	return w.link(n.link)
}

func (w *walker) link(text string) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	if strings.HasPrefix(text, "/") {
		w.back(1)
	}
	w.todo = append(components(text), w.todo...)
	if len(w.todo) > unix.PathMax {
		return unix.ENAMETOOLONG
	}
	return nil
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
