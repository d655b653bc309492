// Package engine makes a container of an image, a root file system, ids and a
// configuration, runs it, and keeps the books. It composes the packages that
// each do one of these; internal/cli is its only caller.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"coracle/images"
	"coracle/netns"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Engine knows where everything lies. Opening one touches nothing; each part
// is opened when it is first needed.
type Engine struct {
	root, runRoot string
	driver        string
	manager       string // of cgroups
	limits        images.LayerLimits
	warn          func(msg, hint string)

	store  func() (*images.Store, error)
	caller func() (userns.Identity, error)

	hostNetworks func() []netns.HostNetwork
}

// Open resolves the directories of c.
func Open(c Config) (*Engine, error) {
	e := &Engine{root: c.Root, runRoot: c.RunRoot, driver: c.StorageDriver, manager: c.CgroupManager, limits: c.LayerLimits, warn: c.Warn, hostNetworks: netns.HostNetworks}
	if e.warn == nil {
		e.warn = func(string, string) {}
	}
	if e.root == "" {
		dir, err := dataHome()
		if err != nil {
			return nil, err
		}
		e.root = filepath.Join(dir, "coracle")
	}
	if e.runRoot == "" {
		e.runRoot = runtimeDir()
	}
	for _, p := range []*string{&e.root, &e.runRoot} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, fmt.Errorf("find the store: %w", err)
		}
		*p = abs
	}
	e.store = sync.OnceValues(func() (*images.Store, error) {
		return images.Open(e.root, images.Options{InUse: e.imagesInUse, Additional: c.AdditionalStores, Limits: c.LayerLimits})
	})
	e.caller = sync.OnceValues(func() (userns.Identity, error) {
		return userns.Caller(context.Background())
	})
	return e, nil
}

// Root is the store's directory, RunRoot that of what dies with the boot.
func (e *Engine) Root() string    { return e.root }
func (e *Engine) RunRoot() string { return e.runRoot }

func dataHome() (string, error) {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return d, nil
	}
	if h := os.Getenv("HOME"); filepath.IsAbs(h) {
		return filepath.Join(h, ".local/share"), nil
	}
	id, err := userns.Caller(context.Background())
	if err != nil || id.Home == "" {
		return "", &Error{Op: "find the store", Err: errors.New("neither XDG_DATA_HOME nor HOME is set, and you have no home directory"), Help: "name a directory with --root DIR"}
	}
	return filepath.Join(id.Home, ".local/share"), nil
}

// runtimeDir is $XDG_RUNTIME_DIR/coracle, or a directory of the caller's own
// under /tmp where that is not set, is missing or is somebody else's (after su;
// doctor says so). There another user may have taken the
// name (inside a user namespace two hosts' users have one uid): then the next.
func runtimeDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) && ours(d) {
		return filepath.Join(d, "coracle")
	}
	base := filepath.Join("/tmp", "coracle-"+strconv.Itoa(os.Getuid()))
	for n := range 10 {
		dir := base
		if n > 0 {
			dir += "-" + strconv.Itoa(n)
		}
		if _, err := os.Lstat(dir); err != nil || ours(dir) {
			return dir
		}
	}
	return base
}

func ours(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && int(st.Uid) == os.Geteuid()
}

// ready makes the directories that a container needs, or says why not.
func (e *Engine) ready() error {
	if _, err := e.store(); err != nil { // makes it, or refuses a directory that is something else
		return err
	}
	return e.makeRunRoot()
}

// mayChange says why containers of the store are to be left alone: a newer
// version made it.
func (e *Engine) mayChange() error {
	if _, err := os.Lstat(filepath.Join(e.root, "coracle.json")); err != nil {
		return nil // what follows finds out what is wrong, if anything is
	}
	_, err := e.store()
	return err
}

// makeRunRoot makes the runtime directory. In /tmp anyone could have made it
// first: it must be ours and closed to others.
func (e *Engine) makeRunRoot() error {
	if err := os.MkdirAll(filepath.Join(e.runRoot, "containers"), 0o700); err != nil {
		return &Error{Op: "make the runtime directory " + e.runRoot, Err: err, Help: "name a directory of yours with --runroot DIR, or set XDG_RUNTIME_DIR"}
	}
	var st unix.Stat_t
	if err := unix.Lstat(e.runRoot, &st); err != nil {
		return &Error{Op: "use the runtime directory " + e.runRoot, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return &Error{Op: "use the runtime directory " + e.runRoot, Err: errors.New("it is not a directory that only you can write to"), Help: "name a directory of yours with --runroot DIR, or set XDG_RUNTIME_DIR"}
	}
	return nil
}

// Error is something that went wrong in words for the user.
type Error struct {
	Op   string // what was being done, to what
	Err  error  // why it failed
	Help string // what to type; "" where nothing helps
	Code int    // exit code; 0 for 125
}

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
func (e *Error) Hint() string  { return e.Help }

// ExitCode is what the command returns.
func (e *Error) ExitCode() int {
	if e.Code == 0 {
		return 125
	}
	return e.Code
}

// errNotFound is a name that no container has.
type errNotFound string

func (e errNotFound) Error() string     { return fmt.Sprintf("no container is called %q", string(e)) }
func (e errNotFound) Is(t error) bool   { return t == fs.ErrNotExist }
func (e errNotFound) Hint() string      { return "see coracle ps -a" }
func (e errNotFound) Container() string { return string(e) }
