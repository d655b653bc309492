package review

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func lines(all []Change) []string {
	var out []string
	for _, c := range all {
		out = append(out, c.Line())
	}
	return out
}

func TestScan(t *testing.T) {
	for _, c := range []struct{ name, lower, upper, want string }{
		{"created", "f a 644 x", "f b 644 y\nf d/c 755 z", "+  b | +  d/ | +  d/c  (executable)"},
		{"content", "f a 644 old", "f a 644 new", "~  a"},
		{"size", "f a 644 old", "f a 644 longer", "~  a  (4 to 7 bytes)"},
		{"touched only", "f a 644 same\nd d 750\nl l a", "f a 644 same\nd d 750\nl l a", ""},
		{"mode", "f a 644 x\nd d 755", "f a 600 x\nd d 700", "~  a  (mode 0644 to 0600) | ~  d/  (mode 0755 to 0700)"},
		{"setuid", "f a 755 x", "f a 4755 x\nf b 2755 y", "~! a  (mode 0755 to 4755; whoever runs it acts as its owner or group) | +! b  (executable; whoever runs it acts as its owner or group)"},
		{"attributes", "f a 644 x\nd d 755", "f a 644 x\nx a\nd d 755\nx d", "~  a  (attributes) | ~  d/  (attributes)"},
		{"deleted", "f a 644 x\nf d/b 644 y\nf d/e/c 644 z", "w a\nw d", "-  a | -  d/  (with 2 files)"},
		{"deleted on both sides", "", "w a", ""},
		{"opaque", "f d/a 644 x\nf d/b 644 y\nf d/s/c 644 z", "o d 755\nf d/b 644 y\nf d/n 644 n", "-  d/a | +  d/n | -  d/s/  (with 1 file)"},
		{"a directory in an opaque one", "f d/s/x 644 x\nf d/s/t/y 644 y", "o d\nf d/s/n 644 n\nd d/s/t", "+  d/s/n | -  d/s/t/y | -  d/s/x"},
		{"an opaque one of another kind", "f d 644 x", "o d 755\nf d/n 644 n", "~  d/  (a directory in the place of a file) | +  d/n"},
		{"a file in a directory's place", "f d/a 644 x", "f d 644 y", "~  d  (a file in the place of a directory with 1 file)"},
		{"links", "f a 644 x\nl k a", "l in a\nl up ../../etc\nl root /etc/passwd\nl k b\nl sub/in ../a\nl sub/up ../..",
			"+  in  (link to a) | ~  k  (link to b) | +! root  (link to /etc/passwd; it leads out of the directory) | " +
				"+  sub/ | +  sub/in  (link to ../a) | +! sub/up  (link to ../..; it leads out of the directory) | +! up  (link to ../../etc; it leads out of the directory)"},
		{"a link in a directory's place", "f .git/config 644 x", "l .git elsewhere",
			"~! .git  (a link in the place of a directory with 1 file; read by git without being asked to)"},
		{"special", "", "p pipe", "+  pipe  (fifo; not brought over: a fifo is never brought over)"},
		{"hooks", "d .git/hooks", "f .git/hooks/post-checkout 755 evil\nf Makefile 644 all:",
			"+! .git/hooks/post-checkout  (executable; read by git without being asked to) | +  Makefile  (what make does)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := sandbox(t, c.lower, c.upper)
			for range 2 { // with and without the index
				all, err := s.Scan(t.Context())
				check(t, err)
				if got := strings.Join(lines(all), " | "); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				if len(all) > 0 {
					end(t, s)
				}
			}
		})
	}
}

func TestEndWithoutChanges(t *testing.T) {
	s, _ := sandbox(t, "f a 644 x", "f a 644 x")
	if all := end(t, s); len(all) != 0 {
		t.Errorf("%v", lines(all))
	}
	if _, err := os.Lstat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("its directory is left: %v", err)
	}
}

// What the host does before the sandbox begins is no conflict; during it or after it is.
func TestConflicts(t *testing.T) {
	const lower = "f a 644 x\nf d/b 644 y\nf o/c 644 z\nl k a\nd m 755"
	const upper = "f a 644 mine\nw d\no o 755\nl k b\nf new 644 n\nd m 700"
	for _, c := range []struct {
		name string
		host func(t *testing.T, dir string)
		want string // the paths that conflict
		ran  bool   // also found when it happens while the sandbox runs
	}{
		{"nothing", func(*testing.T, string) {}, "", true},
		{"content", func(t *testing.T, dir string) { plant(t, dir, "f a 644 theirs") }, "a", true},
		{"content, with the old time", func(t *testing.T, dir string) {
			st, err := os.Stat(filepath.Join(dir, "a"))
			check(t, err)
			plant(t, dir, "f a 644 y")
			check(t, os.Chtimes(filepath.Join(dir, "a"), st.ModTime(), st.ModTime()))
		}, "a", true},
		{"permissions", func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, "a"), "600") }, "a", true},
		{"the same as the sandbox", func(t *testing.T, dir string) { plant(t, dir, "f a 644 mine") }, "", true},
		{"in a deleted directory", func(t *testing.T, dir string) { plant(t, dir, "f d/b 644 theirs") }, "d", true},
		{"new in a deleted directory", func(t *testing.T, dir string) { plant(t, dir, "f d/deep/er 644 theirs") }, "d", true},
		{"new in an opaque directory", func(t *testing.T, dir string) { plant(t, dir, "f o/n 644 theirs") }, "o/n", true},
		{"new on both sides", func(t *testing.T, dir string) { plant(t, dir, "f new 644 theirs") }, "new", true},
		{"removed", func(t *testing.T, dir string) { check(t, os.Remove(filepath.Join(dir, "a"))) }, "a", false},
		{"a directory's permissions", func(t *testing.T, dir string) { chmod(t, filepath.Join(dir, "m"), "711") }, "m", false},
		{"a directory that is another", func(t *testing.T, dir string) {
			check(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "was")))
			check(t, os.Rename(filepath.Join(dir, "m"), filepath.Join(dir, "d")))
		}, "d m", false},
		{"a link for a directory", func(t *testing.T, dir string) {
			check(t, os.Rename(filepath.Join(dir, "m"), filepath.Join(dir, "was")))
			check(t, os.Symlink("/etc", filepath.Join(dir, "m")))
		}, "m", true},
	} {
		for _, ran := range []bool{false, true} {
			if ran && !c.ran {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				s, host := sandbox(t, lower, upper)
				if !ran {
					end(t, s)
					tick()
				}
				c.host(t, host)
				if ran {
					end(t, s)
				}
				all, err := s.Scan(t.Context())
				check(t, err)
				var got []string
				for _, ch := range all {
					if ch.Conflict != "" {
						got = append(got, ch.Path)
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("ran %v: conflicts %q, want %q\n%s", ran, got, c.want, strings.Join(lines(all), "\n"))
				}
			})
		}
	}
}

