package images

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dockerArchive writes images as docker save does; tags has those of each.
func dockerArchive(t *testing.T, tags ...[]string) (file string, list []*made) {
	t.Helper()
	files := map[string]string{}
	items := []dockerItem{}
	for i, names := range tags {
		m := make3(t, func(m *made) { m.config.Author = strings.Repeat("x", i) })
		list = append(list, m)
		item := dockerItem{Config: m.doc.Config.Digest.Encoded() + ".json", RepoTags: names}
		files[item.Config] = string(m.blobs[m.doc.Config.Digest])
		for _, l := range m.doc.Layers {
			name := l.Digest.Encoded() + ".tar"
			files[name] = string(m.blobs[l.Digest])
			item.Layers = append(item.Layers, name)
		}
		items = append(items, item)
	}
	raw, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	files["manifest.json"] = string(raw)
	file = filepath.Join(t.TempDir(), "x.tar")
	write(t, file, tarOf(t, files))
	return file, list
}

// docker-archive:FILE:@N is the Nth image of the archive, from 0, with all its names.
func TestDockerArchivePlace(t *testing.T) {
	file, list := dockerArchive(t, []string{"r.example/a:1", "r.example/b:2"}, nil, nil)
	ref := "docker-archive:" + file
	s := newStore(t)
	for place, names := range [][]string{{"r.example/a:1", "r.example/b:2"}, {"localhost/x:1"}, {"localhost/x:2"}} {
		img, err := s.Pull(t.Context(), ref+":@"+string(rune('0'+place)), PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if img.ID != list[place].doc.Config.Digest || !slices.Equal(img.Names, names) {
			t.Errorf("@%d: %s, %q", place, img.ID, img.Names)
		}
	}
	one, _ := dockerArchive(t, []string{"r.example/a:1"})
	nameless, _ := dockerArchive(t, nil, nil)
	none, _ := dockerArchive(t)
	for _, c := range []struct {
		ref        string
		kind       error
		text, hint string
	}{
		{ref + ":@3", ErrNotFound, "no image @3: it has 3", ref + ":@0 to :@2"},
		{"docker-archive:" + one + ":@1", ErrNotFound, "no image @1: it has 1", one + ":@0 is the only one"},
		{"docker-archive:" + none + ":@0", ErrNotFound, "it has 0", ""},
		{ref + ":@x", ErrInvalidReference, "the number of an image, from 0", ref + ":@0 is the first"},
		{"docker-archive:" + nameless, ErrAmbiguous, "has 2 images", nameless + ":@0 to :@1"},
		{ref, ErrAmbiguous, "has 3 images", "name one: "},
	} {
		_, err := s.Pull(t.Context(), c.ref, PullOptions{})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: %v; hint %q", c.ref, err, hintOf(err))
		}
	}
	_, err := s.Push(t.Context(), "localhost/x:1", "docker-archive:"+file+"2:@0", PushOptions{})
	if !errors.Is(err, ErrInvalidReference) || !strings.Contains(hintOf(err), ":NAME") {
		t.Errorf("push: %v; hint %q", err, hintOf(err))
	}
}
