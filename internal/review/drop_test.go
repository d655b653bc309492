package review

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

func left(t *testing.T, root string) string {
	t.Helper()
	entries, err := os.ReadDir(sandboxes(root))
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// Changes that nobody is to see can be counted, and leave nothing; what the kernel
// leaves of its own, closed to all, is no hindrance.
func TestDropped(t *testing.T) {
	root, host, other := filepath.Join(t.TempDir(), "store"), t.TempDir(), t.TempDir()
	chmod(t, host, "750")
	s, err := BeginDropped(root, []string{"true"}, host, []string{host, other})
	check(t, err)
	st, err := os.Stat(s.UpperDir(0))
	check(t, err)
	if st.Mode().Perm() != 0o750 {
		t.Errorf("the upper has mode %v", st.Mode())
	}
	plant(t, s.UpperDir(0), "f new 644 x\nd sub 0")
	plant(t, s.WorkDir(0), "f work/incompat/volatile/dirty 600")
	plant(t, s.WorkDir(1), "f work/#3 600 x")
	chmod(t, s.WorkDir(0)+"/work", "0")
	s.Mounted()
	<-s.tidied
	if _, err := os.Lstat(s.WorkDir(0) + "/work/incompat"); !os.IsNotExist(err) {
		t.Errorf("the mark is still there: %v", err)
	}
	all, err := s.Scan(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	SweepDropped(root) // it runs
	if _, err := os.Stat(s.UpperDir(1)); err != nil {
		t.Error(err)
	}
	if all, err := List(root); err != nil || len(all) > 0 {
		t.Errorf("listed: %v, %v", all, err)
	}
	check(t, s.Discard())
	if got := left(t, root); got != "" {
		t.Errorf("%s is left", got)
	}
}

// The few calls that most sandboxes end with suffice for what the kernel makes, who is
// not root included: each of its directories is closed to all.
func TestDropMark(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Chmod(filepath.Dir(dir), 0o755)) //nolint:gosec // of the test's own, for nobody to pass
	plant(t, dir, "f work/incompat/volatile/dirty 0")
	names := []string{"/work/incompat/volatile/dirty", "/work/incompat/volatile", "/work/incompat", "/work", ""}
	for _, name := range names {
		if name != "" {
			chmod(t, dir+name, "0")
		}
		if os.Getuid() == 0 {
			check(t, os.Lchown(dir+name, nobody, nobody))
		}
	}
	done := make(chan struct{})
	go func() { // on a thread of its own, which ends with it
		defer close(done)
		runtime.LockOSThread()
		if os.Getuid() == 0 {
			_ = unix.Setfsuid(nobody) // takes the right to pass permissions, too
		}
		dropMark(dir)
	}()
	<-done
	if err := unix.Rmdir(dir + "/work"); err != nil {
		t.Errorf("something is left: %v", err)
	}
}

// What a launcher leaves that was killed goes with the next sandbox, however far it came.
func TestSweepDropped(t *testing.T) {
	root := t.TempDir()
	dead, err := BeginDropped(root, nil, "/", []string{t.TempDir(), t.TempDir()})
	check(t, err)
	plant(t, dead.UpperDir(0), "f new 644 x")
	dead.held.Close()
	half, err := BeginDropped(root, nil, "/", []string{t.TempDir()})
	check(t, err)
	half.held.Close()
	check(t, os.Remove(half.WorkDir(0)))
	alive, err := BeginDropped(root, nil, "/", []string{t.TempDir()})
	check(t, err)
	check(t, Sweep(root))
	if got, want := left(t, root), alive.ID+".0.upper "+alive.ID+".0.work"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}

	// One that another sweeps before it is locked is told apart from one that is there.
	if _, err := lockDropped(alive.UpperDir(0)); !errors.Is(err, errSwept) {
		t.Errorf("locked twice: %v", err)
	}
	if _, err := lockDropped(filepath.Join(alive.Dir, "none")); !errors.Is(err, errSwept) {
		t.Errorf("locked what is not there: %v", err)
	}
	if err := unix.Rmdir(alive.WorkDir(0)); err != nil {
		t.Error(err)
	}
	check(t, alive.Discard())
}
