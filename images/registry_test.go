package images

import (
	"context"
	"encoding/base64"
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
)

// A connection that breaks is taken up again where it was.
func TestPullResumes(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.serve("v1", m)
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
	reg.serve("v1", m)
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
	reg.serve("v1", m)
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
	_, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{Stall: 50 * time.Millisecond}})
	if err == nil || !strings.Contains(err.Error(), "sends nothing") {
		t.Errorf("%v", err)
	}
	sameStore(t, "stalled", before, snapshot(t, s))
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
	g := &schemeGuard{inner: http.DefaultTransport, host: "10.0.0.1:5000", stall: stallTimeout}
	if _, err := g.RoundTrip(httptest.NewRequest("GET", "http://10.0.0.1:5000/v2/", nil)); !errors.Is(err, errPlainHTTP) {
		t.Errorf("%v", err)
	}
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	no, yes := false, true
	s := newStore(t)
	if _, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{TLSVerify: &yes}}); err == nil {
		t.Error("plain HTTP in spite of --tls-verify")
	}
	tlsReg := httptest.NewTLSServer(reg)
	defer tlsReg.Close()
	name := strings.TrimPrefix(tlsReg.URL, "https://") + "/x:v1"
	if _, err := s.Pull(t.Context(), name, PullOptions{Access: Access{TLSVerify: &yes}}); err == nil || !strings.Contains(hintOf(err), "--tls-verify=false") {
		t.Errorf("an unknown authority: %v", err)
	}
	if _, err := s.Pull(t.Context(), name, PullOptions{Access: Access{TLSVerify: &no}}); err != nil {
		t.Errorf("--tls-verify=false: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	m := make3(t, nil)
	elsewhere := newRegistry(t)
	elsewhere.serve("v1", m)
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
		reg.serve("v1", m)
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
	if _, err := credentialsFor(Reference{Domain: "x", Path: "y"}, ""); err == nil {
		t.Error("a file that was named and is missing is passed over")
	}
}
