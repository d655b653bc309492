package review

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// randomTree makes up to n files below dir; with upper it has what an overlay's upper
// directory has, too. Names are few, so that both sides meet.
func randomTree(t testing.TB, r *rand.Rand, dir string, n int, upper bool) {
	t.Helper()
	for range n {
		path := dir
		for range r.IntN(3) {
			path = filepath.Join(path, string(rune('a'+r.IntN(3))))
			if st, err := os.Lstat(path); err == nil && !st.IsDir() {
				check(t, os.Remove(path))
			}
			if err := os.Mkdir(path, os.FileMode([]uint32{0o755, 0o700, 0o750}[r.IntN(3)])); err == nil && upper && r.IntN(4) == 0 {
				check(t, unix.Setxattr(path, "user.overlay.opaque", []byte("y"), 0))
			}
		}
		path = filepath.Join(path, string(rune('a'+r.IntN(4))))
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch k := r.IntN(7); {
		case k < 2 && upper:
			check(t, unix.Mknod(path, unix.S_IFCHR, 0))
		case k == 2:
			check(t, os.Symlink([]string{"a", "../b", "/etc/passwd", "../../../outside/precious"}[r.IntN(4)], path))
		case k == 3:
			check(t, os.Mkdir(path, 0o755))
		default:
			check(t, os.WriteFile(path, bytes.Repeat([]byte{byte('0' + r.IntN(3))}, r.IntN(3)), 0o600))
			check(t, os.Chmod(path, os.FileMode([]uint32{0o644, 0o600, 0o755}[r.IntN(3)])))
		}
	}
}

// merge makes the view that an overlay gives of the two directories, by the kernel's
// description of it, in a third.
func merge(t testing.TB, lower, upper, into string) {
	t.Helper()
	names := map[string]bool{}
	list := func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	list(upper)
	n, err := unix.Getxattr(upper, "user.overlay.opaque", make([]byte, 4))
	if opaque := err == nil && n > 0; opaque {
		lower = filepath.Join(into, "no-such-directory")
	}
	list(lower)
	for name := range names {
		up, low, to := filepath.Join(upper, name), filepath.Join(lower, name), filepath.Join(into, name)
		u, uerr := os.Lstat(up)
		l, lerr := os.Lstat(low)
		switch {
		case uerr == nil && u.Mode()&os.ModeCharDevice != 0:
		case uerr == nil && u.IsDir():
			check(t, os.Mkdir(to, 0o700))
			if lerr != nil || !l.IsDir() {
				low = filepath.Join(into, name, "no-such-directory")
			}
			merge(t, low, up, to)
			check(t, os.Chmod(to, u.Mode().Perm()))
		case uerr == nil:
			copyOne(t, up, to)
		case lerr == nil && l.IsDir():
			check(t, os.Mkdir(to, 0o700))
			merge(t, low, filepath.Join(into, name, "no-such-directory"), to)
			check(t, os.Chmod(to, l.Mode().Perm()))
		case lerr == nil:
			copyOne(t, low, to)
		}
	}
}

func copyOne(t testing.TB, from, to string) {
	t.Helper()
	st, err := os.Lstat(from)
	check(t, err)
	if st.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		check(t, err)
		check(t, os.Symlink(target, to))
		return
	}
	data, err := os.ReadFile(from)
	check(t, err)
	check(t, os.WriteFile(to, data, 0o600))
	check(t, os.Chmod(to, st.Mode().Perm()))
}

// randomSandbox has a host directory beside one that nothing may happen to.
func randomSandbox(t testing.TB, seed uint64, files int) (s *Sandbox, host, outside string, want []string) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	top := t.TempDir()
	host, outside = filepath.Join(top, "x", "host"), filepath.Join(top, "outside")
	check(t, os.MkdirAll(host, 0o755))
	plant(t, outside, "f precious 644 x\nf d/precious 644 y")
	randomTree(t, r, host, files, false)
	s, err := Begin(filepath.Join(top, "root"), []string{"sh"}, host, []string{host})
	check(t, err)
	t.Cleanup(s.Release)
	randomTree(t, r, s.UpperDir(0), files, true)
	view := filepath.Join(top, "view")
	check(t, os.Mkdir(view, 0o755))
	merge(t, host, s.UpperDir(0), view)
	return s, host, outside, show(t, view)
}

