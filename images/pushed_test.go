package images

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
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
