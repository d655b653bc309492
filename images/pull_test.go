package images

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestPullFromRegistry(t *testing.T) {
	reg := newRegistry(t)
	reg.tags["v1"] = make3(t, nil)
	s := newStore(t)
	st := newStage(t, s)
	name := reg.host() + "/me/app:v1"
	img, err := s.Pull(t.Context(), name, PullOptions{Class: class, Stage: st.get})
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Names) != 1 || img.Names[0] != name || st.unpacked != 3 || st.opened != 1 {
		t.Errorf("%v, %d unpacked, %d stages", img.Names, st.unpacked, st.opened)
	}
	dirs, err := s.Layers(t.Context(), img, class, func() (layer.Stage, error) { return nil, errors.New("not needed") })
	if err != nil || len(dirs) != 3 || readLayers(t, dirs, "top") != "2" || len(readLayers(t, dirs, "dir/file0")) != 70000 {
		t.Errorf("%v, %v", dirs, err)
	}
	if r, err := s.LayerRecords(img, class); err != nil || len(r) != 3 || r[1].DiffID != img.DiffIDs[1] {
		t.Errorf("%v, %v", r, err)
	}
	for _, d := range []string{"tmp", "locks", "leases"} {
		if l, err := os.ReadDir(filepath.Join(s.root, d)); err != nil || len(l) != 0 {
			t.Errorf("%s: %v, %v", d, l, err)
		}
	}
	// All is there: nothing is asked.
	asked := len(reg.asked)
	if _, err := s.Pull(t.Context(), name, PullOptions{Class: class, Stage: st.get}); err != nil || len(reg.asked) != asked {
		t.Errorf("%v, asked %v", err, reg.asked[asked:])
	}
	// Another class shares the blobs.
	if _, err := s.Layers(t.Context(), img, "single-1-1", st.get); err != nil || st.unpacked != 6 {
		t.Errorf("%v, %d unpacked", err, st.unpacked)
	}
	i, err := s.Inspect(name)
	if err != nil || i.ID != string(img.ID) || len(i.RootFS.Layers) != 3 || i.RepoTags[0] != name || i.RepoDigests[0] != reg.host()+"/me/app@"+string(img.Manifest.Digest) {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestPullPolicies(t *testing.T) {
	reg := newRegistry(t)
	old, fresh := make3(t, nil), make3(t, func(m *made) { m.config.Author = "new" })
	reg.tags["t"] = old
	s := newStore(t)
	name := reg.host() + "/x:t"
	pull := func(p Policy) (*Image, error) { return s.Pull(t.Context(), name, PullOptions{Policy: p}) }
	if _, err := pull(PullNever); !errors.Is(err, ErrNotFound) {
		t.Errorf("never: %v", err)
	}
	if _, err := pull("sometimes"); err == nil {
		t.Error("an unknown policy is accepted")
	}
	if img, err := pull(""); err != nil || img.Manifest.Digest != old.desc.Digest {
		t.Fatal(err)
	}
	if img, err := pull(PullNewer); err != nil || img.Manifest.Digest != old.desc.Digest {
		t.Errorf("newer, unchanged: %v", err)
	}
	reg.tags["t"] = fresh
	for _, c := range []struct {
		p    Policy
		want *made
	}{{PullNever, old}, {PullMissing, old}, {PullNewer, fresh}, {PullAlways, fresh}} {
		if img, err := pull(c.p); err != nil || img.Manifest.Digest != c.want.desc.Digest {
			t.Errorf("%s: %v, %v", c.p, img, err)
		}
	}
	if list, err := s.Images(); err != nil || len(list) != 2 {
		t.Errorf("the old image is not kept: %v, %v", list, err)
	}
	reg.Close()
	if img, err := pull(PullNewer); err != nil || img.Manifest.Digest != fresh.desc.Digest {
		t.Errorf("newer, registry gone: %v", err)
	}
	if _, err := pull(PullAlways); err == nil {
		t.Error("always, registry gone: no error")
	}
}

func TestPullByDigestAndIndex(t *testing.T) {
	reg := newRegistry(t)
	other := make3(t, func(m *made) { m.config.Architecture = "s390x" })
	mine := make3(t, nil)
	reg.tags["other"], reg.tags["mine"] = other, mine
	with := func(m *made, arch string) ocispec.Descriptor {
		d := m.desc
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		return d
	}
	idx := newIndex()
	idx.Manifests = []ocispec.Descriptor{with(other, "s390x"), with(mine, defaultPlatform().Architecture)}
	raw, err := json.Marshal(idx)
	if err != nil {
		t.Fatal(err)
	}
	dgst := string(sha256Of(raw))
	reg.extra["multi"] = served{ocispec.MediaTypeImageIndex, raw}
	reg.extra[dgst] = reg.extra["multi"]
	s := newStore(t)
	repo := reg.host() + "/x"
	img, err := s.Pull(t.Context(), repo+":multi@"+dgst, PullOptions{})
	if err != nil || img.Manifest.Digest != mine.desc.Digest || string(img.Source) != dgst {
		t.Fatalf("%v, %v", img, err)
	}
	if got, err := s.Lookup(repo + "@" + dgst); err != nil || got.ID != img.ID {
		t.Errorf("%v", err)
	}
	if img, err = s.Pull(t.Context(), repo+":multi", PullOptions{Platform: "linux/s390x"}); err != nil || img.Config.Architecture != "s390x" {
		t.Errorf("%v, %v", img, err)
	}
	// The local image is for another platform: fetched again.
	if img, err = s.Pull(t.Context(), repo+":multi", PullOptions{}); err != nil || img.Manifest.Digest != mine.desc.Digest {
		t.Errorf("%v, %v", img, err)
	}
	if _, err = s.Pull(t.Context(), repo+":multi", PullOptions{Platform: "linux/mips64le"}); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/s390x") || hintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if _, err = s.Pull(t.Context(), repo+":other", PullOptions{}); !errors.Is(err, ErrPlatform) {
		t.Errorf("a single image for another platform: %v", err)
	}
}

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
		{"manifest, a web page", "/manifests/v1", body([]byte("<html>")), ErrCorrupt, "JSON"},
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
			reg.tags["v1"] = good
			reg.tags["extra"] = extraImages
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

