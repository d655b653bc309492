package cgroupv2

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Ref is what the state file keeps of a cgroup. The zero Ref is none.
type Ref struct {
	Path string `json:"path,omitempty"` // the directory
	// ID is its inode number, which is the kernel's cgroup id: never used
	// again until the next boot, so that a path which another took is noticed.
	ID uint64 `json:"id,omitempty"`
	// Made counts the directories that were made for it, itself and parents.
	Made int `json:"made,omitempty"`
	// Unit is systemd's scope that it is, of the user's manager or the machine's.
	Unit string `json:"unit,omitempty"`
	User bool   `json:"user,omitempty"`
	// Scope is the delegated unit of the user's manager that it is below; only that
	// manager can put a process of a login session there.
	Scope string `json:"scope,omitempty"`
	// None says why there is none, see Cgroup.Reason.
	None string `json:"none,omitempty"`
}

// Cgroup is the cgroup of one container, held open: the handle goes on to mean
// the same cgroup when the path no longer does. An empty one (see New) has no
// cgroup; its methods return ErrNone, but for Close and Remove.
type Cgroup struct {
	ref    Ref
	dir    *os.File
	sys    kernel
	tree   Tree
	reason string
	notice error

	pending *pending     // a scope that is not made yet
	bus     []busAddress // where systemd is; nil: where it always is
}

// Open finds the cgroup of a container again. The error is ErrGone when it was
// removed, or when its path is another cgroup now.
func Open(ref Ref) (*Cgroup, error) {
	if ref.Path == "" {
		return &Cgroup{reason: cmp.Or(ref.None, "the container was started without a cgroup")}, nil
	}
	c, err := openDir(ref.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("open cgroup %s: %w", ref.Path, ErrGone)
	case err != nil:
		return nil, err
	case ref.ID != 0 && c.ref.ID != ref.ID:
		c.Close()
		return nil, fmt.Errorf("open cgroup %s: %w: another has its path now", ref.Path, ErrGone)
	case !isCgroup2(ref.Path):
		c.Close()
		return nil, fmt.Errorf("open cgroup %s: %w: no cgroup v2 is mounted there now", ref.Path, ErrGone)
	}
	c.ref.Made, c.ref.Unit, c.ref.User, c.ref.Scope = ref.Made, ref.Unit, ref.User, ref.Scope
	return c, nil
}

