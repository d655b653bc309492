package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Runtime is a state directory and the containers in it: what runc calls
// --root. Create and Start, or Run, make containers, Load and List find them,
// Delete removes them; Status, Exec, Kill and the rest are a Container's.
// `coracle oci` and internal/engine have this one runtime, with different roots.
//
// Each container has a directory of its own there, named by its id:
//
//	state.json    what it is and which process it has (record)
//	config.json   the configuration that it was made from, as carried out, unless
//	              that is the bundle's
//	start report  named pipes, while it is created and not started yet
//
// Whoever makes, starts or deletes a container holds flock(2) of its directory.
// All that is written is replaced by rename(2); a directory that says nothing
// usable is a container that was half made, and can be deleted.
type Runtime struct {
	Root string
	// Systemd makes cgroups by asking the service manager, as runc's
	// --systemd-cgroup.
	Systemd bool
	// AutoCgroup asks it where there is no place for one, see cgroupv2.Config.Auto.
	// Lasting: the containers are to outlive the caller's session.
	AutoCgroup, Lasting bool
	// NoCgroup makes none (runc and crun call it --cgroup-manager=disabled).
	NoCgroup bool
	// NoSystemd refuses, by ErrSystemd and before anything is done, the containers whose
	// cgroup is systemd's: for a caller without cgroupv2.UseBus.
	NoSystemd bool
	// Warn is told what does not stop a command, Debug what the specification
	// wants logged and nobody misses; nil: nobody is.
	Warn, Debug func(msg string)
	// FlagOf gives the words that the user has asked for a field of config.json
	// with, "" where there are none; nil: there are none.
	FlagOf func(field string) string
}

// Errors that callers tell apart; the words are those that callers of runc look for.
var (
	ErrNotExist   = errors.New("container does not exist")
	ErrExist      = errors.New("container with given ID already exists")
	ErrNotRunning = errors.New("container not running")
	ErrPaused     = errors.New("container paused")
	ErrNotPaused  = errors.New("container not paused")
	ErrSystemd    = errors.New("the container's cgroup is systemd's")
)

const (
	stateFile  = "state.json"
	configFile = "config.json"
	startPipe  = "start"
	reportPipe = "report"
)

func (r *Runtime) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(fmt.Sprintf(format, args...))
	}
}

func (r *Runtime) debug(format string, args ...any) {
	if r.Debug != nil {
		r.Debug(fmt.Sprintf(format, args...))
	}
}

// checkID holds ids to what runc takes: they name directories and cgroups.
func checkID(id string) error {
	if id == "" {
		return errors.New("container id cannot be empty")
	}
	ok := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_+-.", c)
	}
	if len(id) > 1024 || id == "." || id == ".." || strings.ContainsFunc(id, func(c rune) bool { return !ok(c) }) {
		return fmt.Errorf("invalid container ID format: %.80q: letters, digits and the characters _+-. only", id)
	}
	return nil
}

func (r *Runtime) dir(id string) string { return filepath.Join(r.Root, id) }

// lock locks the container's directory. Without wait it fails with EWOULDBLOCK
// when somebody else has it.
func lockDir(dir string, wait bool) (*os.File, error) {
	f, err := plainfile.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock takes the lock of a container that is there.
func (r *Runtime) lock(id string) (*os.File, error) {
	if err := r.find(id); err != nil {
		return nil, err
	}
	f, err := lockDir(r.dir(id), true)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, notExist(id)
	}
	if err != nil {
		return nil, fmt.Errorf("lock container %s: %w", id, err)
	}
	if !plainfile.Named(f, r.dir(id)) {
		f.Close() // deleted while we waited
		return nil, notExist(id)
	}
	return f, nil
}

// hold loads a container and keeps others from changing it until the lock is closed.
func (r *Runtime) hold(id string) (*Container, *os.File, error) {
	lock, err := r.lock(id)
	if err != nil {
		return nil, nil, err
	}
	c, err := r.Load(id)
	if err != nil {
		lock.Close()
		return nil, nil, err
	}
	return c, lock, nil
}

func notExist(id string) error { return &idError{id, ErrNotExist} }

// idError is an error about one container, worded as runc does:
// `container does not exist` is what callers look for.
type idError struct {
	id  string
	err error
}

func (e *idError) Error() string {
	return fmt.Sprintf("container %s: %v", e.id, e.err) //nolint:errorlint // Unwrap gives it
}
func (e *idError) Unwrap() error { return e.err }

// trust fails when somebody else could have written what is in the state
// directory: we would run his hooks, and kill what he names.
func (r *Runtime) trust() error {
	st, err := os.Stat(r.Root)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if err := ours(st); err != nil {
		return fmt.Errorf("the state directory %s: %w", r.Root, err)
	}
	return nil
}

// find fails unless the container has a directory that can be trusted.
func (r *Runtime) find(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	st, err := os.Lstat(r.dir(id))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || err == nil && !st.IsDir() {
		return notExist(id)
	}
	if err == nil {
		err = cmpErr(r.trust(), ours(st))
	}
	if err != nil {
		return fmt.Errorf("read the state of container %s: %w", id, err)
	}
	return nil
}

// ours says whether only we, or root, can write to a directory, or with the
// sticky bit to what we have made in it.
func ours(st fs.FileInfo) error {
	owner := st.Sys().(*syscall.Stat_t).Uid
	if euid := uint32(os.Geteuid()); owner != euid && owner != 0 {
		return fmt.Errorf("it belongs to user %d, and this is user %d", owner, euid)
	}
	if st.Mode()&0o002 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("everybody may write to it (mode %#o)", st.Mode().Perm())
	}
	return nil
}

// claim makes the container's directory and returns it locked.
func (r *Runtime) claim(id string) (*os.File, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	if err := r.trust(); err != nil {
		return nil, err
	}
	err := os.Mkdir(r.dir(id), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil, &idError{id, ErrExist}
	}
	if err != nil {
		return nil, fmt.Errorf("make the state directory of %s: %w", id, err)
	}
	f, err := lockDir(r.dir(id), false)
	if err != nil || !plainfile.Named(f, r.dir(id)) {
		return nil, fmt.Errorf("lock the new container %s: somebody deleted it: %w", id, cmpErr(err, fs.ErrNotExist))
	}
	return f, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// newFile is replaceFile that leaves nothing when it is killed, where there is
// no file of that name yet and the file system can have one without a name.
func newFile(path string, data []byte, mode os.FileMode) error {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return replaceFile(path, data, mode)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err != nil {
		return err
	}
	if unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW) != nil {
		return replaceFile(path, data, mode)
	}
	return nil
}

// replaceFile replaces name in dir by a new file with data.
func replaceFile(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