// A connection that breaks is taken up again where it was.
func TestPullResumes(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.tags["v1"] = m
	big := m.doc.Layers[2]
	var ranges []string
	broken := map[string]int{}
	var mu sync.Mutex
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		broken[r.URL.Path]++
		switch n := broken[r.URL.Path]; {
		case strings.HasSuffix(r.URL.Path, "/manifests/v1") && n == 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(429)
		case strings.HasSuffix(r.URL.Path, string(big.Digest)) && n == 1:
			w.Header().Set("Content-Length", fmt.Sprint(big.Size))
			w.Write(m.blobs[big.Digest][:50000])
			panic(http.ErrAbortHandler)
		case strings.HasSuffix(r.URL.Path, string(big.Digest)) && n == 2:
			w.WriteHeader(503)
		default:
			if strings.HasSuffix(r.URL.Path, string(big.Digest)) {
				ranges = append(ranges, r.Header.Get("Range"))
			}
			return false
		}
		return true
	}
	s := newStore(t)
	if _, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 1 || !strings.HasPrefix(ranges[0], "bytes=") || ranges[0] == "bytes=0-" {
		t.Errorf("asked for %q", ranges)
	}
}

func TestPullIsCancelled(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.tags["v1"] = m
	stuck := make(chan struct{})
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, string(m.doc.Layers[2].Digest)) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(m.doc.Layers[2].Size))
		w.Write(m.blobs[m.doc.Layers[2].Digest][:1000])
		w.(http.Flusher).Flush()
		close(stuck)
		<-r.Context().Done()
		return true
	}
	s := newStore(t)
	before := snapshot(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-stuck; time.Sleep(20 * time.Millisecond); cancel() }()
	if _, err := s.Pull(ctx, reg.host()+"/x:v1", PullOptions{Class: class, Stage: newStage(t, s).get}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	sameStore(t, "cancelled", before, snapshot(t, s))
}

