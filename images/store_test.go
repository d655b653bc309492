package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
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

func pullLayout(t *testing.T, s *Store, m *made, tag string) *Image {
	t.Helper()
	img, err := s.Pull(t.Context(), "oci:"+m.layout(t), PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), string(img.ID), tag); err != nil {
		t.Fatal(err)
	}
	for _, n := range img.Names {
		if err := s.update(t.Context(), func(idx *index) error { idx.drop(n); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if img, err = s.Lookup(tag); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestLookup(t *testing.T) {
	s := newStore(t)
	a := pullLayout(t, s, make3(t, nil), "localhost/a:1")
	b := pullLayout(t, s, make3(t, func(m *made) { m.config.Author = "b" }), "docker.io/library/b:latest")
	hex := a.ID.Encoded()
	for in, want := range map[string]*Image{
		"localhost/a:1": a, "a:1": a, "b": b, "docker.io/b": b, hex: a, hex[:12]: a, hex[:4]: a, string(a.ID): a, "sha256:" + hex[:9]: a,
		b.ID.Encoded()[:8]: b, "localhost/a@" + string(a.Manifest.Digest): a, "b@" + string(b.Manifest.Digest): b, a.Manifest.Digest.Encoded()[:20]: a,
	} {
		for range 2 { // from the index and from the cache
			if got, err := s.Lookup(in); err != nil || got.ID != want.ID {
				t.Errorf("%s: %v, %v", in, got, err)
			}
		}
	}
	for in, want := range map[string]error{
		"c": ErrNotFound, "a": ErrNotFound, "quay.io/b": ErrNotFound, "0": ErrNotFound, hex[:3]: ErrNotFound, strings.Repeat("0", 64): ErrNotFound,
		"B": ErrInvalidReference, "": ErrInvalidReference, "b@" + string(a.Manifest.Digest): ErrNotFound, "oci:/x": ErrNotFound,
	} {
		if _, err := s.Lookup(in); !errors.Is(err, want) {
			t.Errorf("%q: %v; want %v", in, err, want)
		}
	}
	if a.Created != (time.Time{}) || a.Config.Config.Cmd[0] != "/bin/sh" || len(a.ChainIDs) != 3 || a.ChainIDs[0] != a.DiffIDs[0] ||
		a.ChainIDs[1] != sha256Of([]byte(string(a.DiffIDs[0])+" "+string(a.DiffIDs[1]))) {
		t.Errorf("%+v", a)
	}
	// localhost/NAME is before docker.io's.
	if err := s.Tag(t.Context(), "a:1", "localhost/b"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Lookup("b"); err != nil || got.ID != a.ID {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAmbiguousID(t *testing.T) {
	s := newStore(t)
	// Entries of index.json are enough: the id is among their annotations.
	err := s.update(t.Context(), func(idx *index) error {
		for _, id := range []string{"abcd1" + hex64[5:], "abcd2" + hex64[5:]} {
			idx.put(ocispec.Descriptor{Digest: sha256Of([]byte(id)), Annotations: map[string]string{annotationID: "sha256:" + id}}, "")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lookup("abcd"); !errors.Is(err, ErrAmbiguous) || hintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

// What the cache says must follow index.json at once, whoever writes it.
func TestCacheFollowsIndex(t *testing.T) {
	s := newStore(t)
	a := pullLayout(t, s, make3(t, nil), "localhost/x")
	b := pullLayout(t, s, make3(t, func(m *made) { m.config.Author = "b" }), "localhost/y")
	time.Sleep(60 * time.Millisecond)
	for i := range 6 {
		want := []*Image{a, b}[i%2]
		if err := s.Tag(t.Context(), string(want.ID), "localhost/x"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := s.Lookup("x"); err != nil || got.ID != want.ID {
				t.Fatalf("round %d: %v, %v", i, got, err)
			}
			if i > 2 {
				time.Sleep(60 * time.Millisecond)
			}
		}
	}
	if s.cached(nameKey("x"), s.indexStamp()) == nil {
		t.Error("nothing is cached")
	}
	// A damaged record costs a look into the index, no more.
	write(t, s.recordPath(nameKey("x")), []byte(`{"Version":1`))
	if _, err := s.Lookup("x"); err != nil {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	users := map[digest.Digest][]string{}
	s, err := Open(t.TempDir(), Options{InUse: func() (map[digest.Digest][]string, error) { return users, nil }})
	if err != nil {
		t.Fatal(err)
	}
	empty := snapshot(t, s)
	st := newStage(t, s)
	ctx := t.Context()
	img := pullLayout(t, s, make3(t, nil), "localhost/a")
	if err := s.Tag(ctx, "a", "b:2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Layers(ctx, img, class, st.get); err != nil {
		t.Fatal(err)
	}
	users[img.ID] = []string{"web"}
	full := snapshot(t, s)
	if _, err := s.Remove(ctx, img.ID.Encoded()[:12], RemoveOptions{Stage: st.get}); !errors.Is(err, ErrInUse) {
		t.Errorf("by id with two names: %v", err)
	}
	sameStore(t, "refused", full, snapshot(t, s))
	if r, err := s.Remove(ctx, "b:2", RemoveOptions{Stage: st.get}); err != nil || !slices.Equal(r.Untagged, []string{"localhost/b:2"}) || r.Deleted != "" {
		t.Errorf("untag: %+v, %v", r, err)
	}
	if _, err := s.Remove(ctx, "a", RemoveOptions{Stage: st.get}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "web") {
		t.Errorf("in use: %v", err)
	}
	if r, err := s.Remove(ctx, "a", RemoveOptions{Force: true, Stage: st.get}); err != nil || r.Deleted != "" {
		t.Errorf("forced: %+v, %v", r, err)
	}
	if !s.hasLayers(img, class) {
		t.Error("the layers of a running container are gone")
	}
	delete(users, img.ID)
	if r, err := s.Remove(ctx, string(img.ID), RemoveOptions{Stage: st.get}); err != nil || r.Deleted != img.ID {
		t.Errorf("by id: %+v, %v", r, err)
	}
	after := snapshot(t, s)
	delete(after, "index.json")
	delete(empty, "index.json")
	sameStore(t, "after everything is removed", empty, after)
	if _, err := s.Remove(ctx, "a", RemoveOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
}

// Images that share layers keep them; a lease keeps what no index names yet.
func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	s := newStore(t)
	st := newStage(t, s)
	ctx := t.Context()
	a := pullLayout(t, s, make3(t, nil), "localhost/a")
	pullLayout(t, s, make3(t, func(m *made) { m.config.Author = "b" }), "localhost/b")
	if _, err := s.Layers(ctx, a, class, st.get); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "b", RemoveOptions{Stage: st.get}); err != nil {
		t.Fatal(err)
	}
	if !s.hasLayers(a, class) || !s.hasBlob(a.Layers[0].Digest, a.Layers[0].Size) {
		t.Error("what the other image needs is gone")
	}
	needed := sha256Of([]byte("needed"))
	write(t, s.blobPath(needed), []byte("needed"))
	lease, err := s.lease(ctx, []digest.Digest{needed})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if err := s.Collect(ctx, st.get); err != nil {
			t.Fatal(err)
		}
		if s.hasBlob(needed, 6) != want {
			t.Errorf("round %d: the leased blob is there: %v", i, !want)
		}
		if i == 0 {
			lease.file.Close() // as when the process dies: the file stays, its lock does not
		}
	}
	if l, _ := os.ReadDir(filepath.Join(s.root, "leases")); len(l) != 0 {
		t.Errorf("dead leases are left: %v", l)
	}
	// In doubt nothing is removed.
	write(t, s.blobPath(a.Manifest.Digest), []byte("{damaged"))
	if err := s.Collect(ctx, st.get); err == nil || !s.hasLayers(a, class) {
		t.Errorf("a damaged manifest: %v", err)
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
			l.release()
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
	defer l.release()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.acquire(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestExplainWrite(t *testing.T) {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS} {
		err := explainWrite(fmt.Errorf("x: %w", e), "/store")
		if !errors.Is(err, e) || !strings.Contains(hintOf(err), "/store") {
			t.Errorf("%v, hint %q", err, hintOf(err))
		}
	}
}

// What a process left that died while it unpacked goes when the layer is unpacked.
func TestLeftoverOfAnUnpacking(t *testing.T) {
	s := newStore(t)
	img := pullLayout(t, s, make3(t, nil), "localhost/a")
	left := filepath.Join(s.root, "layers", img.ChainIDs[1].Encoded(), class+".tmp-dead", "fs")
	other := filepath.Join(s.root, "layers", img.ChainIDs[1].Encoded(), "m-1.tmp-other", "fs")
	for _, d := range []string{left, other} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Layers(t.Context(), img, class, newStage(t, s).get); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("that of another class may still be at work: %v", err)
	}
}
