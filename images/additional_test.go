package images

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// sharedStore is a store with an image, and the same seen through a mount that
// cannot be written, where this process may mount.
func sharedStore(t *testing.T) (shared *Store, seen string, name string) {
	t.Helper()
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	name = reg.host() + "/x:v1"
	shared = newStore(t)
	if _, err := shared.Pull(t.Context(), name, PullOptions{Class: class, Stage: newStage(t, shared).get}); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return shared, shared.root, name
	}
	seen = t.TempDir()
	if err := errors.Join(syscall.Mount(shared.root, seen, "", syscall.MS_BIND, ""), syscall.Mount("", seen, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(seen, syscall.MNT_DETACH) })
	return shared, seen, name
}

// An additional store is found, used where it lies, and never changed, whatever is
// asked of the store over it.
func TestAdditionalStore(t *testing.T) {
	shared, seen, name := sharedStore(t)
	before := snapshot(t, shared)
	s, err := Open(filepath.Join(t.TempDir(), "own"), Options{Additional: []string{seen}})
	if err != nil {
		t.Fatal(err)
	}
	empty := snapshot(t, s)
	img, err := s.Lookup(name)
	if err != nil || img.Store != seen {
		t.Fatalf("%v, in %q", err, img.Store)
	}
	list, err := s.Images()
	if err != nil || len(list) != 1 || list[0].Store != seen || list[0].ID != img.ID {
		t.Fatalf("%v, %v", list, err)
	}
	st := newStage(t, s)
	dirs, err := s.Layers(t.Context(), img, class, st.get)
	if err != nil || len(dirs) != 3 || st.opened != 0 {
		t.Fatalf("%v, %v, %d stages", dirs, err, st.opened)
	}
	for _, d := range dirs {
		if !strings.HasPrefix(d, seen+"/layers/") {
			t.Errorf("%s is not where it lay", d)
		}
	}
	if r, err := s.LayerRecords(img, class); err != nil || len(r) != 3 {
		t.Errorf("%v, %v", r, err)
	}
	for what, err := range map[string]error{
		"remove": func() error {
			_, err := s.Remove(t.Context(), name, RemoveOptions{Force: true, Stage: st.get})
			return err
		}(),
		"by id": func() error {
			_, err := s.Remove(t.Context(), img.ID.Encoded()[:12], RemoveOptions{})
			return err
		}(),
		"tag":   s.Tag(t.Context(), name, "other"),
		"untag": s.Untag(t.Context(), name),
	} {
		if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), seen) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if gone, _, err := s.Prune(t.Context(), PruneOptions{All: true, Stage: st.get}); err != nil || len(gone) != 0 {
		t.Errorf("prune: %v, %v", gone, err)
	}
	if bad, err := s.Check(t.Context(), CheckOptions{Repair: true, Stage: st.get}); err != nil || len(bad) != 0 {
		t.Errorf("check: %v, %v", bad, err)
	}
	if u, err := s.Usage(); err != nil || u.Images != 0 || u.Size != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	sameStore(t, "the additional store", before, snapshot(t, shared))
	sameStore(t, "the own store", empty, snapshot(t, s))
}

// For other ids, and under a new image, it is copied: what stands on it may outlive it.
func TestAdditionalCopied(t *testing.T) {
	shared, seen, name := sharedStore(t)
	before := snapshot(t, shared)
	s, err := Open(filepath.Join(t.TempDir(), "own"), Options{Additional: []string{seen}})
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	if s.InPlace(img, "single-1-1") || !s.InPlace(img, class) {
		t.Error("only what is unpacked for the same ids can be used where it lies")
	}
	st := newStage(t, s)
	dirs, err := s.Layers(t.Context(), img, "single-1-1", st.get)
	if err != nil || len(dirs) != 3 || !strings.HasPrefix(dirs[0], s.root) {
		t.Fatalf("%v, %v", dirs, err)
	}
	own, err := s.Lookup(name)
	if err != nil || own.Store != "" || own.ID != img.ID {
		t.Fatalf("%+v, %v", own, err)
	}
	if list, err := s.Images(); err != nil || len(list) != 1 || list[0].Store != "" {
		t.Errorf("%v, %v", list, err)
	}
	if os.Getuid() == 0 { // whatever it is called: one of somebody else's
		dir := filepath.Join(shared.root, layerDir(img.ChainIDs[1], class))
		if err := os.Chown(dir, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if s.additionalLayers(img, class) != "" {
			t.Error("somebody else's layer is used")
		}
		if err := os.Chown(dir, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(s.root); err != nil {
		t.Fatal(err)
	}
	s, err = Open(s.root, Options{Additional: []string{seen}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), CommitOptions{Name: "over", Base: img}); err != nil {
		t.Fatal(err)
	}
	alone, err := Open(s.root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := alone.Check(t.Context(), CheckOptions{}); err != nil || len(bad) != 0 {
		t.Errorf("without the additional store: %v, %v", bad, err)
	}
	sameStore(t, "the additional store", before, snapshot(t, shared))
}

// A store that others can change, or replace, is refused.
func TestAdditionalTrust(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(dir string) error
		says string // "": it is taken
	}{
		{"as it is", func(string) error { return nil }, ""},
		{"readable by all, and not writable", func(d string) error {
			return errors.Join(os.Chmod(d, 0o555), os.Chmod(d+"/blobs/sha256", 0o555)) //nolint:gosec // that is the case
		}, ""},
		{"the directory", func(d string) error { return os.Chmod(d, 0o777) }, "written by others"},                   //nolint:gosec // that is the case
		{"by the group", func(d string) error { return os.Chmod(d, 0o775) }, "written by others"},                    //nolint:gosec // that is the case
		{"the index", func(d string) error { return os.Chmod(d+"/index.json", 0o666) }, "written by others"},         //nolint:gosec // that is the case
		{"its layers, sticky", func(d string) error { return os.Chmod(d+"/layers", 0o777|os.ModeSticky) }, "layers"}, //nolint:gosec // that is the case
		{"the directory above", func(d string) error { return os.Chmod(filepath.Dir(d), 0o777) }, "in its place"},    //nolint:gosec // that is the case
		{"the directory above, sticky", func(d string) error { return os.Chmod(filepath.Dir(d), 0o777|os.ModeSticky) }, ""},
		{"no store", func(d string) error { return os.Remove(d + "/oci-layout") }, "no store"},
		{"a newer one", func(d string) error { return os.WriteFile(d+"/coracle.json", []byte(`{"storeVersion":9}`), 0o600) }, "newer"},
		{"gone", os.RemoveAll, "no such file"},
	} {
		up := filepath.Join(t.TempDir(), "up")
		dir := filepath.Join(up, "shared")
		if err := os.Mkdir(up, 0o755); err != nil { //nolint:gosec // as such directories are
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := c.do(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Open(filepath.Join(t.TempDir(), "own"), Options{Additional: []string{dir}})
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrStore) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if os.Getuid() != 0 {
		return
	}
	// Root's own trust does not reach to another user's file in another's store.
	dir := newStore(t).root
	if err := errors.Join(os.Chown(dir, 12345, 0), os.Chown(dir+"/index.json", 54321, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "own"), Options{Additional: []string{dir}}); !errors.Is(err, ErrStore) {
		t.Errorf("an index of somebody else's: %v", err)
	}
}