func TestAnotherDirectory(t *testing.T) {
	s, host := sandbox(t, "f a 644 x", "f a 644 y")
	check(t, os.Rename(host, host+".was"))
	check(t, os.Mkdir(host, 0o755))
	if _, err := s.Scan(t.Context()); err == nil || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("%v", err)
	}
	check(t, os.Remove(host))
	check(t, os.Symlink(host+".was", host))
	if _, err := s.Scan(t.Context()); err == nil {
		t.Error("a link was followed")
	}
}

func TestNamesOnATerminal(t *testing.T) {
	s, host := sandbox(t, "", "f a 644 x")
	evil := "\x1b]0;owned\a\x1b[2J\nfake\xff"
	check(t, os.WriteFile(filepath.Join(s.UpperDir(0), evil), nil, 0o644))
	check(t, os.Symlink("\x1b[31m", filepath.Join(s.UpperDir(0), "link")))
	all := end(t, s)
	var b bytes.Buffer
	Summary(&b, s, all)
	if strings.ContainsAny(b.String(), "\x1b\a") || strings.Contains(b.String(), "\xff") || !strings.Contains(b.String(), `\x1b]0;owned`) {
		t.Errorf("%q", b.String())
	}
	doc, err := json.Marshal(all)
	check(t, err)
	var back []struct{ PathBytes []byte }
	check(t, json.Unmarshal(doc, &back))
	if !slices.ContainsFunc(back, func(c struct{ PathBytes []byte }) bool { return string(c.PathBytes) == evil }) {
		t.Errorf("%s", doc)
	}
	// Its name is found again in the index, and by apply.
	_, err = s.Apply(t.Context(), ApplyOptions{})
	check(t, err)
	if _, err := os.Lstat(filepath.Join(host, evil)); err != nil {
		t.Error(err)
	}
}

func TestSummaryIsShortButForDeletions(t *testing.T) {
	var lower, upper strings.Builder
	for i := range 60 {
		n := string(rune('a'+i%26)) + string(rune('a'+i/26))
		lower.WriteString("f del-" + n + " 644 x\n")
		upper.WriteString("w del-" + n + "\nf new-" + n + " 644 x\n")
	}
	upper.WriteString("f zz/.git/hooks/x 755 x")
	s, _ := sandbox(t, lower.String(), upper.String())
	var b bytes.Buffer
	Summary(&b, s, end(t, s))
	if n := strings.Count(b.String(), "del-"); n != 60 {
		t.Errorf("%d deletions", n)
	}
	if n := strings.Count(b.String(), "new-"); n != shown || !strings.Contains(b.String(), "and 41 more created") && !strings.Contains(b.String(), "and 42 more created") {
		t.Errorf("%d created\n%s", n, b.String())
	}
	if !strings.Contains(b.String(), "hooks/x") {
		t.Error("the hook was cut")
	}
}

// A file whose content is elsewhere, by the overlay's own attributes, is not read.
func TestRedirected(t *testing.T) {
	s, _ := sandbox(t, "f a 644 x", "f a 644 y")
	check(t, unix.Setxattr(filepath.Join(s.UpperDir(0), "a"), "user.overlay.redirect", []byte("/etc/passwd"), 0))
	if all := end(t, s); len(all) != 1 || all[0].Refused == "" {
		t.Errorf("%v", lines(all))
	}
}

func TestTooDeep(t *testing.T) {
	s, host := sandbox(t, "", "")
	deep := s.UpperDir(0)
	for range maxDepth + 5 {
		deep += "/d"
		check(t, os.Mkdir(deep, 0o755))
	}
	all := end(t, s)
	last := all[len(all)-1]
	if last.Refused == "" || len(all) != maxDepth+1 {
		t.Errorf("%d changes, the last %s", len(all), last.Line())
	}
	got, err := s.Apply(t.Context(), ApplyOptions{})
	check(t, err)
	if len(got.Refused) != 1 || len(got.Done) != maxDepth {
		t.Errorf("%d done, %d refused", len(got.Done), len(got.Refused))
	}
	if _, err := os.Lstat(filepath.Join(host, strings.Repeat("d/", maxDepth))); err != nil {
		t.Error(err)
	}
}
