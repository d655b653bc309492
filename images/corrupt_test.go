package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Everything that a registry can serve wrongly. The store is as before.
func TestPullRefuses(t *testing.T) {
	good := make3(t, nil)
	target := good.doc.Layers[1]
	body := func(data []byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }
	}
	flip := func(data []byte) []byte { out := append([]byte{}, data...); out[len(out)/2] ^= 1; return out }
	type answer = func(http.ResponseWriter, *http.Request)
	manifest := func(change func(*made)) answer {
		m := make3(t, change)
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", m.desc.MediaType)
			w.Write(m.manifest)
		}
	}
	self := []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"` + ocispec.MediaTypeImageIndex + `","digest":"sha256:` + hex64 + `","size":0}]}`)
	cases := []struct {
		what, where string // where: the end of the URL
		do          answer
		kind        error
		says        string
	}{
		{"layer, truncated", string(target.Digest), body(good.blobs[target.Digest][:100]), ErrCorrupt, "100 bytes"},
		{"layer, too long", string(target.Digest), body(append(flip(good.blobs[target.Digest]), 0)), ErrCorrupt, "bytes"},
		{"layer, endless", string(target.Digest), func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()                              // chunked: no length is said
			for n := 0; n < 64 && r.Context().Err() == nil; n++ { // not without end: the check may be what is broken
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, ErrCorrupt, "more than the"},
		{"layer, missing", string(target.Digest), http.NotFound, ErrNotFound, "no such"},
		{"configuration, corrupt", string(good.doc.Config.Digest), body(flip(good.blobs[good.doc.Config.Digest])), ErrCorrupt, "digest"},
		{"configuration, long", string(good.doc.Config.Digest), func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(make([]byte, 1<<20))
		}, ErrCorrupt, "more than"},
		{"manifest, a web page", "/manifests/v1", body([]byte("<html>")), ErrCorrupt, "web page"},
		{"manifest, no JSON", "/manifests/v1", body([]byte("hello")), ErrCorrupt, "the manifest: not JSON"},
		{"manifest, 5 MiB", "/manifests/v1", body(make([]byte, 5<<20)), ErrTooLarge, "4 MiB"},
		{"manifest, unknown type", "/manifests/v1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.evil+json")
			w.Write(good.manifest)
		}, ErrUnsupported, "evil"},
		{"schema 1", "/manifests/v1", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", dockerSchema1Sig)
			w.Write([]byte(`{"schemaVersion":1,"fsLayers":[],"history":[],"signatures":[]}`))
		}, ErrUnsupported, "schema 1"},
		{"layer of another type", "/manifests/v1", manifest(func(m *made) { m.doc.Layers[0].MediaType = "application/x-brotli" }), ErrUnsupported, "x-brotli"},
		{"layer type that lies", "/manifests/v1", manifest(func(m *made) {
			m.doc.Layers[0].MediaType = ocispec.MediaTypeImageLayerZstd
			maps3(good, m)
		}), layer.ErrMediaType, "unpack"},
		{"wrong diffID", "/manifests/v1", manifest(func(m *made) { m.config.RootFS.DiffIDs[2] = sha256Of(nil); maps3(good, m) }), layer.ErrDiffID, "unpack"},
		{"a diffID too few", "/manifests/v1", manifest(func(m *made) { m.config.RootFS.DiffIDs = m.config.RootFS.DiffIDs[:2]; maps3(good, m) }), ErrCorrupt, "2 diffIDs"},
		{"index in itself", "/manifests/v1", body(self), ErrCorrupt, ""},
		{"nothing", "/manifests/v1", http.NotFound, ErrNotFound, "no such"},
		{"no access", "/manifests/v1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, ErrNotFound, "refuses access"},
	}
	for _, c := range cases {
		for _, staged := range []bool{true, false} {
			if errors.Is(c.kind, layer.ErrDiffID) && !staged || errors.Is(c.kind, layer.ErrMediaType) && !staged {
				continue // seen when it is unpacked
			}
			reg := newRegistry(t)
			reg.serve("v1", good)
			reg.serve("extra", extraImages)
			reg.extra[hex64] = served{ocispec.MediaTypeImageIndex, self}
			reg.extra["sha256:"+hex64] = served{ocispec.MediaTypeImageIndex, self}
			s := newStore(t)
			st := newStage(t, s)
			before := snapshot(t, s)
			reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, c.where) {
					return false
				}
				c.do(w, r)
				return true
			}
			o := PullOptions{}
			if staged {
				o.Class, o.Stage = class, st.get
			}
			_, err := s.Pull(t.Context(), reg.host()+"/x:v1", o)
			if !errors.Is(err, c.kind) || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("%s: %v; want %v with %q", c.what, err, c.kind, c.says)
			}
			sameStore(t, c.what, before, snapshot(t, s))
			reg.Close()
		}
	}
}

// extraImages holds the blobs of the images that cases make.
var extraImages = &made{blobs: map[digest.Digest][]byte{}}

// maps3 lets the fake registry serve the configuration of a changed image.
func maps3(_, m *made) {
	raw, err := json.Marshal(m.config)
	if err != nil {
		panic(err)
	}
	extraImages.blobs[sha256Of(raw)] = raw
	for d, b := range m.blobs {
		extraImages.blobs[d] = b
	}
}

// Each blob of the image corrupted in turn, in every transport that reads files.
func TestEveryBlobIsChecked(t *testing.T) {
	m := make3(t, nil)
	dir := m.layout(t)
	for d := range m.blobs {
		for _, how := range []string{"flipped", "cut", "longer", "missing", "a pipe"} {
			s := newStore(t)
			st := newStage(t, s)
			before := snapshot(t, s)
			bad := t.TempDir()
			if err := os.CopyFS(bad, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			path, data := filepath.Join(bad, "blobs/sha256", d.Encoded()), append([]byte{}, m.blobs[d]...)
			switch how {
			case "flipped":
				data[len(data)/3] ^= 4
			case "cut":
				data = data[:len(data)-1]
			case "longer":
				data = append(data, 0)
			}
			os.Remove(path)
			switch how {
			case "missing":
			case "a pipe":
				run(t, "mkfifo", path)
			default:
				write(t, path, data)
			}
			img, err := s.Pull(t.Context(), "oci:"+bad, PullOptions{Class: class, Stage: st.get})
			if err == nil {
				t.Errorf("%s, %s: accepted as %v", d, how, img.Names)
			}
			sameStore(t, how, before, snapshot(t, s))
		}
	}
	// The control: unchanged it is accepted.
	s := newStore(t)
	if _, err := s.Pull(t.Context(), "oci:"+dir, PullOptions{Class: class, Stage: newStage(t, s).get}); err != nil {
		t.Error(err)
	}
}

// A digest that was asked for binds the registry.
func TestPullPinned(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.serve("v1", m)
	reg.extra["sha256:"+hex64] = served{m.desc.MediaType, m.manifest}
	s := newStore(t)
	if _, err := s.Pull(t.Context(), reg.host()+"/x:v1@sha256:"+hex64, PullOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if img, err := s.Pull(t.Context(), reg.host()+"/x:v1@"+string(m.desc.Digest), PullOptions{}); err != nil || img.Names[0] != reg.host()+"/x@"+string(m.desc.Digest) {
		t.Errorf("%v, %v", img, err)
	}
}

// What is damaged in the store is said, and mended by the next pull.
func TestDamagedStore(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.serve("v1", m)
	s := newStore(t)
	st := newStage(t, s)
	name := reg.host() + "/x:v1"
	pull := func() (*Image, error) {
		return s.Pull(t.Context(), name, PullOptions{Policy: PullAlways, Class: class, Stage: st.get})
	}
	img, err := s.Pull(t.Context(), name, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(m.doc.Layers, m.doc.Config, m.desc) {
		damaged := append([]byte{}, m.blobs[d.Digest]...)
		damaged[len(damaged)/2] ^= 1
		if err := os.WriteFile(s.blobPath(d.Digest), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if d.MediaType == m.desc.MediaType || d.MediaType == m.doc.Config.MediaType {
			os.RemoveAll(filepath.Join(s.root, "cache/names"))
			if _, err := s.Lookup(name); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", d.MediaType, err)
			}
		} else if _, err := s.Layers(t.Context(), img, class, st.get); !errors.Is(err, ErrCorrupt) || hintOf(err) == "" {
			t.Errorf("%s: %v", d.MediaType, err)
		} else if err := os.WriteFile(s.blobPath(d.Digest), damaged, 0o644); err != nil { // Layers has removed it
			t.Fatal(err)
		}
		if _, err := pull(); err != nil {
			t.Errorf("%s: %v", d.MediaType, err)
		}
		if got, err := os.ReadFile(s.blobPath(d.Digest)); err != nil || sha256Of(got) != d.Digest {
			t.Errorf("%s is not mended: %v", d.MediaType, err)
		}
		if err := os.RemoveAll(filepath.Join(s.root, "layers")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(s.root, "layers"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
