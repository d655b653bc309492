package review

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inMemory is a sandbox whose upper, made by hand, lies elsewhere, as on a tmpfs.
func inMemory(t *testing.T, lower, upper string) (s *Sandbox, scratch *os.File, root string) {
	t.Helper()
	host := filepath.Join(t.TempDir(), "host")
	check(t, os.Mkdir(host, 0o750)) //nolint:gosec // what the mode is, is looked at
	plant(t, host, lower)
	root = t.TempDir()
	s, err := BeginInMemory(root, []string{"sh"}, host, []string{host})
	check(t, err)
	t.Cleanup(s.Release)
	if _, err := os.Lstat(sandboxes(root)); !os.IsNotExist(err) {
		t.Errorf("something is on the disk: %v", err)
	}
	mem := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(mem, "o1/upper"), 0o700))
	check(t, unix.Chmod(filepath.Join(mem, "o1/upper"), s.UpperMode(0)))
	tick()
	plant(t, filepath.Join(mem, "o1/upper"), upper)
	scratch, err = os.OpenFile(mem, unix.O_PATH|unix.O_DIRECTORY, 0)
	check(t, err)
	t.Cleanup(func() { scratch.Close() })
	return s, scratch, root
}

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

// facts are what show does not have: times, further names, holes and the overlay's marks.
func facts(t *testing.T, dir string) (out []string) {
	t.Helper()
	inodes := map[uint64]string{}
	check(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		check(t, err)
		var st unix.Stat_t
		check(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("%s %o %x %d.%d", rel, st.Mode, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
		if rel == "." {
			line = fmt.Sprintf("%s %o", rel, st.Mode)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			if first, again := inodes[st.Ino]; again {
				line += " is " + first
			} else {
				inodes[st.Ino] = rel
			}
			line += fmt.Sprintf(" %d sparse %v", st.Size, st.Blocks*512 < st.Size)
		}
		for _, name := range []string{"user.overlay.opaque", "user.overlay.redirect", "user.x"} {
			buf := make([]byte, 64)
			if n, err := unix.Lgetxattr(path, name, buf); err == nil {
				line += fmt.Sprintf(" %s=%q", name, buf[:n])
			}
		}
		out = append(out, line)
		return nil
	}))
	return out
}

