package review

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/internal/plainfile"
	"coracle/internal/randid"

	"golang.org/x/sys/unix"
)

// BeginDropped makes the place for changes that nobody is to see: as little as an
// overlay takes, ROOT/sandboxes/ID.N.upper and ID.N.work, without a record. The
// first one is locked, so that SweepDropped knows what is left of a launcher that was
// killed. Discard and, before it, Scan are all that can be done with it.
func BeginDropped(root string, command []string, cwd string, dirs []string) (*Sandbox, error) {
	for range 3 {
		s := &Sandbox{Record: Record{Version: Version, ID: newID(), Command: command, Cwd: cwd, Created: time.Now()}, Dir: sandboxes(root)}
		err := s.makeDropped(dirs)
		if err == nil {
			return s, nil
		}
		_ = s.drop()
		if !errors.Is(err, errSwept) {
			return nil, fmt.Errorf("make a place for the sandbox's changes: %w", err)
		}
	}
	return nil, fmt.Errorf("make a place for the sandbox's changes: %w", errSwept)
}

// errSwept is for a directory that was taken for a dead launcher's before it was locked.
var errSwept = errors.New("another sandbox removes it")

func newID() string { return randid.New(6) }

func (s *Sandbox) makeDropped(dirs []string) error {
	for i, dir := range dirs {
		n := s.ID + "." + strconv.Itoa(i)
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return &os.PathError{Op: "stat", Path: dir, Err: err}
		}
		o := Overlay{Path: filepath.Clean(dir), Upper: n + ".upper", Work: n + ".work", Inode: st.Ino}
		s.Overlays = append(s.Overlays, o)
		for _, sub := range []string{o.Upper, o.Work} {
			if err := makeDir(filepath.Join(s.Dir, sub)); err != nil {
				return err
			}
		}
		// What the sandbox sees of the directory itself; the umask has its say in mkdir.
		if err := unix.Chmod(filepath.Join(s.Dir, o.Upper), st.Mode&upperMode); err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		var err error
		if s.held, err = lockDropped(filepath.Join(s.Dir, o.Upper)); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes one directory, and what it is in, where that is missing.
func makeDir(name string) error {
	err := unix.Mkdir(name, 0o700)
	if errors.Is(err, unix.ENOENT) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		err = unix.Mkdir(name, 0o700)
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}

// lockDropped is for a directory that still has its name.
func lockDropped(name string) (*os.File, error) {
	f, err := plainfile.Lock(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errSwept
	}
	if err != nil {
		return nil, err
	}
	if !plainfile.Named(f, name) {
		f.Close()
		return nil, errSwept
	}
	return f, nil
}

// Mounted is called once the overlays are mounted: the mark that the kernel has made so that
// none is mounted a second time after a crash goes beside what the command does. Nobody
// mounts these again.
func (s *Sandbox) Mounted() {
	if s.held == nil || s.tidied != nil {
		return
	}
	s.tidied = make(chan struct{})
	go func() {
		defer close(s.tidied)
		for _, o := range s.Overlays {
			dropMark(filepath.Join(s.Dir, o.Work))
		}
	}()
}

// drop removes it: the first upper, which is locked, last.
func (s *Sandbox) drop() error {
	if s.tidied != nil {
		<-s.tidied
	}
	var first error
	for _, o := range slices.Backward(s.Overlays) {
		work := filepath.Join(s.Dir, o.Work)
		if s.tidied == nil {
			dropMark(work)
		}
		_ = unix.Rmdir(work + "/work")
		for _, name := range []string{o.Work, o.Upper} {
			if err := unix.Rmdir(filepath.Join(s.Dir, name)); err == nil || errors.Is(err, unix.ENOENT) {
				continue
			}
			first = cmp.Or(first, removeIn(s.Dir, name))
		}
	}
	if s.held != nil {
		s.held.Close()
		s.held = nil
	}
	return first
}

// dropMark removes the mark of an overlay (volatile) from its work directory. What goes
// another way is left to removeIn.
func dropMark(dir string) {
	work := dir + "/work"
	for _, sub := range []string{"", "/incompat", "/incompat/volatile"} {
		_ = unix.Chmod(work+sub, 0o700) // the kernel closes each of them to all
	}
	_ = unix.Unlink(work + "/incompat/volatile/dirty")
	for _, sub := range []string{"/incompat/volatile", "/incompat"} {
		_ = unix.Rmdir(work + sub)
	}
}

// SweepDropped removes what launchers that were killed have left of the kind.
func SweepDropped(root string) {
	dir := sandboxes(root)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".0.upper")
		if !ok {
			continue
		}
		held, err := lockDropped(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		s := &Sandbox{Record: Record{ID: id}, Dir: dir, held: held}
		for i := range entries {
			n := id + "." + strconv.Itoa(i)
			if _, err := os.Lstat(filepath.Join(dir, n+".upper")); err != nil {
				break
			}
			s.Overlays = append(s.Overlays, Overlay{Upper: n + ".upper", Work: n + ".work"})
		}
		_ = s.drop() // the next one tries again
	}
}
