package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a manifest says besides its layers goes with the image: annotations, those of the base image
// among them; a layer that is not to be distributed stays where its URLs say.
func TestPushKeepsTheManifest(t *testing.T) {
	m := make3(t, func(m *made) {
		m.doc.Annotations = map[string]string{ocispec.AnnotationBaseImageName: "docker.io/library/base:1", ocispec.AnnotationBaseImageDigest: string(sha256Of(nil)), "own": "kept"}
		m.doc.Layers[0].MediaType = ocispec.MediaTypeImageLayerNonDistributableGzip //nolint:staticcheck // deprecated for makers, still met
		m.doc.Layers[0].URLs = []string{"https://example.org/layer"}
	})
	s := stored(t, m)
	p := newPushed(t)
	for tag, shape := range map[string]Shape{"as": {}, "zstd": {Compression: "zstd", Force: true}} {
		if _, err := s.Push(t.Context(), onlyName(t, s), p.host()+"/x:"+tag, PushOptions{Shape: shape}); err != nil {
			t.Fatal(err)
		}
		var doc ocispec.Manifest
		if err := json.Unmarshal(p.manifests[tag], &doc); err != nil {
			t.Fatal(err)
		}
		for k, v := range m.doc.Annotations {
			if doc.Annotations[k] != v {
				t.Errorf("%s: %s is %q", tag, k, doc.Annotations[k])
			}
		}
		foreign := doc.Layers[0]
		if foreign.Digest != m.doc.Layers[0].Digest || foreign.MediaType != m.doc.Layers[0].MediaType || !slices.Equal(foreign.URLs, m.doc.Layers[0].URLs) {
			t.Errorf("%s: %+v", tag, foreign)
		}
		if p.blobs[string(foreign.Digest)] != nil || slices.Contains(p.asked, "HEAD /v2/x/blobs/"+string(foreign.Digest)) {
			t.Errorf("%s: the layer was sent", tag)
		}
	}
	if string(p.manifests["as"]) != string(m.manifest) {
		t.Error("the manifest has changed")
	}
}

// An index that lists an index goes with all that is in both, byte for byte.
func TestPushNestedIndex(t *testing.T) {
	a := make3(t, nil)
	b := make3(t, func(m *made) { m.config.Architecture = "s390x" })
	indexOf := func(list ...ocispec.Descriptor) (ocispec.Descriptor, []byte) {
		raw, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list})
		if err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: sha256Of(raw), Size: int64(len(raw))}, raw
	}
	other := b.desc
	other.Platform = &b.config.Platform
	inner, innerRaw := indexOf(other)
	own := a.desc
	own.Platform = &a.config.Platform
	outer, outerRaw := indexOf(own, inner)
	whole := &made{blobs: a.blobs, desc: outer}
	for d, data := range b.blobs {
		whole.blobs[d] = data
	}
	whole.blobs[inner.Digest], whole.blobs[outer.Digest] = innerRaw, outerRaw
	dir := whole.layout(t)
	s := newStore(t)
	img, err := s.Pull(t.Context(), "oci:"+dir, PullOptions{AllPlatforms: true})
	if err != nil {
		t.Fatal(err)
	}
	size := int64(inner.Size) + b.desc.Size + b.doc.Config.Size
	for _, l := range b.doc.Layers {
		size += l.Size
	}
	if list, err := s.Variants(img); err != nil || len(list) != 2 || !list[1].Here || list[1].Size != size {
		t.Errorf("%+v, %v; the second has %d bytes", list, err, size)
	}
	p := newPushed(t)
	out, err := s.Push(t.Context(), img.Names[0], p.host()+"/x:all", PushOptions{All: true})
	if err != nil || out.Digest != outer.Digest || string(p.manifests["all"]) != string(outerRaw) || string(p.manifests[string(inner.Digest)]) != string(innerRaw) {
		t.Fatalf("%+v, %v", out, err)
	}
	for d, data := range whole.blobs {
		if got := p.blobs[string(d)]; p.manifests[string(d)] == nil && string(got) != string(data) {
			t.Errorf("%s did not arrive", d)
		}
	}
	// A docker archive cannot hold it: it gets this platform's image where that is what is wanted.
	file := filepath.Join(t.TempDir(), "x.tar")
	_, err = s.Push(t.Context(), img.Names[0], "docker-archive:"+file, PushOptions{All: true})
	if _, serr := os.Stat(file); !errors.Is(err, ErrUnsupported) || !strings.Contains(hintOf(err), "oci-archive:"+file) || !errors.Is(serr, os.ErrNotExist) {
		t.Errorf("%v, hint %q; %v", err, hintOf(err), serr)
	}
	if _, err := s.Push(t.Context(), img.Names[0], "docker-archive:"+file, PushOptions{}); err != nil {
		t.Error(err)
	}
	// What lists comes after what is listed: a registry takes no other order.
	var order []string
	for _, asked := range p.asked {
		if strings.HasPrefix(asked, "PUT /v2/x/manifests/") {
			order = append(order, filepath.Base(asked))
		}
	}
	if !slices.Equal(order, []string{string(a.desc.Digest), string(b.desc.Digest), string(inner.Digest), "all"}) {
		t.Errorf("%q", order)
	}
}

