package images

import (
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// The same image in another form, as an archive has it, takes the place of the first: nothing
// nameless is left of it. An image with several manifests is one image for rmi.
func TestSameImageInAnotherForm(t *testing.T) {
	users := map[digest.Digest][]string{}
	s, err := Open(t.TempDir(), Options{InUse: func() (map[digest.Digest][]string, error) { return users, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	one := make3(t, nil)
	two := make3(t, func(m *made) { m.doc.Annotations = map[string]string{"org.example": "two"} })
	if one.doc.Config.Digest != two.doc.Config.Digest || one.desc.Digest == two.desc.Digest {
		t.Fatal("no two forms of one image")
	}
	img := pullAs(t, s, one, "localhost/a:latest")
	users[img.ID] = []string{"web"}
	pullAs(t, s, two, "localhost/a:latest")
	if list, err := s.Images(); err != nil || len(list) != 1 || list[0].Manifest.Digest != two.desc.Digest {
		t.Errorf("%v, %v", list, err)
	}

	pullAs(t, s, one, "localhost/b:latest")
	if r, err := s.Remove(ctx, "b", RemoveOptions{}); err != nil || r.Deleted != "" || !slices.Equal(r.Untagged, []string{"localhost/b:latest"}) {
		t.Errorf("one of two forms: %+v, %v", r, err)
	}
	pullAs(t, s, one, "localhost/b:latest")
	if _, err := s.Remove(ctx, "a", RemoveOptions{}); err != nil {
		t.Errorf("the other: %v", err)
	}
	if _, err := s.Remove(ctx, "b", RemoveOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("the last: %v", err)
	}
	delete(users, img.ID)
	pullAs(t, s, two, "localhost/a:latest")
	if _, err := s.Remove(ctx, img.ID.Encoded()[:12], RemoveOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("by id, with two names: %v", err)
	}
	if r, err := s.Remove(ctx, img.ID.Encoded()[:12], RemoveOptions{Force: true}); err != nil || r.Deleted != img.ID || len(r.Untagged) != 2 {
		t.Errorf("by id: %+v, %v", r, err)
	}
	if list, err := s.Images(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// pullAs gives exactly this form of an image a name.
func pullAs(t *testing.T, s *Store, m *made, tag string) *Image {
	t.Helper()
	img, err := s.Pull(t.Context(), "oci:"+m.layout(t), PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.update(t.Context(), func(idx *index) error {
		desc := idx.Manifests[idx.find(img.Names[0])]
		idx.drop(img.Names[0])
		idx.put(desc, tag)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}