func openDir(path string) (*Cgroup, error) {
	fd, err := plainfile.Retry(func() (int, error) {
		return unix.Open(path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	dir := os.NewFile(uintptr(fd), path) // not by os.Open, which tries the poller
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		dir.Close()
		return nil, fmt.Errorf("stat cgroup %s: %w", path, err)
	}
	return &Cgroup{ref: Ref{Path: path, ID: st.Ino}, dir: dir, sys: realKernel{}}, nil
}

// Ref is for the state file.
func (c *Cgroup) Ref() Ref {
	if c.ref.Path == "" && c.pending == nil {
		return Ref{None: c.reason}
	}
	return c.ref
}

// Path is the cgroup's directory, "" when there is none.
func (c *Cgroup) Path() string { return c.ref.Path }

// Reason says why an empty Cgroup is empty: one line that a caller may log.
func (c *Cgroup) Reason() string { return c.reason }

// FD is an open descriptor of the directory, for clone3 with
// CLONE_INTO_CGROUP; -1 without a cgroup. It stays the Cgroup's.
//
// With CLONE_NEWCGROUP in the same clone3 the new namespace has this cgroup as
// its root, which a clone by clone(2) and a move afterwards does not give: then
// the child has to be moved first, and to unshare(CLONE_NEWCGROUP) by itself.
func (c *Cgroup) FD() int {
	if c.dir == nil {
		return -1
	}
	return int(c.dir.Fd())
}

// Bounded says whether a cgroup namespace with this cgroup as its root keeps who is
// in there from the limits, whoever owns the files: see Tree.NSDelegate.
func (c *Cgroup) Bounded() bool { return c.tree.NSDelegate }

// Close gives the handle back; the cgroup stays.
func (c *Cgroup) Close() {
	if c.dir != nil {
		c.dir.Close()
	}
}

// AddProcess moves a process into the cgroup: 7-14 ms where the machine was
// idle, against 1 ms for FD. The first one of a scope makes it (see Pending).
// From a login session only this can enter a scope: clone3 gets EACCES there.
func (c *Cgroup) AddProcess(pid int) error {
	if c.pending != nil {
		return c.startUnit(pid)
	}
	if c.dir == nil {
		return ErrNone
	}
	err := c.write("cgroup.procs", fmt.Sprint(pid))
	if err == nil {
		return nil
	}
	if (c.ref.Unit != "" || c.ref.Scope != "") && errors.Is(err, os.ErrPermission) {
		return c.attach(pid)
	}
	return fmt.Errorf("move process %d into its cgroup: %w%s", pid, err, explainMove(err))
}

// explainMove says what the kernel's errors mean for a move.
func explainMove(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return " (it gives controllers to children, and so may have no processes itself)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return " (cgroup.procs of the common ancestor of both cgroups must be writable)"
	case errors.Is(err, unix.ENOENT):
		return " (one of both cgroups is outside of this cgroup namespace)"
	}
	return ""
}

// Chown gives the cgroup to a user, as the specification's "Cgroup ownership"
// has it: the directory and what /sys/kernel/cgroup/delegate lists, so that
// limits stay out of reach. Only for a container with a cgroup namespace of its
// own and a writable cgroup mount.
func (c *Cgroup) Chown(uid, gid int) error {
	if c.dir == nil {
		return ErrNone
	}
	names := []string{"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"}
	if list, err := plainfile.Read("/sys/kernel/cgroup/delegate"); err == nil {
		names = strings.Fields(string(list))
	}
	for _, name := range append(names, ".") {
		if filepath.Base(name) != name {
			continue
		}
		err := unix.Fchownat(c.FD(), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("chown %s/%s: %w", c.ref.Path, name, c.gone(err))
		}
	}
	return nil
}

// openFile opens a file of the cgroup.
func (c *Cgroup) openFile(name string, flags int) (*os.File, error) {
	return openIn(c.dir, name, flags)
}

func openIn(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// read gives a file's content.
func (c *Cgroup) read(name string) (string, error) {
	s, err := readAt(c.dir, name)
	if err != nil {
		return "", c.gone(err)
	}
	return s, nil
}

// readAt reads a whole file of a cgroup.
func readAt(dir *os.File, name string) (string, error) {
	f, err := openIn(dir, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readAll(f)
}

// readAll reads from the start. Such files have no size, and a list of
// processes may be long.
func readAll(f *os.File) (string, error) {
	buf := make([]byte, 0, 4096)
	for {
		n, err := unix.Pread(int(f.Fd()), buf[len(buf):cap(buf)], int64(len(buf)))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "read", Path: f.Name(), Err: err}
		}
		if n == 0 {
			return string(buf), nil
		}
		if buf = buf[:len(buf)+n]; len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

func (c *Cgroup) write(name, value string) error {
	return c.gone(c.sys.write(c.dir, name, value))
}

// gone makes ErrGone of what the kernel says of a removed cgroup: ENODEV from
// files that are open, ENOENT for every name.
func (c *Cgroup) gone(err error) error {
	if err == nil || !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if unix.Faccessat(int(c.dir.Fd()), "cgroup.procs", unix.F_OK, 0) == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrGone, err)
}

// kernel is what changes the tree; tests have one that needs no cgroups.
type kernel interface {
	mkdir(path string) error
	rmdir(path string) error
	write(dir *os.File, name, value string) error
}

type realKernel struct{}

func (realKernel) mkdir(path string) error { return os.Mkdir(path, 0o755) }

func (realKernel) rmdir(path string) error {
	if err := unix.Rmdir(path); err != nil {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

// write is one write(2): the kernel takes a value whole or not at all.
func (realKernel) write(dir *os.File, name, value string) error {
	f, err := openIn(dir, name, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer f.Close()
	if value == "" {
		value = "\n" // a write of nothing does not reach the kernel
	}
	for {
		_, err := unix.Write(int(f.Fd()), []byte(value))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "write " + value + " to", Path: f.Name(), Err: err}
		}
		return nil
	}
}
