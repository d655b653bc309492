package images

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Files go to a registry and come back, with all that was said of them; what has a subject is
// listed with it, where the registry has no list of its own.
func TestArtifact(t *testing.T) {
	p := newPushed(t)
	t.Chdir(t.TempDir())
	if err := os.Mkdir("sub", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "sub/a.csv", []byte("a,b\n"))
	write(t, "b:c", []byte("b"))
	abs := filepath.Join(t.TempDir(), "abs")
	write(t, abs, []byte("abs"))
	m := make3(t, nil)
	s := stored(t, m)
	if _, err := s.Push(t.Context(), onlyName(t, s), p.host()+"/x:v1", PushOptions{}); err != nil {
		t.Fatal(err)
	}
	o := ArtifactOptions{Type: "application/vnd.test", Annotations: map[string]string{"k": "v=w"}, Subject: "v1"}
	files := []string{"sub/a.csv:text/csv", "b:c", abs}
	out, err := PushArtifact(t.Context(), p.host()+"/x", files, o)
	if err != nil {
		t.Fatal(err)
	}
	var doc ocispec.Manifest
	if err := json.Unmarshal(p.manifests[string(out.Digest)], &doc); err != nil {
		t.Fatal(err)
	}
	if doc.ArtifactType != o.Type || doc.Config.MediaType != ocispec.MediaTypeEmptyJSON || doc.Annotations["k"] != "v=w" || doc.Subject == nil ||
		doc.Subject.Digest != m.desc.Digest || doc.Subject.Size != m.desc.Size || len(doc.Layers) != 3 || doc.Layers[0].MediaType != "text/csv" {
		t.Errorf("%s", p.manifests[string(out.Digest)])
	}
	if p.manifests["latest"] != nil {
		t.Error("what has a subject has been given a tag")
	}
	list := p.manifests[referrersTag(m.desc.Digest)]
	if !strings.Contains(string(list), string(out.Digest)) || !strings.Contains(string(list), `"artifactType":"application/vnd.test"`) {
		t.Errorf("the subject's list: %s", list)
	}
	sent := p.sent
	if again, err := PushArtifact(t.Context(), p.host()+"/x", files, o); err != nil || p.sent != sent || again.Digest != out.Digest {
		t.Errorf("again: %+v, %d bytes, %v", again, p.sent-sent, err)
	}
	dir := filepath.Join(t.TempDir(), "new")
	got, err := PullArtifact(t.Context(), p.host()+"/x@"+string(out.Digest), dir, Access{}, nil)
	if err != nil || got.Type != o.Type || !slices.Equal(got.Files, []string{"sub/a.csv", "b:c", "abs"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, want := range map[string]string{"sub/a.csv": "a,b\n", "b:c": "b", "abs": "abs"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for what, c := range map[string]struct {
		dest  string
		files []string
		o     ArtifactOptions
	}{
		"no registry":        {"dir:x", files, o},
		"a directory":        {p.host() + "/x:v2", []string{"sub"}, ArtifactOptions{}},
		"a name twice":       {p.host() + "/x:v2", []string{"sub/a.csv", "./sub/a.csv"}, ArtifactOptions{}},
		"no media type":      {p.host() + "/x:v2", files, ArtifactOptions{Type: "thing"}},
		"a foreign subject":  {p.host() + "/x:v2", files, ArtifactOptions{Subject: p.host() + "/y:v1"}},
		"an absent subject":  {p.host() + "/x:v2", files, ArtifactOptions{Subject: "v9"}},
		"an absent file":     {p.host() + "/x:v2", []string{"none"}, ArtifactOptions{}},
		"a digest for a tag": {p.host() + "/x@" + string(out.Digest), files, ArtifactOptions{}},
	} {
		if _, err := PushArtifact(t.Context(), c.dest, c.files, c.o); err == nil || p.manifests["v2"] != nil {
			t.Errorf("%s passed", what)
		}
	}
}

// No name and no link leads out of the directory, and what is wrong leaves nothing.
func TestArtifactStaysInside(t *testing.T) {
	for _, title := range []string{"../x", "/etc/x", "a/../../x", "a/..", ".", "", "x/", "./x", "a//b", "a\nb", "a\x1b[2J", `a\b`, "a\x00b"} {
		if badTitle(title) == "" {
			t.Errorf("%q passed", title)
		}
	}
	reg := newRegistry(t)
	serve := func(tag, title string, lies bool) {
		m := &made{blobs: map[digest.Digest][]byte{}}
		d := m.add("text/plain", []byte("right "+tag))
		if lies {
			m.blobs[d.Digest] = []byte("wrong " + tag)
		}
		d.Annotations = map[string]string{ocispec.AnnotationTitle: title}
		config := m.add(ocispec.MediaTypeEmptyJSON, []byte("{}"))
		raw, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "x/y", Config: config, Layers: []ocispec.Descriptor{d}})
		if err != nil {
			t.Fatal(err)
		}
		m.manifest, m.desc = raw, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: sha256Of(raw), Size: int64(len(raw))}
		reg.serve(tag, m)
	}
	outside := t.TempDir()
	write(t, filepath.Join(outside, "kept"), []byte("kept"))
	dir := t.TempDir()
	for name, to := range map[string]string{"way": outside, "file": filepath.Join(outside, "kept")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	serve("out", "../x", false)
	serve("link", "way/x", false)
	serve("wrong", "wrong", true)
	serve("over", "file", false)
	for _, tag := range []string{"out", "link", "wrong"} {
		if _, err := PullArtifact(t.Context(), reg.host()+"/x:"+tag, dir, Access{}, nil); err == nil {
			t.Errorf("%s passed", tag)
		}
	}
	if _, err := PullArtifact(t.Context(), reg.host()+"/x:out", dir, Access{}, nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	// A link at the place itself is replaced, not followed.
	if _, err := PullArtifact(t.Context(), reg.host()+"/x:over", dir, Access{}, nil); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(data) != "right over" {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := os.ReadFile(filepath.Join(outside, "kept")); err != nil || string(data) != "kept" {
		t.Errorf("%q, %v", data, err)
	}
	for d, n := range map[string]int{outside: 1, dir: 2} {
		if l, err := os.ReadDir(d); err != nil || len(l) != n {
			t.Errorf("%s has %v, %v", d, l, err)
		}
	}
}
