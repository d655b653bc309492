package images

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

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

// What processes that died have left takes space: system df tells it, and prune what of it
// would be freed, and then is.
func TestLeftoversAreUsage(t *testing.T) {
	s := newStore(t)
	blob := []byte("of no image")
	unpacking := filepath.Join(s.root, "layers", strings.Repeat("a", 64), class+".tmp-1/fs/dir")
	if err := os.MkdirAll(unpacking, 0o755); err != nil {
		t.Fatal(err)
	}
	want := int64(len(blob))
	for path, data := range map[string][]byte{
		s.blobPath(sha256Of(blob)):           blob,
		filepath.Join(s.root, "tmp/1"):       make([]byte, 1000),
		filepath.Join(unpacking, "file"):     make([]byte, 100),
		filepath.Join(unpacking, "../other"): make([]byte, 10),
	} {
		write(t, path, data)
		if len(data) != len(blob) {
			want += int64(len(data))
		}
	}
	if u, err := s.Usage(); err != nil || u.Size != want || u.Reclaimable != want {
		t.Errorf("%+v, %v, want %d", u, err, want)
	}
	for _, dry := range []bool{true, false} {
		if gone, freed, err := s.Prune(t.Context(), PruneOptions{DryRun: dry, Stage: newStage(t, s).get}); err != nil || len(gone) > 0 || freed != want {
			t.Errorf("dry %t: %v, %d, %v, want %d", dry, gone, freed, err, want)
		}
	}
	if u, err := s.Usage(); err != nil || u.Size != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, freed, err := s.Prune(t.Context(), PruneOptions{Stage: newStage(t, s).get}); err != nil || freed != 0 {
		t.Errorf("again: %d, %v", freed, err)
	}
}

// What prune frees of an image is what it alone has, blobs and unpacked layers.
func TestPruneTellsWhatIsFreed(t *testing.T) {
	m := make3(t, nil)
	s := stored(t, m)
	before, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	would, freed := int64(0), int64(0)
	if _, would, err = s.Prune(t.Context(), PruneOptions{All: true, DryRun: true}); err == nil {
		_, freed, err = s.Prune(t.Context(), PruneOptions{All: true, Stage: newStage(t, s).get})
	}
	if err != nil || would != before.Size || freed != would {
		t.Errorf("%d would be freed, %d were of %d: %v", would, freed, before.Size, err)
	}
}