// Into an OCI layout goes OCI's manifest, whatever the registry had: no other tool finds
// Docker's there. dir: keeps it as it came.
func TestPushDockersToLayout(t *testing.T) {
	m := make3(t, func(m *made) { // the second is compressed with zstd
		m.doc.Layers, m.config.RootFS.DiffIDs = m.doc.Layers[:1], m.config.RootFS.DiffIDs[:1]
	})
	forms, err := dockerForms(m.doc)
	if err != nil {
		t.Fatal(err)
	}
	reg := newRegistry(t)
	reg.serve("v1", m)
	docker := served{dockerManifest, forms[0]}
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}}]}`,
		dockerIndex, dockerManifest, sha256Of(forms[0]), len(forms[0]), m.config.Architecture)
	reg.extra["one"], reg.extra[string(sha256Of(forms[0]))], reg.extra["list"] = docker, docker, served{dockerIndex, list}
	s := newStore(t)
	mediaType := func(file string) string {
		t.Helper()
		var doc struct {
			MediaType string
			Manifests []ocispec.Descriptor
		}
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(doc.Manifests) > 0 {
			return doc.Manifests[0].MediaType
		}
		return doc.MediaType
	}
	for _, tag := range []string{"one", "list"} {
		name := reg.host() + "/x:" + tag
		if _, err := s.Pull(t.Context(), name, PullOptions{AllPlatforms: true}); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for transport, want := range map[string]string{"oci": ocispec.MediaTypeImageManifest, "dir": dockerManifest} {
			at := filepath.Join(dir, transport)
			if _, err := s.Push(t.Context(), name, transport+":"+at, PushOptions{}); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(at, map[string]string{"oci": "index.json", "dir": "manifest.json"}[transport])
			if got := mediaType(file); got != want {
				t.Errorf("%s to %s: %s, want %s", tag, transport, got, want)
			}
		}
		for _, dest := range []string{"oci:" + dir + "/oci2", "oci-archive:" + dir + "/tar"} {
			if _, err := s.Push(t.Context(), name, dest, PushOptions{Shape: Shape{Format: FormatDocker}}); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s to %s: %v", tag, dest, err)
			}
			_, err := s.Push(t.Context(), name, dest, PushOptions{All: true})
			if (tag == "list") != errors.Is(err, ErrUnsupported) {
				t.Errorf("%s with all to %s: %v", tag, dest, err)
			}
		}
		if _, err := s.Push(t.Context(), name, "dir:"+dir+"/all", PushOptions{All: true}); err != nil {
			t.Error(err)
		}
		base, err := s.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if made, err := s.Commit(t.Context(), CommitOptions{Base: base}); err != nil || made.Layers[0].MediaType != ocispec.MediaTypeImageLayerGzip {
			t.Errorf("commit on %s: %+v, %v", tag, made, err)
		}
		saved := filepath.Join(dir, "saved")
		if err := s.SaveDir(t.Context(), saved, []string{name}, SaveOptions{Kind: SaveOCIDir}); err != nil || mediaType(saved+"/index.json") != ocispec.MediaTypeImageManifest {
			t.Errorf("%s saved: %v", tag, err)
		}
		for shape, sh := range map[string]Shape{"oci": {Format: FormatOCI}, "gzip": {Compression: "gzip", Force: true, Level: 1}} {
			at := filepath.Join(dir, shape+"-dir")
			if _, err := s.Push(t.Context(), name, "dir:"+at, PushOptions{Shape: sh}); err != nil || mediaType(at+"/manifest.json") != ocispec.MediaTypeImageManifest {
				t.Errorf("%s as %s: %v", tag, shape, err)
			}
		}
	}
}

// What is the store of another program is told with what brings an image there.
func TestPushElsewhere(t *testing.T) {
	s := stored(t, make3(t, nil))
	for dest, want := range map[string]string{"docker-daemon:x:1": "coracle save IMAGE | docker load", "containers-storage:x:1": "coracle save IMAGE | podman load"} {
		if _, err := s.Push(t.Context(), onlyName(t, s), dest, PushOptions{}); err == nil || hintOf(err) != want {
			t.Errorf("%s: %v, hint %q", dest, err, hintOf(err))
		}
	}
}

// Docker's directory cannot hold layers of zstd, and the flags that change them are push's.
func TestSaveZstdForDocker(t *testing.T) {
	s := stored(t, make3(t, nil))
	dir := filepath.Join(t.TempDir(), "x")
	err := s.SaveDir(t.Context(), dir, []string{onlyName(t, s)}, SaveOptions{Kind: SaveDockerDir})
	if !errors.Is(err, ErrUnsupported) || !strings.HasPrefix(err.Error(), "save: ") || !strings.Contains(hintOf(err), "coracle push --format docker --compression gzip") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
	if _, err := s.Push(t.Context(), onlyName(t, s), "dir:"+dir, PushOptions{Shape: Shape{Format: FormatDocker, Compression: "gzip"}}); err != nil {
		t.Error(err)
	}
}
