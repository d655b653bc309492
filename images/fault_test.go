package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// pushed is a registry that takes images, with a say in every request.
type pushed struct {
	*httptest.Server
	mu        sync.Mutex
	blobs     map[string][]byte // by digest
	uploads   map[string][]byte
	manifests map[string][]byte // by tag or digest
	types     map[string]string
	asked     []string
	sent      int64 // bytes of blobs
	meddle    func(w http.ResponseWriter, r *http.Request) bool
}

func newPushed(t *testing.T) *pushed {
	t.Helper()
	p := &pushed{blobs: map[string][]byte{}, uploads: map[string][]byte{}, manifests: map[string][]byte{}, types: map[string]string{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *pushed) host() string { return strings.TrimPrefix(p.URL, "http://") }

func (p *pushed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.URL.Path)
	meddle := p.meddle
	p.mu.Unlock()
	if meddle != nil && meddle(w, r) {
		return
	}
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case strings.Contains(r.URL.Path, "/uploads/"):
		p.upload(w, r, what)
	case strings.Contains(r.URL.Path, "/blobs/"):
		p.mu.Lock()
		data, ok := p.blobs[what]
		p.mu.Unlock()
		answer(w, data, "application/octet-stream", ok)
	case strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodPut:
		data, _ := io.ReadAll(r.Body)
		d := string(sha256Of(data))
		p.mu.Lock()
		for _, name := range []string{what, d} {
			p.manifests[name], p.types[name] = data, r.Header.Get("Content-Type")
		}
		p.mu.Unlock()
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(http.StatusCreated)
	case strings.Contains(r.URL.Path, "/manifests/"):
		p.mu.Lock()
		data, ok := p.manifests[what]
		p.mu.Unlock()
		answer(w, data, p.types[what], ok)
	case strings.Contains(r.URL.Path, "/referrers/"):
		w.WriteHeader(http.StatusNotFound)
	}
}

func answer(w http.ResponseWriter, data []byte, kind string, ok bool) {
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Write(data)
}

func (p *pushed) upload(w http.ResponseWriter, r *http.Request, id string) {
	data, err := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Method == http.MethodPost {
		id = fmt.Sprint("u", len(p.uploads))
		p.uploads[id] = nil
	} else if p.uploads[id] = append(p.uploads[id], data...); err != nil {
		return
	}
	p.sent += int64(len(data))
	w.Header().Set("Location", "/v2/x/blobs/uploads/"+id+"?state=secret-state")
	if n := len(p.uploads[id]); n > 0 {
		w.Header().Set("Range", fmt.Sprintf("0-%d", n-1))
	}
	switch r.Method {
	case http.MethodPut:
		d := r.URL.Query().Get("digest")
		if string(sha256Of(p.uploads[id])) != d {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		p.blobs[d] = p.uploads[id]
		w.WriteHeader(http.StatusCreated)
	case http.MethodGet:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func stored(t *testing.T, m *made) *Store {
	t.Helper()
	s := newStore(t)
	if _, err := s.Pull(t.Context(), "oci:"+m.layout(t), PullOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func onlyName(t *testing.T, s *Store) string {
	t.Helper()
	all, err := s.Images()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0].ID.Encoded()
}

// What goes wrong once or twice does not fail a push, and what arrives is right.
func TestPushThroughFaults(t *testing.T) {
	m := make3(t, nil)
	for _, c := range []struct {
		name   string
		meddle func(n int, w http.ResponseWriter, r *http.Request) bool
	}{
		{"as it should be", func(int, http.ResponseWriter, *http.Request) bool { return false }},
		{"a server error for each first upload", func(n int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && n == 1 {
				w.WriteHeader(http.StatusBadGateway)
			}
			return r.Method == http.MethodPut && n == 1
		}},
		{"too large in one piece", func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") && r.ContentLength > 0 {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return true
			}
			return false
		}},
		{"the connection is cut", func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n == 1 && (r.Method == http.MethodPut || r.Method == http.MethodPatch) {
				io.CopyN(io.Discard, r.Body, 100)
				panic(http.ErrAbortHandler)
			}
			return false
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPushed(t)
			var mu sync.Mutex
			seen := map[string]int{}
			p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				key := r.Method
				seen[key]++
				n := seen[key]
				mu.Unlock()
				return c.meddle(n, w, r)
			}
			s := stored(t, m)
			out, err := s.Push(t.Context(), onlyName(t, s), p.host()+"/x:v1", PushOptions{Access: Access{Delay: time.Millisecond}})
			if err != nil {
				t.Fatal(err)
			}
			if string(p.manifests["v1"]) != string(m.manifest) || out.Digest != m.desc.Digest {
				t.Errorf("another manifest arrived: %s", p.manifests["v1"])
			}
			for d, data := range m.blobs {
				if d != m.desc.Digest && string(p.blobs[string(d)]) != string(data) {
					t.Errorf("the blob %s did not arrive", d)
				}
			}
			before := p.sent
			again, err := s.Push(t.Context(), onlyName(t, s), p.host()+"/x:v1", PushOptions{})
			if err != nil || p.sent != before || again.Sent != 0 || again.Skipped != 4 {
				t.Errorf("the second push sent %d bytes, says %+v: %v", p.sent-before, again, err)
			}
		})
	}
}

