package layer

import (
	"coracle/internal/plainfile"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	openDir  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	maxLinks = 40 // as the kernel has it
	maxDirs  = 128
	maxSteps = 1 << 14 // of one resolution; 40 links of 2,000 steps each are no honest name
)

// tree is a directory that is being filled. Every name is resolved inside it:
// links are followed by us, one step at a time and never out of the root, and
// the last step is always taken from an open directory. The kernel's own
// resolution is used only where it is told to refuse links.
type tree struct {
	root *dir
	dirs map[string]*dir // by the name they were asked for
	// implied is told of directories that had to be made because no entry names
	// them (or not yet).
	implied func(name string) error
	noOpen2 bool // tests, and kernels before 5.6
}

// dir is an open directory of a tree.
type dir struct {
	fd     int
	real   string // its name without links
	setgid bool   // what is made in it inherits its group
}

func newTree(fd int, implied func(string) error, noOpen2 bool) (*tree, error) {
	t := &tree{dirs: make(map[string]*dir), implied: implied, noOpen2: noOpen2}
	d, err := t.open(fd, ".", ".")
	t.root = d
	return t, err
}

func (t *tree) close() {
	t.flush()
	if t.root != nil {
		unix.Close(t.root.fd)
	}
}

// flush forgets all directories: what they were asked for by may now be
// another one.
func (t *tree) flush() {
	for _, d := range t.dirs {
		unix.Close(d.fd)
	}
	clear(t.dirs)
}

// flushBut is flush for when something in d has been removed: d itself is good.
func (t *tree) flushBut(d *dir) {
	for name, other := range t.dirs {
		if other != d {
			unix.Close(other.fd)
			delete(t.dirs, name)
		}
	}
}

// trim bounds the number of open directories. It is called between entries, so
// that a dir is good for as long as one entry is worked on.
func (t *tree) trim() {
	if len(t.dirs) > maxDirs {
		t.flush()
	}
}

// dir opens the directory of a clean name. With create, missing ones are made.
func (t *tree) dir(name string, create bool) (*dir, error) {
	if name == "." {
		return t.root, nil
	}
	if d := t.dirs[name]; d != nil {
		return d, nil
	}
	d, err := t.lookup(name)
	if err != nil && needsWalk(err) {
		d, err = t.walk(name, create)
	}
	if err != nil {
		return nil, err
	}
	t.dirs[name] = d
	return d, nil
}

// needsWalk tells whether a refusal of the kernel's may only mean that there is
// a link on the way, or something to make, or no openat2.
func needsWalk(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ENOSYS, unix.EPERM,
		unix.EINVAL, unix.E2BIG, unix.EAGAIN, unix.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// lookup is the quick way: from the parent, if that is open, or in one call.
func (t *tree) lookup(name string) (*dir, error) {
	up, base := splitName(name)
	if parent := t.dirs[up]; parent != nil || up == "." {
		if parent == nil {
			parent = t.root
		}
		return t.open(parent.fd, base, joinName(parent.real, base))
	}
	if t.noOpen2 {
		return nil, unix.ENOSYS
	}
	fd, err := plainfile.Openat2(t.root.fd, name, &unix.OpenHow{Flags: openDir,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, err
	}
	return newDir(fd, name)
}

func (t *tree) open(fd int, base, real string) (*dir, error) {
	fd, err := openat(fd, base, openDir, 0)
	if err != nil {
		return nil, err
	}
	return newDir(fd, real)
}

func newDir(fd int, real string) (*dir, error) {
	if len(real) > maxPath { // links can lead deeper than any name is long
		unix.Close(fd)
		return nil, fmt.Errorf("%w: the directory %s has too long a name", ErrBadEntry, quote(real))
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &dir{fd: fd, real: real, setgid: st.Mode&unix.S_ISGID != 0}, nil
}

// walk resolves a name step by step, following links inside the root as a
// chroot would: absolute targets start at the root, and ".." stops there.
func (t *tree) walk(name string, create bool) (*dir, error) {
	at, err := t.open(t.root.fd, ".", ".")
	if err != nil {
		return nil, err
	}
	links, steps := 0, 0
	for todo := strings.Split(name, "/"); len(todo) > 0; steps++ {
		next, target, err := t.step(at, todo[0], create)
		todo = todo[1:]
		if target != "" {
			if links++; links > maxLinks || steps > maxSteps {
				err = unix.ELOOP
			}
			todo = append(strings.Split(target, "/"), todo...)
		}
		if err != nil {
			unix.Close(at.fd)
			return nil, err
		}
		if next != nil {
			unix.Close(at.fd)
			at = next
		}
	}
	return at, nil
}

// step goes one step on. For a link it returns where that points, and the root
// when it starts there; without a next directory one stays.
func (t *tree) step(at *dir, step string, create bool) (next *dir, target string, err error) {
	switch step {
	case "", ".":
		return nil, "", nil
	case "..":
		if at.real == "." {
			return nil, "", nil
		}
		up, _ := splitName(at.real) // without links in it, so ".." is there
		next, err = t.open(at.fd, "..", up)
		return next, "", err
	}
	next, err = t.open(at.fd, step, joinName(at.real, step))
	switch {
	case errors.Is(err, unix.ENOENT) && create:
		next, err = t.make(at, step)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		target, err = readlinkat(at.fd, step)
		if errors.Is(err, unix.EINVAL) {
			next, err = t.notADir(at, step, create)
		} else if strings.HasPrefix(target, "/") {
			next, err = t.open(t.root.fd, ".", ".")
		}
	}
	return next, target, err
}

// make makes a directory that no entry has named so far.
func (t *tree) make(at *dir, base string) (*dir, error) {
	if err := unix.Mkdirat(at.fd, base, 0o755); err != nil {
		return nil, fmt.Errorf("make directory %s: %w", quote(joinName(at.real, base)), err)
	}
	if t.implied != nil {
		if err := t.implied(joinName(at.real, base)); err != nil {
			return nil, err
		}
	}
	return t.open(at.fd, base, joinName(at.real, base))
}

// notADir is asked about something on the way that is neither a directory nor a
// link. A whiteout there means that the layer deletes a name and then uses it
// anew: that is a directory which shows nothing of the layers below.
func (t *tree) notADir(at *dir, base string, create bool) (*dir, error) {
	if !create || !isWhiteout(at.fd, base) {
		return nil, fmt.Errorf("%w: %s is not a directory", ErrBadEntry, quote(joinName(at.real, base)))
	}
	if err := unix.Unlinkat(at.fd, base, 0); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(at.fd, base, 0o755); err != nil {
		return nil, err
	}
	d, err := t.open(at.fd, base, joinName(at.real, base))
	if err != nil {
		return nil, err
	}
	return d, setOpaque(d.fd)
}

// openat is openat(2), tried again when a signal came between: the Go runtime
// sends them, and network file systems return EINTR for them.
func openat(fd int, name string, flags int, mode uint32) (int, error) {
	return plainfile.Retry(func() (int, error) { return unix.Openat(fd, name, flags, mode) })
}

func readlinkat(fd int, name string) (string, error) {
	buf := make([]byte, maxPath+1)
	n, err := unix.Readlinkat(fd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
