package images

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

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

// Nothing is called "": a command whose argument is an empty variable is not about an
// image that has no name.
func TestNothingIsNameless(t *testing.T) {
	s := newStore(t)
	img := pullLayout(t, s, make3(t, nil), "localhost/a")
	for _, name := range img.Names {
		if err := s.Untag(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", "sha256:", "@", ":"} {
		if _, err := s.Lookup(name); err == nil {
			t.Errorf("%q is an image", name)
		}
		if err := s.Tag(t.Context(), name, "b"); err == nil {
			t.Errorf("%q is tagged", name)
		}
		if _, err := s.Remove(t.Context(), name, RemoveOptions{Force: true}); err == nil {
			t.Errorf("%q is removed", name)
		}
		if _, err := s.Push(t.Context(), name, "dir:"+t.TempDir(), PushOptions{}); err == nil {
			t.Errorf("%q is pushed", name)
		}
		if err := s.Save(t.Context(), io.Discard, []string{name}, SaveOptions{Kind: SaveDockerArchive}); err == nil {
			t.Errorf("%q is saved", name)
		}
	}
	if _, err := s.Lookup(string(img.ID)); err != nil {
		t.Error(err)
	}
}