// A registry that falls silent is left.
func TestPullStalls(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.tags["v1"] = m
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, string(m.doc.Layers[2].Digest)) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(m.doc.Layers[2].Size))
		w.Write(m.blobs[m.doc.Layers[2].Digest][:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	s := newStore(t)
	before := snapshot(t, s)
	_, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{stall: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "sends nothing") {
		t.Errorf("%v", err)
	}
	sameStore(t, "stalled", before, snapshot(t, s))
}

// A digest that was asked for binds the registry.
func TestPullPinned(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.tags["v1"] = m
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
	reg.tags["v1"] = m
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

// Plain HTTP passes on loopback only; credentials do not follow a redirect.
func TestPullGuards(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5": true, "127.9.9.9": true, "[::1]:80": true, "a.localhost:1": true,
		"10.0.0.1:5000": false, "192.168.1.1": false, "docker.io": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "[::2]": false, "notlocalhost": false,
	} {
		if isLoopback(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
	g := &schemeGuard{inner: http.DefaultTransport, host: "10.0.0.1:5000"}
	if _, err := g.RoundTrip(httptest.NewRequest("GET", "http://10.0.0.1:5000/v2/", nil)); !errors.Is(err, errPlainHTTP) {
		t.Errorf("%v", err)
	}
	reg := newRegistry(t)
	reg.tags["v1"] = make3(t, nil)
	no, yes := false, true
	s := newStore(t)
	if _, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{TLSVerify: &yes}); err == nil {
		t.Error("plain HTTP in spite of --tls-verify")
	}
	tlsReg := httptest.NewTLSServer(reg)
	defer tlsReg.Close()
	name := strings.TrimPrefix(tlsReg.URL, "https://") + "/x:v1"
	if _, err := s.Pull(t.Context(), name, PullOptions{TLSVerify: &yes}); err == nil || !strings.Contains(hintOf(err), "--tls-verify=false") {
		t.Errorf("an unknown authority: %v", err)
	}
	if _, err := s.Pull(t.Context(), name, PullOptions{TLSVerify: &no}); err != nil {
		t.Errorf("--tls-verify=false: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	m := make3(t, nil)
	elsewhere := newRegistry(t)
	elsewhere.tags["v1"] = m
	var leaked []string
	elsewhere.meddle = func(_ http.ResponseWriter, r *http.Request) bool {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked = append(leaked, a)
		}
		return false
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
	for _, scheme := range []string{"basic", "bearer"} {
		reg := newRegistry(t)
		reg.tags["v1"] = m
		reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			want := basic
			switch {
			case r.URL.Path == "/token":
				if r.Header.Get("Authorization") != basic {
					w.WriteHeader(401)
				} else {
					fmt.Fprint(w, `{"token":"tok"}`)
				}
				return true
			case scheme == "bearer":
				want = "Bearer tok"
			}
			if r.Header.Get("Authorization") != want {
				challenge := `Basic realm="x"`
				if scheme == "bearer" {
					challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="s"`, r.Host)
				}
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(401)
				return true
			}
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		}
		for _, c := range []struct {
			key, auth string
			works     bool
		}{{reg.host(), "me:secret", true}, {reg.host() + "/team", "me:secret", true}, {reg.host(), "me:wrong", false}, {"other.example", "me:secret", false}} {
			file := filepath.Join(t.TempDir(), "auth.json")
			write(t, file, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, c.key, base64.StdEncoding.EncodeToString([]byte(c.auth))))
			t.Setenv("REGISTRY_AUTH_FILE", file)
			_, err := newStore(t).Pull(t.Context(), reg.host()+"/team/x:v1", PullOptions{})
			if (err == nil) != c.works || err != nil && !strings.Contains(hintOf(err), "credentials") {
				t.Errorf("%s, %+v: %v; hint %q", scheme, c, err, hintOf(err))
			}
		}
		t.Setenv("REGISTRY_AUTH_FILE", "")
		t.Setenv("XDG_RUNTIME_DIR", "")
		t.Setenv("XDG_CONFIG_HOME", "")
		t.Setenv("DOCKER_CONFIG", "")
		home := t.TempDir()
		t.Setenv("HOME", home)
		if err := os.Mkdir(filepath.Join(home, ".docker"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, ".docker/config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":"bWU6c2VjcmV0"}}}`, reg.host()))
		if _, err := newStore(t).Pull(t.Context(), reg.host()+"/x:v1", PullOptions{}); err != nil {
			t.Errorf("docker's file: %v", err)
		}
	}
	if len(leaked) > 0 {
		t.Errorf("credentials were sent to another host: %q", leaked)
	}
	t.Setenv("REGISTRY_AUTH_FILE", "/nonexistent/auth.json")
	if _, err := credentials(Reference{Domain: "x", Path: "y"}); err == nil {
		t.Error("a file that was named and is missing is passed over")
	}
}

func TestPullsAtOnce(t *testing.T) {
	reg := newRegistry(t)
	reg.tags["v1"] = make3(t, nil)
	reg.tags["v2"] = make3(t, func(m *made) { m.config.Author = "2" })
	s := newStore(t)
	st := newStage(t, s)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			own, err := Open(s.root, Options{})
			if err == nil {
				_, err = own.Pull(t.Context(), fmt.Sprintf("%s/x:v%d", reg.host(), 1+i%2), PullOptions{Policy: PullAlways, Class: class, Stage: st.get})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	blobs := 0
	for _, a := range reg.asked {
		if strings.Contains(a, string(reg.tags["v1"].doc.Layers[0].Digest)) {
			blobs++
		}
	}
	if blobs != 1 || st.unpacked != 3 {
		t.Errorf("the layer was fetched %d times, %d layers were unpacked", blobs, st.unpacked)
	}
}
