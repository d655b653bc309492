package review

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plant makes files below dir. Each line is a kind and a name, then words:
//
//	f NAME MODE CONTENT   a file        l NAME TARGET   a link       p NAME   a fifo
//	d NAME [MODE]         a directory   w NAME          a whiteout   x NAME   an attribute user.x on it
//	o NAME                an opaque directory               h NAME OF     another name of a file
func plant(t testing.TB, dir, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		path := filepath.Join(dir, w[1])
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch w[0] {
		case "f":
			check(t, os.WriteFile(path, []byte(strings.Join(w[3:], " ")+"\n"), 0o600))
			chmod(t, path, w[2])
		case "d", "o":
			check(t, os.MkdirAll(path, 0o755))
			if w[0] == "o" {
				check(t, unix.Setxattr(path, "user.overlay.opaque", []byte("y"), 0))
			}
			if len(w) > 2 {
				chmod(t, path, w[2])
			}
		case "l":
			check(t, os.Symlink(w[2], path))
		case "h":
			check(t, os.Link(filepath.Join(dir, w[2]), path))
		case "p":
			check(t, unix.Mkfifo(path, 0o644))
		case "w":
			check(t, unix.Mknod(path, unix.S_IFCHR, 0))
		case "x":
			check(t, unix.Setxattr(path, "user.x", []byte("value"), 0))
		default:
			t.Fatal(line)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func chmod(t testing.TB, path, mode string) {
	t.Helper()
	m, err := strconv.ParseUint(mode, 8, 32)
	check(t, err)
	check(t, unix.Chmod(path, uint32(m)))
}

// show lists all that is below dir, a line each.
func show(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		check(t, err)
		var st unix.Stat_t
		check(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("%s %04o %s", typeOf(st.Mode), st.Mode&0o7777, rel)
		switch typeOf(st.Mode) {
		case File:
			data, err := os.ReadFile(path)
			check(t, err)
			line += fmt.Sprintf(" %q", data)
		case Link:
			target, err := os.Readlink(path)
			check(t, err)
			line += " -> " + target
		}
		if n, err := unix.Lgetxattr(path, "user.x", make([]byte, 64)); err == nil {
			line += fmt.Sprintf(" x:%d", n)
		}
		out = append(out, line)
		return nil
	}))
	slices.Sort(out)
	return out
}

// sandbox is one that has ended, with an upper that is made by hand: the host has the
// lower files before it begins.
func sandbox(t testing.TB, lower, upper string) (s *Sandbox, host string) {
	t.Helper()
	host = filepath.Join(t.TempDir(), "host")
	check(t, os.Mkdir(host, 0o755))
	plant(t, host, lower)
	s, err := Begin(t.TempDir(), []string{"sh"}, host, []string{host})
	check(t, err)
	t.Cleanup(s.Release)
	tick()
	plant(t, s.UpperDir(0), upper)
	return s, host
}

// tick waits until the clock of the file system has gone on, which counts in jiffies.
func tick() { time.Sleep(12 * time.Millisecond) }

// end is what the sandbox calls at its end.
func end(t testing.TB, s *Sandbox) []Change {
	t.Helper()
	all, err := s.End(t.Context())
	check(t, err)
	return all
}
