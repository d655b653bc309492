package review

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func apply(t testing.TB, s *Sandbox, o ApplyOptions) Applied {
	t.Helper()
	got, err := s.Apply(t.Context(), o)
	check(t, err)
	return got
}

func TestApply(t *testing.T) {
	for _, c := range []struct{ name, lower, upper, want string }{
		{"files", "f a 644 old\nf b 644 gone\nf c 644 mode", "f a 600 new\nw b\nf c 751 mode\nf d/e 644 deep\nl k ../x\nx a",
			`directory 0755 . | directory 0755 d | file 0600 a "new\n" x:5 | file 0644 d/e "deep\n" | file 0751 c "mode\n" | link 0777 k -> ../x`},
		{"directories", "f gone/x/y 644 y\nd mode 755\nf opaque/a 644 a\nf opaque/b/c 644 c", "w gone\nd mode 700\nx mode\no opaque 750\nf opaque/n 644 n\nd new 1777",
			`directory 0700 mode x:5 | directory 0750 opaque | directory 0755 . | directory 1777 new | file 0644 opaque/n "n\n"`},
		{"other types", "f dir/x 644 x\nf file 644 f\nl link file\nf d2/y 644 y", "f dir 644 now\nf file/in 644 in\nd link\nl d2 file",
			`directory 0755 . | directory 0755 file | directory 0755 link | file 0644 dir "now\n" | file 0644 file/in "in\n" | link 0777 d2 -> file`},
		{"what may not be", "f s 755 x\nf kept 4755 x", "f s 4755 evil\nf n 6755 n\nf kept 4711 x\np pipe",
			`directory 0755 . | file 0755 n "n\n" | file 0755 s "evil\n" | file 4711 kept "x\n"`},
		{"without permissions", "d d 755", "f d/a 000 x\nd d/e 755\nf d/e/f 644 y\nd d 000",
			`directory 0000 d | directory 0755 . | directory 0755 d/e | file 0000 d/a "x\n" | file 0644 d/e/f "y\n"`},
		{"a directory that may not be written", "d d 555", "f d/a 644 x\nd d 555",
			`directory 0555 d | directory 0755 . | file 0644 d/a "x\n"`},
		{"an empty upper file", "", "f e 644", `directory 0755 . | file 0644 e "\n"`},
		{"links: all with another mode", "f a 644 x\nh b a\nh c a", "f a 600 x\nf b 600 x\nf c 640 x", `directory 0755 . | file 0600 a "x\n" | file 0600 b "x\n" | file 0640 c "x\n"`},
		{"links: one with another mode", "f a 644 x\nh b a", "f a 600 x", `directory 0755 . | file 0600 a "x\n" | file 0644 b "x\n"`},
		{"links: a mode and a content", "f a 644 x\nh b a", "f a 600 x\nf b 644 y", `directory 0755 . | file 0600 a "x\n" | file 0644 b "y\n"`},
		{"links: directories that go", "f d/x 644 x\nf e 644 e\nh f/x d/x\nh g/y d/x", "w d\nw f\nw g", `directory 0755 . | file 0644 e "e\n"`},
		{"links: in the place of one", "f d/x 644 x\nh f/x d/x", "w d\nf f 644 now", `directory 0755 . | file 0644 f "now\n"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, host := sandbox(t, c.lower, c.upper)
			end(t, s)
			apply(t, s, ApplyOptions{})
			if got := strings.Join(show(t, host), " | "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if _, err := os.Lstat(s.Dir); !os.IsNotExist(err) {
				t.Errorf("the layer is left: %v", err)
			}
		})
	}
}

func TestApplyKeepsSetID(t *testing.T) {
	s, host := sandbox(t, "f a 755 x", "f a 4755 y\nf b 2755 z")
	var notes []string
	s2, host2 := sandbox(t, "", "f a 4755 y")
	apply(t, s, ApplyOptions{KeepSetID: true, Note: func(n string) { notes = append(notes, n) }})
	if got := show(t, host); !slices.Contains(got, `file 4755 a "y\n"`) || !slices.Contains(got, `file 2755 b "z\n"`) || len(notes) > 0 {
		t.Errorf("%q, %q", got, notes)
	}
	apply(t, s2, ApplyOptions{Note: func(n string) { notes = append(notes, n) }})
	if got := show(t, host2); !slices.Contains(got, `file 0755 a "y\n"`) || len(notes) != 1 || !strings.Contains(notes[0], "--keep-setid") {
		t.Errorf("%q, %q", got, notes)
	}
}

func TestApplyRefusesConflicts(t *testing.T) {
	s, host := sandbox(t, "f a 644 x\nf b 644 x\nf d/c 644 c", "f a 644 mine\nf b 644 mine\nw d")
	end(t, s)
	tick()
	plant(t, host, "f a 644 theirs\nf d/new 644 theirs")
	before := show(t, host)
	_, err := s.Apply(t.Context(), ApplyOptions{})
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || len(conflict.Changes) != 2 || !slices.Equal(show(t, host), before) {
		t.Fatalf("%v; %q", err, show(t, host))
	}
	// Without them it goes on.
	got := apply(t, s, ApplyOptions{Paths: []string{filepath.Join(host, "b")}})
	if len(got.Done) != 1 || got.Left != 2 {
		t.Errorf("%d done, %d left", len(got.Done), got.Left)
	}
	apply(t, s, ApplyOptions{Force: true})
	if got := strings.Join(show(t, host), " | "); got != `directory 0755 . | file 0644 a "mine\n" | file 0644 b "mine\n"` {
		t.Error(got)
	}
}

// What was applied is no change any more, whatever the host does with it later.
func TestApplySome(t *testing.T) {
	s, host := sandbox(t, "f a 644 x\nf gone 644 x\nf o/p 644 p", "f a 644 y\nw gone\nf new/deep/b 644 b\nf new/c 644 c\no o\nf o/q 644 q")
	end(t, s)
	if _, err := s.Apply(t.Context(), ApplyOptions{Paths: []string{host + "/nothing"}}); err == nil {
		t.Error("a path without a change was taken")
	}
	got := apply(t, s, ApplyOptions{Paths: []string{host + "/new/deep/b", host + "/gone", host + "/o/q"}})
	if len(got.Done) != 5 || got.Left != 3 { // new, new/deep, new/deep/b, gone, o/q; a, new/c, o/p
		t.Fatalf("%v, %d left", lines(got.Done), got.Left)
	}
	tick()
	plant(t, host, "f gone 644 anew")
	check(t, os.Remove(host+"/o/q"))
	all, err := s.Scan(t.Context())
	check(t, err)
	if got := strings.Join(lines(all), " | "); got != "~  a | +  new/c | -  o/p" {
		t.Errorf("left: %s", got)
	}
	apply(t, s, ApplyOptions{})
	want := `directory 0755 . | directory 0755 new | directory 0755 new/deep | directory 0755 o | file 0644 a "y\n" | file 0644 gone "anew\n" | file 0644 new/c "c\n" | file 0644 new/deep/b "b\n"`
	if got := strings.Join(show(t, host), " | "); got != want {
		t.Error(got)
	}
}

func TestApplyPick(t *testing.T) {
	s, host := sandbox(t, "", "f a 644 a\nf b/c 644 c\nf b/d 644 d\nd e\nf f 644 f")
	end(t, s)
	var asked []string
	got := apply(t, s, ApplyOptions{Pick: func(c Change) (bool, bool, error) {
		asked = append(asked, c.Path)
		return c.Path == "b/d" || c.Path == "e", c.Path == "e", nil
	}})
	if strings.Join(asked, " ") != "a b/c b/d e" || len(got.Done) != 3 || got.Left != 3 {
		t.Errorf("asked %q, %v, %d left", asked, lines(got.Done), got.Left)
	}
	if got := strings.Join(show(t, host), " | "); got != `directory 0755 . | directory 0755 b | directory 0755 e | file 0644 b/d "d\n"` {
		t.Error(got)
	}
}

// No link is followed: not one that the host has in a parent's place, nor one in the
// file's own.
func TestApplyFollowsNoLink(t *testing.T) {
	outside := t.TempDir()
	plant(t, outside, "f precious 644 x")
	before := show(t, outside)
	s, host := sandbox(t, "f d/precious 644 y\nf e 644 e", "f d/precious 600 evil\nf d/new 644 n\nw e")
	check(t, os.RemoveAll(filepath.Join(host, "d")))
	check(t, os.Symlink(outside, filepath.Join(host, "d")))
	check(t, os.Remove(filepath.Join(host, "e")))
	check(t, os.Symlink(filepath.Join(outside, "precious"), filepath.Join(host, "e")))
	if _, err := s.Apply(t.Context(), ApplyOptions{}); err == nil {
		t.Error("no conflict")
	}
	apply(t, s, ApplyOptions{Force: true})
	if !slices.Equal(show(t, outside), before) {
		t.Errorf("outside: %q", show(t, outside))
	}
	if got := strings.Join(show(t, host), " | "); got != `directory 0755 . | directory 0755 d | file 0600 d/precious "evil\n" | file 0644 d/new "n\n"` {
		t.Error(got)
	}
}

// The file that is replaced is looked at after it was swapped out: what was written to it
// after the comparison is there again.
func TestApplyLooksAtWhatItReplaces(t *testing.T) {
	s, host := sandbox(t, "f a 644 old\nf b 644 old\nf d/x 644 x\nf m 644 m", "f a 644 new\nw b\nw d\nf m 600 m\nf n 644 n")
	all := end(t, s)
	tick()
	plant(t, host, "f a 644 theirs\nf b 644 theirs\nf d/y 644 y\nf n 644 theirs")
	chmod(t, filepath.Join(host, "m"), "640")
	before := show(t, host)
	j, err := s.begin(all, false)
	check(t, err)
	a := &applier{s: s, temp: j.Temp, since: s.Created.UnixNano(), roots: make([]pair, 1)}
	defer a.close()
	for _, ch := range all {
		if err := a.apply(t.Context(), ch); err == nil {
			t.Errorf("%s was applied", ch.Path)
		}
	}
	if got := show(t, host); !slices.Equal(got, before) {
		t.Errorf("%q\nwas %q", got, before)
	}
}

func TestSparse(t *testing.T) {
	s, host := sandbox(t, "", "f sparse 644 x")
	path := filepath.Join(s.UpperDir(0), "sparse")
	check(t, os.Truncate(path, 1<<30))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteAt([]byte("middle"), 1<<29)
	check(t, err)
	check(t, f.Close())
	end(t, s)
	apply(t, s, ApplyOptions{})
	var st unix.Stat_t
	check(t, unix.Stat(filepath.Join(host, "sparse"), &st))
	if st.Size != 1<<30 || st.Blocks > 1000 {
		t.Errorf("%d bytes in %d blocks", st.Size, st.Blocks)
	}
}

func TestDiscard(t *testing.T) {
	s, host := sandbox(t, "f a 644 x", "f a 644 y\nf d/e/f 644 x\nd d/e 000\nd d 000\nf r/x 644 x\nd r 500")
	end(t, s)
	other := &Sandbox{Record: s.Record, Dir: s.Dir}
	if err := other.Discard(); !errors.Is(err, ErrRunning) {
		t.Errorf("without the lock: %v", err)
	}
	check(t, s.Discard())
	if left, err := os.ReadDir(filepath.Dir(s.Dir)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if got := strings.Join(show(t, host), " | "); got != `directory 0755 . | file 0644 a "x\n"` {
		t.Error(got)
	}
}
