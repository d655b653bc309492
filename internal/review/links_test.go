package review

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What an apply does to one name of a file changes the time of the inode that other names
// share: it is no change of the host's, and nothing else of theirs changes.
func TestApplyHardLinks(t *testing.T) {
	for _, c := range []struct{ name, lower, upper, want string }{
		{"all with another mode", "f a 644 x\nh b a\nh c a", "f a 600 x\nf b 600 x\nf c 640 x", `directory 0755 . | file 0600 a "x\n" | file 0600 b "x\n" | file 0640 c "x\n"`},
		{"one with another mode", "f a 644 x\nh b a", "f a 600 x", `directory 0755 . | file 0600 a "x\n" | file 0644 b "x\n"`},
		{"a mode and a content", "f a 644 x\nh b a", "f a 600 x\nf b 644 y", `directory 0755 . | file 0600 a "x\n" | file 0644 b "y\n"`},
		{"directories that go", "f d/x 644 x\nf e 644 e\nh f/x d/x\nh g/y d/x", "w d\nw f\nw g", `directory 0755 . | file 0644 e "e\n"`},
		{"in the place of one", "f d/x 644 x\nh f/x d/x", "w d\nf f 644 now", `directory 0755 . | file 0644 f "now\n"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, host := sandbox(t, c.lower, c.upper)
			end(t, s)
			apply(t, s, ApplyOptions{})
			if got := strings.Join(show(t, host), " | "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Nor is it one where the apply ended in between, or was for some of the files.
func TestApplyHardLinksGoesOn(t *testing.T) {
	const lower, upper = "f a 644 x\nh b a\nf d/x 644 x\nh e/x d/x", "f a 644 1\nf b 644 2\nw d\nw e"
	s, host := sandbox(t, lower, upper)
	end(t, s)
	stop := errors.New("stop")
	n := 0
	func() {
		defer func() { _ = recover() }() // as a kill would
		_, _ = s.Apply(t.Context(), ApplyOptions{Each: func(Change) {
			if n++; n == 1 || n == 3 {
				panic(stop)
			}
		}})
	}()
	if !s.Interrupted() {
		t.Fatal("it was not interrupted")
	}
	apply(t, s, ApplyOptions{})
	if got := strings.Join(show(t, host), " | "); got != `directory 0755 . | file 0644 a "1\n" | file 0644 b "2\n"` {
		t.Error(got)
	}

	s, host = sandbox(t, lower, upper)
	end(t, s)
	apply(t, s, ApplyOptions{Paths: []string{filepath.Join(host, "a")}})
	apply(t, s, ApplyOptions{Paths: []string{filepath.Join(host, "b")}})
	if got := show(t, host); !slices.Contains(got, `file 0644 b "2\n"`) {
		t.Errorf("%q", got)
	}

	// What the host itself has changed is.
	s, host = sandbox(t, lower, upper)
	end(t, s)
	apply(t, s, ApplyOptions{Paths: []string{filepath.Join(host, "a")}})
	tick()
	check(t, os.WriteFile(filepath.Join(host, "b"), []byte("theirs\n"), 0o600))
	_, err := s.Apply(t.Context(), ApplyOptions{Paths: []string{filepath.Join(host, "b")}})
	if _, ok := errors.AsType[*ConflictError](err); !ok {
		t.Errorf("%v; %q", err, show(t, host))
	}
}