// What is in memory is told like what is on the disk. Carried there it is as it was, to the
// last name and mark, and reviewed like what was there all the time.
func TestCarry(t *testing.T) {
	const lower = "f a 644 old\nf gone 644 x\nf d/x 644 x\nf moved/y 644 y"
	const upper = "f a 600 new content\nw gone\no d 700\nf d/new 4755 #!\nl d/l ../a\np pipe\nf one 644 many\nd closed/in\nf closed/in/f 0 secret\nd empty 1777\nf attr 644 x\nx attr\nd r\nx r"
	more := func(dir string) {
		check(t, os.Link(dir+"/one", dir+"/closed/two"))
		check(t, os.Link(dir+"/one", dir+"/three"))
		check(t, os.WriteFile(dir+"/sparse", nil, 0o600))
		check(t, os.Truncate(dir+"/sparse", 1<<20))
		check(t, unix.Setxattr(dir+"/r", "user.overlay.redirect", []byte("moved"), 0))
		when := time.Unix(1e9, 123456789)
		check(t, os.Chtimes(dir+"/attr", when, when))
		for _, name := range []string{"/closed/in", "/closed"} {
			chmod(t, dir+name, "0")
		}
	}
	s, scratch, root := inMemory(t, lower, upper)
	mem := scratch.Name() + "/o1/upper"
	more(mem)
	before, err := s.ScanInMemory(t.Context(), scratch, []string{"o1/upper"})
	check(t, err)
	if _, err := os.Lstat(sandboxes(root)); !os.IsNotExist(err) {
		t.Errorf("something is on the disk: %v", err)
	}
	check(t, s.Carry(t.Context(), scratch, []string{"o1/upper"}, false))
	want, got := facts(t, mem), facts(t, s.UpperDir(0))
	if !slices.Equal(want, got) {
		t.Errorf("carried:\n%s\nwas:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want, got := show(t, mem), show(t, s.UpperDir(0)); !slices.Equal(want, got) {
		t.Errorf("carried:\n%s\nwas:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	other, _ := sandbox(t, lower, upper)
	more(other.UpperDir(0))
	review := lines(end(t, s))
	if want := lines(end(t, other)); !slices.Equal(want, review) {
		t.Errorf("the review is\n%s\nand of one on the disk\n%s", strings.Join(review, "\n"), strings.Join(want, "\n"))
	}
	if got := lines(before); !slices.Equal(got, review) || len(got) < 10 {
		t.Errorf("in memory it was\n%s\nand the review is\n%s", strings.Join(got, "\n"), strings.Join(review, "\n"))
	}
	s.Release()
	if all, err := List(root); err != nil || len(all) != 1 || all[0].ID != s.ID {
		t.Errorf("listed: %v, %v", all, err)
	}
}

// A store that takes no whiteouts gets an account of them, and the review is the same.
func TestCarryPoor(t *testing.T) {
	const lower = "f a 644 old\nf gone 644 x\nf also 644 x\nf d/x 644 x\nf d/sub/y 644 y\nf e/z 644 z"
	const upper = "f a 600 new\nw gone\no d 755\nf d/new 644 n\nd e\nw e/z\nf f 644 f"
	more := func(dir string) { check(t, os.Link(dir+"/gone", dir+"/also")) } // the kernel links them, too
	s, scratch, _ := inMemory(t, lower, upper)
	more(scratch.Name() + "/o1/upper")
	check(t, s.Carry(t.Context(), scratch, []string{"o1/upper"}, true))
	for _, line := range facts(t, s.UpperDir(0)) {
		if f := strings.Fields(line); f[1][0] == '2' || strings.Contains(line, "user.overlay") {
			t.Errorf("on the store: %s", line)
		}
	}
	other, _ := sandbox(t, lower, upper)
	more(other.UpperDir(0))
	if want, got := lines(end(t, other)), lines(end(t, s)); !slices.Equal(want, got) || len(got) < 7 {
		t.Errorf("the review is\n%s\nand of one on the disk\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A copy that fails leaves nothing, and is never taken for a whole one; neither is what
// a kill leaves.
func TestCarryFails(t *testing.T) {
	s, scratch, root := inMemory(t, "", "f a 644 x\nd d")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Carry(ctx, scratch, []string{"o1/upper"}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if names := left(t, root); names != "" {
		t.Errorf("left: %s", names)
	}
	s, scratch, root = inMemory(t, "", "f a 644 x")
	check(t, s.make())
	check(t, s.carryLayer(t.Context(), scratch, "o1/upper", 0, false))
	s.lock.Release() // as the kernel does for one that is killed
	if all, err := List(root); err != nil || len(all) != 0 {
		t.Errorf("listed: %v, %v", all, err)
	}
	long := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(s.Dir, long, long))
	check(t, Sweep(root))
	if names := left(t, root); names != "" {
		t.Errorf("left: %s", names)
	}
}

// Deeper than any review looks, nothing is copied, and no descriptor is left.
func TestCarryDeep(t *testing.T) {
	s, scratch, _ := inMemory(t, "", "")
	at, err := unix.Open(scratch.Name()+"/o1/upper", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	for range maxDepth + 50 {
		check(t, unix.Mkdirat(at, "d", 0o755))
		next, err := unix.Openat(at, "d", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		check(t, err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	check(t, s.Carry(t.Context(), scratch, []string{"o1/upper"}, false))
	all := end(t, s)
	if n := len(all); n == 0 || all[n-1].Refused == "" {
		t.Errorf("%d changes", len(all))
	}
}
