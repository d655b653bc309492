// Package review keeps what a sandbox has changed apart from the host's files,
// says what that is, and brings it over when it is asked to.
//
// A sandbox that may change something has a directory ROOT/sandboxes/ID:
//
//	record.json   what ran, and which host directories it saw through an overlay (Record)
//	lock          held (flock) by whoever runs the sandbox, applies or discards
//	N/upper       the changes to the host directory of overlay N, as the kernel's overlay left them
//	N/work        the overlay's own
//	index.json    what the host had in the changed places when the sandbox ended (Index)
//	apply.json    only while an apply has begun and not ended
package review

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/images"
	"coracle/internal/plainfile"
	"coracle/internal/randid"

	"golang.org/x/sys/unix"
)

// Version is that of record.json. A record of a newer one is refused.
const Version = 1

// Record says what ran in a sandbox and where its changes lie.
type Record struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"`
	Command  []string  `json:"command"`
	Cwd      string    `json:"cwd"`
	Created  time.Time `json:"created"` // what the host changes later is a conflict
	Overlays []Overlay `json:"overlays"`
}

// Overlay is a directory of the host's that the sandbox saw copy-on-write. Its upper
// was mounted with userxattr, and its files belong to the caller.
type Overlay struct {
	Path  string `json:"path"`  // absolute and clean
	Upper string `json:"upper"` // relative to the sandbox's directory
	Work  string `json:"work"`  // likewise
	// Inode is Path's own, so that another directory of that name is not taken for it.
	Inode uint64 `json:"inode"`

	mode uint32 // of Path: the upper's root is what the sandbox sees of the directory itself
}

// Sandbox is one that is there, and locked by us where it says so.
type Sandbox struct {
	Record
	Dir  string // ROOT/sandboxes/ID
	lock *images.Lock
}

// ErrRunning is for what cannot be done while the sandbox runs.
var ErrRunning = errors.New("it still runs")

// ErrNone is for an id that no sandbox has.
var ErrNone = errors.New("there is no such sandbox with changes")

func sandboxes(root string) string { return filepath.Join(root, "sandboxes") }

// Begin makes the directory of a sandbox in which the host directories dirs will be
// seen copy-on-write, and locks it. UpperDir and WorkDir then say what to mount.
func Begin(root string, command []string, cwd string, dirs []string) (*Sandbox, error) {
	s, err := planned(root, command, cwd, dirs)
	if err == nil {
		err = s.make()
	}
	if err == nil {
		err = s.writeRecord()
	}
	if err != nil {
		if s.lock != nil {
			os.RemoveAll(s.Dir)
			s.Release()
		}
		return nil, fmt.Errorf("make a place for the sandbox's changes: %w", err)
	}
	return s, nil
}

// upperMode are the bits that the root of an upper gets of the directory that it is
// laid over: with set-group-ID, what is made in it inherits the group.
const upperMode = 0o3777

// planned is one of which nothing is on the disk yet.
func planned(root string, command []string, cwd string, dirs []string) (*Sandbox, error) {
	s := &Sandbox{Record: Record{Version: Version, ID: randid.New(6), Command: command, Cwd: cwd, Created: time.Now()}}
	s.Dir = filepath.Join(sandboxes(root), s.ID)
	for i, dir := range dirs {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return s, &fs.PathError{Op: "stat", Path: dir, Err: err}
		}
		n := strconv.Itoa(i)
		s.Overlays = append(s.Overlays, Overlay{Path: filepath.Clean(dir), Upper: n + "/upper", Work: n + "/work", Inode: st.Ino, mode: st.Mode & upperMode})
	}
	return s, nil
}

// make makes its directory, locked.
func (s *Sandbox) make() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	l, err := images.TryLock(filepath.Join(s.Dir, "lock"))
	if err != nil || l == nil {
		return cmp.Or(err, ErrRunning)
	}
	s.lock = l
	for _, o := range s.Overlays {
		for _, sub := range []string{o.Upper, o.Work} {
			if err := os.MkdirAll(filepath.Join(s.Dir, sub), 0o700); err != nil {
				return err
			}
		}
		if err := unix.Chmod(filepath.Join(s.Dir, o.Upper), o.mode); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) writeRecord() error {
	data, err := json.Marshal(s.Record)
	if err != nil {
		return err
	}
	// Not synced: a sandbox that a power failure ends has changed nothing yet
	// that anybody was told of.
	return replaceFile(filepath.Join(s.Dir, "record.json"), data, false)
}

