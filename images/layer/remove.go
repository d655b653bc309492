package layer

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories a removal holds open. What is deeper is
// first moved up.
const maxDepth = 64

// RemoveAll removes name, a single path component, in dirfd and all below it,
// without following links. A missing one is no error. EACCES and EPERM come
// back as they are: the tree then belongs to mapped ids and the stage has to
// remove it.
func RemoveAll(dirfd int, name string) error {
	r := remover{top: dirfd, name: name}
	if err := r.remove(dirfd, name, 0); err != nil {
		return fmt.Errorf("remove %s: %w", quote(name), err)
	}
	return nil
}

type remover struct {
	top   int // the directory that holds what is removed
	name  string
	moved int
}

// remove removes one name. It tries unlink first: most names are files.
func (r *remover) remove(dirfd int, name string, depth int) error {
	err := unix.Unlinkat(dirfd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) { // POSIX allows EPERM for a directory
		return err
	}
	if rmErr := unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR); rmErr == nil || errors.Is(rmErr, unix.ENOENT) {
		return nil
	} else if errors.Is(rmErr, unix.ENOTDIR) {
		return err
	} else if !errors.Is(rmErr, unix.ENOTEMPTY) && !errors.Is(rmErr, unix.EEXIST) {
		return rmErr
	}
	if depth >= maxDepth {
		return r.moveUp(dirfd, name)
	}
	fd, err := openat(dirfd, name, openDir, 0)
	if errors.Is(err, unix.EACCES) && unlock(dirfd, name) == nil {
		fd, err = openat(dirfd, name, openDir, 0)
	}
	if err != nil {
		return goneIsFine(err)
	}
	err = r.empty(fd, depth)
	unix.Close(fd)
	if err = goneIsFine(err); err != nil { // getdents says ENOENT in a directory that was removed
		return err
	}
	return goneIsFine(unix.Unlinkat(dirfd, name, unix.AT_REMOVEDIR))
}

// goneIsFine is for two who remove the same tree at once: a collection, and
// whoever wants the place.
func goneIsFine(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// unlock makes a directory of the caller's own readable: overlay's work/work
// has mode 0, and is not empty when the mount was volatile. By descriptor, so
// that no link is followed.
func unlock(dirfd int, name string) error {
	fd, err := openat(dirfd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700)
}

// empty removes what is in a directory, until a listing finds nothing: removing
// while listing may pass names over, and what is deep is moved here.
func (r *remover) empty(fd, depth int) error {
	for {
		names, err := listDir(fd)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		for _, n := range names {
			err := r.remove(fd, n, depth+1)
			// One of the caller's own that may be listed, but not written to.
			if errors.Is(err, unix.EACCES) && unix.Fchmod(fd, 0o700) == nil {
				err = r.remove(fd, n, depth+1)
			}
			if err != nil {
				return err
			}
		}
	}
}

// moveUp moves a directory into the one that is being removed as a whole, where
// it is met again: no tree is too deep for the number of descriptors, or for
// the stack.
func (r *remover) moveUp(dirfd int, name string) error {
	top, err := openat(r.top, r.name, openDir, 0)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	for {
		r.moved++
		to := ".coracle-deep-" + strconv.Itoa(r.moved)
		err := unix.Mkdirat(top, to, 0o700) // claims the name; a rename takes an empty directory's place
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return err
		}
		return goneIsFine(unix.Renameat(dirfd, name, top, to))
	}
}

// listDir reads a directory from its start.
func listDir(fd int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, err
	}
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
