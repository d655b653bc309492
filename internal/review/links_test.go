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
// share: it is no change of the host's, where the apply ended in between, or was for some of
// the files, either.
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