// Failures that stay are errors that say what and where, and nothing of the
// secrets in addresses. Nothing else than that many tries is made.
func TestPushFails(t *testing.T) {
	m := make3(t, nil)
	s := stored(t, m)
	p := newPushed(t)
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut || r.Method == http.MethodPatch {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	one := 1
	_, err := s.Push(t.Context(), onlyName(t, s), p.host()+"/x:v1", PushOptions{Access: Access{Retry: &one, Delay: time.Millisecond}})
	if err == nil || strings.Contains(err.Error(), "secret-state") || !strings.Contains(err.Error(), p.host()) {
		t.Errorf("%v", err)
	}
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"\u001b[31mno"}]}`, http.StatusForbidden)
			return true
		}
		return false
	}
	_, err = s.Push(t.Context(), onlyName(t, s), p.host()+"/x:v1", PushOptions{})
	if err == nil || strings.Contains(err.Error(), "\x1b") || !strings.Contains(hintOf(err), "coracle login") {
		t.Errorf("%v; %s", err, hintOf(err))
	}
}

// Credentials stay with the registry that they are for, wherever it sends us.
func TestCredentialsStay(t *testing.T) {
	var mu sync.Mutex
	var leaked []string
	m := make3(t, nil)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if h := r.Header.Get("Authorization"); h != "" {
			leaked = append(leaked, h)
		}
		mu.Unlock()
		data, ok := m.blobs[digest.Digest(r.URL.Path[1:])]
		answer(w, data, "application/octet-stream", ok)
	}))
	defer elsewhere.Close()
	reg := newRegistry(t)
	reg.serve("v1", m)
	authorised := 0
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if _, pass, _ := r.BasicAuth(); pass != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		mu.Lock()
		authorised++
		mu.Unlock()
		if d, ok := strings.CutPrefix(r.URL.Path, "/v2/x/blobs/"); ok {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)+"/"+d, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	auth := filepath.Join(t.TempDir(), "auth.json")
	write(t, auth, []byte(`{"auths":{"`+reg.host()+`":{"auth":"YWRhOnNlY3JldA=="}}}`))
	if _, err := newStore(t).Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{AuthFile: auth}}); err != nil {
		t.Fatal(err)
	}
	if authorised == 0 || len(leaked) > 0 {
		t.Errorf("authorised %d times, leaked %q", authorised, leaked)
	}
}

// A token that expires in the middle of a blob is renewed, and the blob goes on
// where it was.
func TestTokenExpires(t *testing.T) {
	m := make3(t, nil)
	reg := newRegistry(t)
	reg.serve("v1", m)
	var mu sync.Mutex
	tokens, cuts, valid := 0, 0, 1
	var ranges []string
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			tokens++
			fmt.Fprintf(w, `{"token":"t%d"}`, tokens)
			return true
		}
		var n int
		if fmt.Sscanf(r.Header.Get("Authorization"), "Bearer t%d", &n); n < valid {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		d := digest.Digest(strings.TrimPrefix(r.URL.Path, "/v2/x/blobs/"))
		if r.Header.Get("Range") != "" {
			ranges = append(ranges, r.Header.Get("Range"))
		}
		if data := m.blobs[d]; d == m.doc.Layers[2].Digest && cuts < 1 && r.Header.Get("Range") == "" {
			cuts++
			valid = tokens + 1 // what was given is worth nothing now
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			w.Write(data[:1000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		return false
	}
	if _, err := newStore(t).Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{Delay: time.Millisecond}}); err != nil {
		t.Fatal(err)
	}
	if tokens < 2 || len(ranges) == 0 {
		t.Errorf("%d tokens, ranges %q", tokens, ranges)
	}
}

// Retry-After is kept to, as seconds and as a date, and bounded.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"5": 5 * time.Second, "100000": maxRetryAfter, "0": 0, "-1": 0, "x": 0, now.Add(7 * time.Second).Format(http.TimeFormat): 7 * time.Second} {
		d, ok := (&retryAfter{after: text}).wait(now)
		if ok != (want > 0) || ok && d != want {
			t.Errorf("%q: %s %v, not %s", text, d, ok, want)
		}
	}
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	var refused time.Time
	var early bool
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		if refused.IsZero() {
			refused = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		early = time.Since(refused) < time.Second
		return false
	}
	if _, err := newStore(t).Pull(t.Context(), reg.host()+"/x:v1", PullOptions{}); err != nil || early {
		t.Errorf("too early: %v, %v", early, err)
	}
}

// Mirrors are asked first, the registry when none has it; the image is called as
// it was asked for. What is blocked is not asked at all.
func TestMirrors(t *testing.T) {
	m := make3(t, nil)
	mirror, own := newRegistry(t), newRegistry(t)
	own.serve("v1", m)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	text := fmt.Sprintf(`unqualified-search-registries = [%q]
