package fuse

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// readMax is what ReadFile takes: /etc/passwd of a large site is 100 kB.
const readMax = 1 << 20

// maxLinks is the kernel's own bound on symbolic links in one lookup.
const maxLinks = 40

// LayerReader reads single files as the overlay of its layers would show them,
// without a mount. All goes by descriptors, a component at a time, and no link
// is followed by the kernel, so nothing outside the layers is reached. It is
// not for several goroutines at once.
type LayerReader struct {
	lowers []int        // O_PATH, topmost first
	data   *LayerReader // has the data of files that are lent, see OpenLent; or nil
}

// Stat is what a LayerReader tells about a file. Ids are those of the process
// that reads, not the container's.
type Stat struct {
	Mode     uint32 // st_mode
	UID, GID uint32
	Size     int64
	Rdev     uint64
	Mtime    unix.Timespec // of Dirs
}

// OpenLayers opens the roots of layers, topmost first. One plain directory is
// a stack of one.
func OpenLayers(lowers []string) (*LayerReader, error) {
	r := &LayerReader{}
	for _, l := range lowers {
		fd, err := unix.Open(l, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("open the layer %s: %w", l, err)
		}
		r.lowers = append(r.lowers, fd)
	}
	return r, nil
}

// OpenLent opens a tree of BuildLent and the layers that lend it their data.
func OpenLent(tree string, lenders []string) (*LayerReader, error) {
	r, err := OpenLayers([]string{tree})
	if err != nil {
		return nil, err
	}
	if r.data, err = OpenLayers(lenders); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close closes the layers. A closed reader finds nothing.
func (r *LayerReader) Close() error {
	var err error
	for _, fd := range r.lowers {
		err = errors.Join(err, unix.Close(fd))
	}
	r.lowers = nil
	if r.data != nil {
		err = errors.Join(err, r.data.Close())
	}
	return err
}

// ReadFile reads a regular file of up to 1 MiB, links followed inside the
// root. Errors are *fs.PathError: fs.ErrNotExist, ErrTooBig, or the kernel's.
func (r *LayerReader) ReadFile(name string) ([]byte, error) {
	return r.ReadFileMax(name, readMax)
}

// ReadFileMax is ReadFile with another bound.
func (r *LayerReader) ReadFileMax(name string, limit int64) ([]byte, error) {
	data, err := r.readFile(name, limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

func (r *LayerReader) readFile(name string, limit int64) ([]byte, error) {
	n, err := r.walk(name, true)
	if err != nil {
		return nil, err
	}
	defer n.close()
	if n.st.Mode&unix.S_IFMT != unix.S_IFREG {
		if n.st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil, unix.EISDIR
		}
		return nil, unix.EINVAL // a device or a FIFO could do anything when opened
	}
	if n.st.Size > limit {
		return nil, fmt.Errorf("%w: %d bytes, %d at most", ErrTooBig, n.st.Size, limit)
	}
	f, err := n.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := unix.Fgetxattr(int(f.Fd()), xattrMetacopy, nil); err == nil && r.data != nil {
		return r.data.readFile(n.name(), limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooBig, limit)
	}
	return data, err
}

// Lstat tells about a name whose last link is not followed; Stat follows it.
func (r *LayerReader) Lstat(name string) (Stat, error) { return r.stat(name, false) }

// Stat tells about what a name leads to.
func (r *LayerReader) Stat(name string) (Stat, error) { return r.stat(name, true) }

func (r *LayerReader) stat(name string, follow bool) (Stat, error) {
	n, err := r.walk(name, follow)
	if err != nil {
		return Stat{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	defer n.close()
	return Stat{Mode: n.st.Mode, UID: n.st.Uid, GID: n.st.Gid, Size: n.st.Size, Rdev: uint64(n.st.Rdev)}, nil
}

// Resolve follows the links of an absolute name inside the root, as far as the
// name exists, and returns the absolute name without links. What does not
// exist is kept as it is written; ".." does not leave the root.
func (r *LayerReader) Resolve(name string) string {
	n, err := r.walk(name, true)
	if err == nil {
		n.close()
		return n.name()
	}
	dir, base := path.Split(path.Clean("/" + name))
	if base == "" {
		return "/"
	}
	if target, ok := r.dangling(name); ok {
		return target
	}
	return path.Join(r.Resolve(dir), base)
}

// dangling gives what a link that leads nowhere stands for: the kernel would
// make the file there.
func (r *LayerReader) dangling(name string) (string, bool) {
	seen := name
	for range maxLinks {
		n, err := r.walk(seen, false)
		if err != nil {
			if seen == name {
				return "", false
			}
			dir, base := path.Split(path.Clean("/" + seen))
			return path.Join(r.Resolve(dir), base), true
		}
		text, self := n.link, n.name()
		isLink := n.st.Mode&unix.S_IFMT == unix.S_IFLNK
		n.close()
		if !isLink {
			return "", false
		}
		if !strings.HasPrefix(text, "/") {
			text = path.Join(path.Dir(self), text)
		}
		seen = text
	}
	return "", false
}

// LookPath finds a command as execvp(3) would inside the root: name itself
// where it has a slash, else in the directories of pathList. It returns the
// absolute name; fs.ErrNotExist where there is none, fs.ErrPermission where
// what is there is no executable file.
func (r *LayerReader) LookPath(name, pathList, workdir string) (string, error) {
	if name == "" {
		return "", &fs.PathError{Op: "look for", Path: name, Err: fs.ErrNotExist}
	}
	var tries []string
	if strings.Contains(name, "/") {
		tries = []string{absIn(workdir, name)}
	} else {
		for _, dir := range strings.Split(pathList, ":") {
			tries = append(tries, path.Join(absIn(workdir, dir), name))
		}
	}
	found := error(fs.ErrNotExist)
	for _, t := range tries {
		st, err := r.Stat(t)
		switch {
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0:
			return t, nil
		case err == nil, errors.Is(err, fs.ErrPermission):
			found = fs.ErrPermission
		}
	}
	return "", &fs.PathError{Op: "look for", Path: name, Err: found}
}

func absIn(workdir, name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return path.Join("/", workdir, name)
}

// Dirs are the directories of the layers that make up a directory of the
// merged view, topmost first, without links, and what is told about it.
func (r *LayerReader) Dirs(name string) ([]string, Stat, error) {
	n, err := r.walk(name, true)
	if err != nil {
		return nil, Stat{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	defer n.close()
	if n.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, Stat{}, &fs.PathError{Op: "stat", Path: name, Err: unix.ENOTDIR}
	}
	dirs := make([]string, len(n.fds))
	for i, fd := range n.fds {
		if dirs[i], err = os.Readlink(procFD(fd)); err != nil {
			return nil, Stat{}, err
		}
	}
	return dirs, Stat{Mode: n.st.Mode, UID: n.st.Uid, GID: n.st.Gid, Mtime: n.st.Mtim}, nil
}
