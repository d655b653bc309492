package images

import (
	"encoding/json"
	"errors"
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