[[registry]]
prefix = "reg.example/team"
location = "%s/real"
insecure = true
[[registry.mirror]]
location = "%s/mirrored"
insecure = true
[[registry]]
prefix = "bad.example"
blocked = true
[aliases]
"short" = "reg.example/team/x"
`, own.host(), own.host(), mirror.host())
	write(t, conf, []byte(text))
	pull := func() (*Image, error) {
		return newStore(t).Pull(t.Context(), "reg.example/team/x:v1", PullOptions{})
	}
	img, err := pull()
	if err != nil || len(img.Names) != 1 || img.Names[0] != "reg.example/team/x:v1" {
		t.Fatal(img, err)
	}
	if len(mirror.asked) == 0 || !strings.Contains(strings.Join(own.asked, " "), "/v2/real/x/blobs/") {
		t.Errorf("mirror %q, own %q", mirror.asked, own.asked)
	}
	mirror.serve("v1", m)
	own.asked = nil
	if _, err = pull(); err != nil || len(own.asked) != 0 {
		t.Errorf("the mirror has it: %v, %q", err, own.asked)
	}
	s := newStore(t)
	if img, err = s.Pull(t.Context(), "short:v1", PullOptions{}); err != nil || img.Names[0] != "reg.example/team/x:v1" {
		t.Fatal(img, err)
	}
	if _, err := s.Lookup("short:v1"); err != nil {
		t.Error(err)
	}
	if img, err = s.Pull(t.Context(), "other:v1", PullOptions{}); err != nil || img.Names[0] != own.host()+"/other:v1" {
		t.Error(img, err)
	}
	if _, err := s.Pull(t.Context(), "bad.example/x:v1", PullOptions{}); err == nil || !strings.Contains(err.Error(), "blocked") {
		t.Error(err)
	}
	write(t, conf, []byte("registry = ["))
	if _, err := s.Pull(t.Context(), "a.example/x:v1", PullOptions{}); err == nil || !strings.Contains(err.Error(), conf) {
		t.Error(err)
	}
}

// The error of an address with a signature does not show it.
func TestWithoutURL(t *testing.T) {
	err := withoutURL(&url.Error{Op: "Get", URL: "https://ada:pw@h/x?sig=abc", Err: errors.New("no")})
	if s := err.Error(); strings.Contains(s, "abc") || strings.Contains(s, "pw") || !strings.Contains(s, "h/x") {
		t.Error(s)
	}
}

// zstd:chunked: the frames of the table's offsets are the files.
func TestChunked(t *testing.T) {
	m := make3(t, nil)
	s := stored(t, m)
	dir := filepath.Join(t.TempDir(), "d")
	if _, err := s.Push(t.Context(), onlyName(t, s), "dir:"+dir, PushOptions{Shape: Shape{Compression: chunkedName}}); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Layers []struct {
			Digest      digest.Digest
			Annotations map[string]string
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range doc.Layers {
		blob, err := os.ReadFile(filepath.Join(dir, l.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		var at, packed, size, kind int
		if _, err := fmt.Sscanf(l.Annotations[chunkedPosition], "%d:%d:%d:%d", &at, &packed, &size, &kind); err != nil {
			t.Fatal(err)
		}
		if string(sha256Of(blob[at:at+packed])) != l.Annotations[chunkedChecksum] {
			t.Error("the table's digest is another")
		}
		var toc struct{ Entries []chunkedEntry }
		table := unzst(t, blob[at:at+packed])
		if err := json.Unmarshal(table, &toc); err != nil || len(table) != size || len(toc.Entries) == 0 {
			t.Fatal(err, len(table), size)
		}
		for _, e := range toc.Entries {
			if got := unzst(t, blob[e.Offset:e.EndOffset]); string(sha256Of(got)) != e.Digest || int64(len(got)) != e.Size {
				t.Errorf("%s: %d bytes", e.Name, len(got))
			}
		}
	}
	if _, err := newStore(t).Pull(t.Context(), "dir:"+dir, PullOptions{}); err != nil {
		t.Error(err)
	}
}

func unzst(t *testing.T, data []byte) []byte {
	t.Helper()
	r, _, err := decompress(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