// UpperDir and WorkDir are the directories of overlay i, absolute where ROOT is.
func (s *Sandbox) UpperDir(i int) string { return filepath.Join(s.Dir, s.Overlays[i].Upper) }
func (s *Sandbox) WorkDir(i int) string  { return filepath.Join(s.Dir, s.Overlays[i].Work) }

// UpperMode is what the directory UpperDir is to be made with, where it is in memory.
func (s *Sandbox) UpperMode(i int) uint32 { return s.Overlays[i].mode }

// Release lets go of the lock, and leaves the changes where they are.
func (s *Sandbox) Release() {
	if s.lock != nil {
		s.lock.Release()
		s.lock = nil
	}
}

// Lock is for who changes the sandbox's layers or what they were made for.
func (s *Sandbox) Lock() error {
	l, err := images.TryLock(filepath.Join(s.Dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone // discarded meanwhile
	}
	if err != nil {
		return err
	}
	if l == nil {
		return ErrRunning
	}
	s.lock = l
	return nil
}

// Running says whether the sandbox runs, or somebody applies or discards it.
func (s *Sandbox) Running() bool {
	if s.lock != nil {
		return false
	}
	if err := s.Lock(); err != nil {
		return errors.Is(err, ErrRunning)
	}
	s.Release()
	return false
}

// List gives all sandboxes that have a directory, the oldest first. A directory
// whose record cannot be read is passed over.
func List(root string) ([]*Sandbox, error) {
	entries, err := os.ReadDir(sandboxes(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Sandbox
	for _, e := range entries {
		if s, err := load(filepath.Join(sandboxes(root), e.Name())); err == nil {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b *Sandbox) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Find gives the sandbox whose id begins so; the last one for "".
func Find(root, id string) (*Sandbox, error) {
	all, err := List(root)
	if err != nil {
		return nil, err
	}
	if id == "" {
		if len(all) == 0 {
			return nil, errors.New("no sandbox has left changes")
		}
		return all[len(all)-1], nil
	}
	var found []*Sandbox
	for _, s := range all {
		if strings.HasPrefix(s.ID, id) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		// One whose record is of a newer version, or damaged, is said to be so.
		if entry := filepath.Join(sandboxes(root), filepath.Base(id)); filepath.Base(id) == id {
			if _, err := load(entry); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		return nil, fmt.Errorf("%s: %w", id, ErrNone)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%s: %d sandboxes have ids that begin so", id, len(found))
}

// IsID says whether a word can be the start of an id; one that is, and is to be a path,
// is written ./ID.
func IsID(word string) bool {
	return len(word) >= 3 && len(word) <= 12 && strings.Trim(word, "0123456789abcdef") == ""
}

// Path is an absolute path as the sandbox's overlays have it: where it is in none of
// them, and its directory is a link, as it is without links.
func (s *Sandbox) Path(path string) string {
	for _, o := range s.Overlays {
		if within(path, o.Path) {
			return path
		}
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// load reads a record, and takes nothing from it that leads out of its directory.
func load(dir string) (*Sandbox, error) {
	path := filepath.Join(dir, "record.json")
	data, err := plainfile.Read(path)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{Dir: dir}
	if err := json.Unmarshal(data, &s.Record); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if s.Version != Version {
		return nil, fmt.Errorf("read %s: it is of version %d, this program knows %d", path, s.Version, Version)
	}
	if s.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("read %s: it is of sandbox %q", path, s.ID)
	}
	for _, o := range s.Overlays {
		if !filepath.IsAbs(o.Path) || filepath.Clean(o.Path) != o.Path || !filepath.IsLocal(o.Upper) || !filepath.IsLocal(o.Work) {
			return nil, fmt.Errorf("read %s: the overlay of %q has paths that cannot be", path, o.Path)
		}
	}
	return s, nil
}

// replaceFile writes a small file as old or new, never as something between.
func replaceFile(path string, data []byte, sync bool) error {
	flags := unix.O_TRUNC
	if sync {
		flags |= unix.O_SYNC
	}
	if err := plainfile.Write(path+".new", data, 0o600, flags); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil || !sync {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}

// End is called once nothing of the sandbox runs any more: it writes down what the host
// has in the changed places, and gives the changes. Without any, the sandbox's
// directory is gone afterwards. With some it stays locked, until Release.
func (s *Sandbox) End(ctx context.Context) ([]Change, error) {
	all, index, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, s.Discard()
	}
	// The overlay was mounted without fsync: what is kept is to outlive the machine.
	if err := s.sync(); err != nil {
		return nil, err
	}
	return all, s.writeIndex(index, false)
}

// sync has the file system of the changes written to the disk.
func (s *Sandbox) sync() error {
	d, err := plainfile.Open(s.Dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("write the sandbox's changes to the disk: %w", err)
	}
	return nil
}
