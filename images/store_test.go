package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestOpenRefuses(t *testing.T) {
	made := newStore(t)
	for _, c := range []struct {
		what  string
		do    func(dir string) error
		says  string
		hints string
	}{
		{"newer", func(d string) error {
			return os.WriteFile(filepath.Join(d, versionFile), []byte(`{"storeVersion":2}`), 0o644)
		}, "newer coracle", "upgrade"},
		{"not JSON", func(d string) error {
			return os.WriteFile(filepath.Join(d, versionFile), []byte(`{`), 0o644)
		}, versionFile, "--root"},
		{"no version in it", func(d string) error {
			return os.WriteFile(filepath.Join(d, versionFile), []byte(`{}`), 0o644)
		}, "no store version", "--root"},
		{"another layout", func(d string) error {
			return os.WriteFile(filepath.Join(d, "oci-layout"), []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o644)
		}, "2.0.0", "--root"},
		{"a version that is a directory", func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, versionFile)), os.Mkdir(filepath.Join(d, versionFile), 0o755))
		}, "read " + versionFile, "--root"},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(made.root)); err != nil {
			t.Fatal(err)
		}
		if err := c.do(dir); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, &Store{root: dir})
		_, err := Open(dir, Options{})
		if !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), c.says) || !strings.Contains(hintOf(err), c.hints) {
			t.Errorf("%s: %v; hint %q", c.what, err, hintOf(err))
		}
		sameStore(t, c.what, before, snapshot(t, &Store{root: dir}))
	}
}

func TestOpenForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.txt"), []byte("x"))
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("a directory with other things: %v", err)
	}
	if l, _ := os.ReadDir(dir); len(l) != 1 {
		t.Errorf("files were made: %v", l)
	}
	file := filepath.Join(dir, "thesis.txt")
	if _, err := Open(file, Options{}); !errors.Is(err, ErrStore) || hintOf(err) == "" {
		t.Errorf("a file: %v", err)
	}
	// What the engine makes beside us is no stranger.
	if err := os.MkdirAll(filepath.Join(dir, "s/containers/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "s"), Options{}); err != nil {
		t.Error(err)
	}
	// A layout of skopeo's is taken over with its images.
	lay := make3(t, nil).layout(t)
	s, err := Open(lay, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.Images(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestOpenUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		// Root reads everything: become somebody else in a thread of our own.
		t.Run("as nobody", func(t *testing.T) {
			s := newStore(t)
			if err := os.Chmod(s.root, 0); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go asNobody(func() { _, err := Open(s.root, Options{}); done <- err }, func(err error) { done <- err })
			err := <-done
			if !errors.Is(err, ErrStore) || !errors.Is(err, os.ErrPermission) || hintOf(err) == "" {
				t.Errorf("%v, hint %q", err, hintOf(err))
			}
		})
	}
}

func TestOpenAtOnce(t *testing.T) {
	root := filepath.Join(t.TempDir(), "s")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := Open(root, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, d := range []string{"tmp", "locks", "leases"} {
		if l, err := os.ReadDir(filepath.Join(root, d)); err != nil || len(l) != 0 {
			t.Errorf("%s: %v, %v", d, l, err)
		}
	}
}

// Updates from many sides, none lost.
func TestIndexUpdates(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: sha256Of([]byte(fmt.Sprint(i))), Size: 1}
			err := s.update(t.Context(), func(idx *index) error { idx.put(desc, fmt.Sprintf("localhost/i:%d", i)); return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	idx, err := s.readIndex()
	if err != nil || len(idx.Manifests) != 20 {
		t.Errorf("%d images, %v", len(idx.Manifests), err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	s := newStore(t)
	in, most := 0, 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			l, err := s.acquire(t.Context(), "x")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			in++
			most = max(most, in)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			in--
			mu.Unlock()
			l.Release()
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
	l, err := s.acquire(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.acquire(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
