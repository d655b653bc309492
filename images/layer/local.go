package layer

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// local does a stage's work in this process.
type local struct {
	root int
	ids  ids
	// For tests: behave as if the kernel could not do these.
	noOpen2, noMknod bool
}

// Local does the work in this process, below the directory root. It is for
// tests and for callers that are inside the right namespace already.
func Local(root string) (Stage, error) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", root, err)
	}
	i, err := currentIDs()
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &local{root: fd, ids: i}, nil
}

// Close implements Stage.
func (l *local) Close() error { return unix.Close(l.root) }

// Remove implements Stage.
func (l *local) Remove(ctx context.Context, dir string) error {
	up, base, err := splitStoreName(dir)
	if err != nil {
		return err
	}
	fd, err := l.openStore(up, false)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", quote(dir), err)
	}
	defer unix.Close(fd)
	if err := ctx.Err(); err != nil {
		return err
	}
	return RemoveAll(fd, base)
}

// splitStoreName checks the name of something in the store.
func splitStoreName(name string) (up, base string, err error) {
	clean := path.Clean(name)
	if !filepath.IsLocal(name) || clean == "." || strings.IndexByte(name, 0) >= 0 {
		return "", "", fmt.Errorf("%q is not a name in the store", name)
	}
	up, base = splitName(clean)
	return up, base, nil
}

// openStore opens a directory of the store, following no links. With create,
// missing ones are made.
func (l *local) openStore(name string, create bool) (int, error) {
	fd, err := openat(l.root, ".", openDir, 0)
	if err != nil || name == "." {
		return fd, err
	}
	for step := range strings.SplitSeq(name, "/") {
		next, err := openat(fd, step, openDir, 0)
		if err == unix.ENOENT && create {
			if err = unix.Mkdirat(fd, step, 0o700); err == nil || err == unix.EEXIST {
				next, err = openat(fd, step, openDir, 0)
			}
		}
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// makeTarget makes the directory of a layer, and opens it and the one it is in.
func (l *local) makeTarget(name string) (top, fd int, err error) {
	up, base, err := splitStoreName(name)
	if err != nil {
		return -1, -1, err
	}
	if top, err = l.openStore(up, true); err != nil {
		return -1, -1, err
	}
	if err = unix.Mkdirat(top, base, 0o755); err == nil {
		fd, err = openat(top, base, openDir, 0)
	}
	if err != nil {
		unix.Close(top)
		return -1, -1, err
	}
	// What the store's own directory hands down is no part of the image: default
	// ACLs, and the group and mode that a setgid directory gives.
	for _, a := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
		_ = unix.Fremovexattr(fd, a) // most often there is none
	}
	if err = unix.Fchown(fd, int(l.ids.uid), int(l.ids.gid)); err == nil {
		err = unix.Fchmod(fd, 0o755)
	}
	if err != nil {
		unix.Close(top)
		unix.Close(fd)
		return -1, -1, err
	}
	return top, fd, nil
}