// FuzzApply: whatever an upper has, applying it makes the host's directory what the
// sandbox saw, and nothing beside it changes.
func FuzzApply(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, files uint8) {
		s, host, outside, want := randomSandbox(t, seed, int(files%40))
		before := show(t, outside)
		if all := end(t, s); len(all) > 0 {
			apply(t, s, ApplyOptions{})
		}
		if got := show(t, host); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got := show(t, outside); !slices.Equal(got, before) {
			t.Errorf("outside: %q", got)
		}
		if left, err := os.ReadDir(filepath.Dir(s.Dir)); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

const applyRoot = "REVIEW_APPLY_ROOT" // makes this program one that applies, once

// TestApplyingChild is the program that the next test kills.
func TestApplyingChild(t *testing.T) {
	root := os.Getenv(applyRoot)
	if root == "" {
		return
	}
	s, err := Find(root, "")
	check(t, err)
	check(t, s.Lock())
	apply(t, s, ApplyOptions{Each: func(Change) {
		_, err := os.Stdout.WriteString(".")
		check(t, err)
	}})
}

// An apply that is killed at any moment goes on at the next, and leaves nothing of its own.
func TestApplyIsKilled(t *testing.T) {
	killed := 0
	r := rand.New(rand.NewPCG(3, 4))
	for seed := range uint64(6) {
		s, host, outside, want := randomSandbox(t, seed, 150)
		before := show(t, outside)
		if len(end(t, s)) == 0 {
			continue
		}
		s.Release()
		root := filepath.Dir(filepath.Dir(s.Dir))
		for range 4 {
			killApply(t, root, r.IntN(25))
			if s.Interrupted() {
				killed++
			}
		}
		if s, err := Find(root, ""); err == nil {
			check(t, s.Lock())
			apply(t, s, ApplyOptions{})
		}
		if got := show(t, host); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if got := show(t, outside); !slices.Equal(got, before) {
			t.Errorf("outside: %q", got)
		}
		check(t, Sweep(root))
	}
	if killed == 0 {
		t.Error("none was killed between its beginning and its end")
	}
	t.Logf("%d were killed between their beginning and their end", killed)
}

// killApply starts an apply and kills it once it has brought over so many changes.
func killApply(t *testing.T, root string, after int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestApplyingChild$")
	cmd.Env = append(os.Environ(), applyRoot+"="+root)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	_, _ = io.ReadFull(out, make([]byte, after+1)) // or its end
	_ = cmd.Process.Kill()                         // one that has ended cannot be
	_ = cmd.Wait()
}

// A hostile process swaps directories for links while apply works in them: files end up
// in the directory or nowhere, never where the links lead.
func TestApplyAgainstSwaps(t *testing.T) {
	outside := t.TempDir()
	plant(t, outside, "f f0 644 precious\nd sub\nf sub/f0 644 precious")
	before := show(t, outside)
	var lower, upper strings.Builder
	for i := range 150 {
		name := string(rune('a'+i/26)) + string(rune('a'+i%26))
		lower.WriteString("f d/sub/" + name + " 644 old\nf d/gone/" + name + " 644 x\n")
		upper.WriteString("f d/sub/" + name + " 644 new\nf d/sub/n-" + name + " 644 n\nw d/gone/" + name + "\n")
	}
	lower.WriteString("f d/sub/f0 644 old\n")
	upper.WriteString("w d/sub/f0\n")
	s, host := sandbox(t, lower.String(), upper.String())
	all := end(t, s)
	stop, stopped := make(chan bool), make(chan int)
	go swap(filepath.Join(host, "d", "sub"), outside, stop, stopped)
	j, err := s.begin(all, false)
	check(t, err)
	failed := 0
	for round := 0; round < 20 && failed == 0; round++ { // until it was met at least once
		a := &applier{s: s, temp: j.Temp, since: s.Created.UnixNano(), roots: make([]pair, 1)}
		for _, ch := range all {
			if a.apply(t.Context(), ch) != nil {
				failed++
			}
		}
		a.close()
	}
	close(stop)
	swaps := <-stopped
	if got := show(t, outside); !slices.Equal(got, before) {
		t.Errorf("outside: %q", got)
	}
	if swaps == 0 {
		t.Error("nothing was swapped")
	}
	t.Logf("%d swaps, %d changes refused", swaps, failed)
}

// swap puts a link to outside in a directory's place, and the directory back, until it is told to stop.
func swap(dir, outside string, stop chan bool, stopped chan int) {
	n := 0
	link := dir + ".link"
	_ = os.Symlink(outside, link)
	for {
		select {
		case <-stop:
			stopped <- n
			return
		default:
		}
		if unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
			n++
		}
	}
}
