package images

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

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

// The error of an address with a signature does not show it.
func TestWithoutURL(t *testing.T) {
	err := withoutURL(&url.Error{Op: "Get", URL: "https://ada:pw@h/x?sig=abc", Err: errors.New("no")})
	if s := err.Error(); strings.Contains(s, "abc") || strings.Contains(s, "pw") || !strings.Contains(s, "h/x") {
		t.Error(s)
	}
}
