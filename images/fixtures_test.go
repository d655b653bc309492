package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/images/layer"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const class = "single-0-0"

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// needs skips, or fails where everything has to work.
func needs(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CORACLE_MUST_WORK") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// made is an image in memory.
type made struct {
	blobs    map[digest.Digest][]byte
	manifest []byte
	desc     ocispec.Descriptor
	config   ocispec.Image
	doc      ocispec.Manifest
}

// tarOf packs name → content.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatPAX}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// make3 is an image with a gzip, a zstd and a plain layer.
func make3(t testing.TB, change func(*made)) *made {
	t.Helper()
	m := &made{blobs: map[digest.Digest][]byte{}}
	m.config = ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: defaultPlatform().Architecture}, RootFS: ocispec.RootFS{Type: "layers"}}
	m.config.Config = ocispec.ImageConfig{Cmd: []string{"/bin/sh"}, Env: []string{"A=b"}}
	m.doc = ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i, mt := range []string{ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd, ocispec.MediaTypeImageLayer} {
		plain := tarOf(t, map[string]string{"top": fmt.Sprint(i), fmt.Sprintf("dir/file%d", i): strings.Repeat(fmt.Sprint(i), 70000)})
		packed := plain
		switch i {
		case 0:
			packed = gz(t, plain)
		case 1:
			packed = zst(t, plain)
		}
		m.config.RootFS.DiffIDs = append(m.config.RootFS.DiffIDs, sha256Of(plain))
		m.doc.Layers = append(m.doc.Layers, m.add(mt, packed))
	}
	if change != nil {
		change(m)
	}
	m.seal(t)
	return m
}

func (m *made) add(mediaType string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: sha256Of(data), Size: int64(len(data))}
	m.blobs[d.Digest] = data
	return d
}

func (m *made) seal(t testing.TB) {
	t.Helper()
	config, err := json.Marshal(m.config)
	if err != nil {
		t.Fatal(err)
	}
	m.doc.Config = m.add(ocispec.MediaTypeImageConfig, config)
	if m.manifest, err = json.Marshal(m.doc); err != nil {
		t.Fatal(err)
	}
	m.desc = m.add(ocispec.MediaTypeImageManifest, m.manifest)
}

// layout writes the image as an OCI layout.
func (m *made) layout(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	for d, data := range m.blobs {
		write(t, filepath.Join(dir, "blobs/sha256", d.Encoded()), data)
	}
	idx := newIndex()
	idx.Manifests = append(idx.Manifests, m.desc)
	raw, err := json.Marshal(idx)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "index.json"), raw)
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// fakeRegistry serves what it has under any repository. meddle may answer
// first, and says whether it did.
type fakeRegistry struct {
	*httptest.Server
	mu     sync.Mutex
	tags   map[string]*made
	extra  map[string]served // by tag or digest
	meddle func(w http.ResponseWriter, r *http.Request) bool
	asked  []string
}

type served struct {
	mediaType string
	body      []byte
}

func newRegistry(t testing.TB) *fakeRegistry {
	t.Helper()
	r := &fakeRegistry{tags: map[string]*made{}, extra: map[string]served{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// serve sets what a tag means, and orders that before the requests to come,
// which another process may make.
func (f *fakeRegistry) serve(tag string, m *made) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[tag] = m
}

func (f *fakeRegistry) host() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.meddle != nil && f.meddle(w, r) {
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 3 {
		return
	}
	what, kind := parts[len(parts)-1], parts[len(parts)-2]
	if e, ok := f.extra[what]; ok {
		w.Header().Set("Content-Type", e.mediaType)
		w.Header().Set("Docker-Content-Digest", string(sha256Of(e.body)))
		w.Write(e.body)
		return
	}
	for tag, m := range f.tags {
		if kind == "manifests" && (what == tag || what == string(m.desc.Digest)) {
			w.Header().Set("Content-Type", m.desc.MediaType)
			w.Header().Set("Docker-Content-Digest", string(m.desc.Digest))
			w.Write(m.manifest)
			return
		}
		if data, ok := m.blobs[digest.Digest(what)]; ok && kind == "blobs" {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
	}
	http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
}

// snapshot is every file of the store with its content: what must not change.
func snapshot(t testing.TB, s *Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(s.root, path)
		if strings.HasPrefix(rel, "cache/names/") {
			return nil // only remembers
		}
		out[rel] = d.Type().String()
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			out[rel] = string(sha256Of(data))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameStore(t testing.TB, what string, before, after map[string]string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(after)) {
		if before[p] != after[p] {
			t.Errorf("%s: %s is new or has changed", what, p)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[p]; !ok {
			t.Errorf("%s: %s is gone", what, p)
		}
	}
}

// stageOf unpacks in this process, and counts.
type stageOf struct {
	layer.Stage
	mu               sync.Mutex
	unpacked, opened int
}

func newStage(t testing.TB, s *Store) *stageOf {
	t.Helper()
	st, err := layer.Local(s.root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return &stageOf{Stage: st}
}

func (s *stageOf) Unpack(ctx context.Context, r layer.Request) (layer.Result, error) {
	s.mu.Lock()
	s.unpacked++
	s.mu.Unlock()
	return s.Stage.Unpack(ctx, r)
}

func (s *stageOf) get() (layer.Stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	return s, nil
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// read finds a file in the layers, topmost first.
func readLayers(t testing.TB, dirs []string, name string) string {
	t.Helper()
	for _, d := range dirs {
		if data, err := os.ReadFile(filepath.Join(d, name)); err == nil {
			return string(data)
		}
	}
	t.Errorf("no layer has %s", name)
	return ""
}
