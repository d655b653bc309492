package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Remove removes the cgroup, those that the container made below it, and the
// parents that were made for it and are empty. It waits for the last process to
// end, for ten seconds at most, and kills none; the error is ErrNotEmpty then. A
// cgroup that is gone, or whose path is another's now, needs nothing.
func (c *Cgroup) Remove(ctx context.Context) error {
	if c.dir == nil {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := c.removeOnce(ctx)
		switch {
		case err == nil:
			c.removeParents()
			if c.ref.Unit != "" {
				c.stopUnit(ctx)
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("remove cgroup %s: %w: %w", c.ref.Path, ErrNotEmpty, err)
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("remove cgroup %s: %w", c.ref.Path, err)
		}
		if err := c.empty(ctx); errors.Is(err, ErrGone) {
			continue // the next round finds it so
		} else if err != nil {
			return fmt.Errorf("remove cgroup %s: %w: %w", c.ref.Path, ErrNotEmpty, err)
		}
		// Empty, and busy all the same: the kernel is not done with the last
		// process, or something was made just now.
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup %s: %w: %w", c.ref.Path, ErrNotEmpty, err)
		case <-time.After(wait):
		}
	}
}

// removeOnce removes what it can; EBUSY means that something runs in there.
func (c *Cgroup) removeOnce(ctx context.Context) error {
	if err := removeChildren(ctx, c.dir); err != nil {
		if removed(err) && errors.Is(c.gone(err), ErrGone) {
			return nil
		}
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(c.ref.Path, &st); err == unix.ENOENT {
		return nil
	} else if err != nil {
		return os.NewSyscallError("lstat", err)
	}
	if st.Ino != c.ref.ID {
		return nil
	}
	if err := c.sys.rmdir(c.ref.Path); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (c *Cgroup) removeParents() {
	dir := c.ref.Path
	for range c.ref.Made - 1 {
		dir = filepath.Dir(dir)
		if c.sys.rmdir(dir) != nil {
			return // another container's cgroup is in there
		}
	}
}

// removeChildren removes all cgroups below root, from the bottom up, with one
// descriptor at any depth as walk has.
func removeChildren(ctx context.Context, root *os.File) error {
	at, err := openIn(root, ".", unix.O_DIRECTORY|unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { at.Close() }()
	var path []string // from root to at
	for ctx.Err() == nil {
		busy, err := removeLeaves(at)
		if err != nil {
			return err
		}
		next := busy
		if busy == "" {
			if len(path) == 0 {
				return nil
			}
			next = ".."
		}
		dir, err := openIn(at, next, unix.O_DIRECTORY|unix.O_RDONLY)
		if errors.Is(err, unix.ENOENT) && busy != "" {
			continue // it went meanwhile
		}
		if err != nil {
			return err
		}
		at.Close()
		at = dir
		if busy != "" {
			path = append(path, busy)
			continue
		}
		name := path[len(path)-1]
		path = path[:len(path)-1]
		// No child was left in there, so what is busy are its processes.
		if err := unix.Unlinkat(int(at.Fd()), name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "rmdir", Path: filepath.Join(at.Name(), name), Err: err}
		}
	}
	return ctx.Err()
}

// removeLeaves removes the cgroups directly below dir, and gives the name of
// the first that is busy: it has children, or processes.
func removeLeaves(dir *os.File) (busy string, err error) {
	names, err := children(dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		switch err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR); err {
		case nil, unix.ENOENT:
		case unix.EBUSY, unix.ENOTEMPTY:
			return name, nil
		default:
			return "", &os.PathError{Op: "rmdir", Path: filepath.Join(dir.Name(), name), Err: err}
		}
	}
	return "", nil
}

// Sweep removes the empty cgroup that a launcher left who was killed before he
// could write down where it is. It has the name that a container without a path
// gets, which another container may have: one with processes stays.
func Sweep(id string) {
	tree, err := Detect()
	if err != nil || tree.Mount == "" || id == "" || filepath.Base(id) != id {
		return
	}
	dirs := tree.parents()
	if shared := tree.usualShared(); shared != "" {
		dirs = append(dirs, shared)
	}
	for _, dir := range dirs {
		_ = unix.Rmdir(filepath.Join(dir, "coracle-"+id))
	}
}

// usualShared is where the shared scope is, without asking systemd.
func (t Tree) usualShared() string {
	uid := os.Geteuid()
	return t.dirOf(fmt.Sprintf("/user.slice/user-%d.slice/user@%d.service/%s/%s", uid, uid, sharedSlice, sharedUnit))
}
