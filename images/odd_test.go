package images

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// An answer that never ends in the middle of a small document is left, too: a manifest, a
// list of tags, a token.
func TestDocumentStalls(t *testing.T) {
	for what, pull := range map[string]func(*Store, string, Access) error{
		"/manifests/": func(s *Store, host string, a Access) error {
			_, err := s.Pull(t.Context(), host+"/x:v1", PullOptions{Access: a})
			return err
		},
		"/tags/": func(s *Store, host string, a Access) error { _, err := s.Tags(t.Context(), host+"/x", a); return err },
		"/token": func(s *Store, host string, a Access) error { _, err := s.Tags(t.Context(), host+"/x", a); return err },
	} {
		reg := newRegistry(t)
		reg.serve("v1", make3(t, nil))
		reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if what == "/token" && r.URL.Path != "/token" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL+`/token",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			if !strings.Contains(r.URL.Path, what) {
				return false
			}
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"tags":["a"`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		none, done := 0, make(chan error, 1)
		go func() {
			done <- pull(newStore(t), reg.host(), Access{Retry: &none, Stall: 50 * time.Millisecond})
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), reg.host()+" sends nothing for 50ms") {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it waits for ever", what)
		}
	}
}

// A registry that sends a byte now and then is left, at each try: it would be waited for without end.
func TestPullDrips(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.serve("v1", m)
	tried := 0
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, string(m.doc.Layers[2].Digest)) {
			return false
		}
		tried++
		w.Header().Set("Content-Length", fmt.Sprint(m.doc.Layers[2].Size))
		for _, b := range m.blobs[m.doc.Layers[2].Digest] {
			if _, err := w.Write([]byte{b}); err != nil || r.Context().Err() != nil {
				return true
			}
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
		return true
	}
	s := newStore(t)
	before := snapshot(t, s)
	once, done := 1, make(chan error, 1)
	go func() {
		_, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{Retry: &once, Delay: time.Millisecond, Stall: time.Second}})
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "sends less than 17 bytes in 1s") || tried != 2 {
			t.Errorf("%v, after %d tries", err, tried)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for ever")
	}
	sameStore(t, "dripping", before, snapshot(t, s))
}

// A reader that is slow is no registry that is silent.
func TestSlowReader(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.serve("v1", m)
	ref, err := ParseReference(reg.host() + "/x:v1")
	if err != nil {
		t.Fatal(err)
	}
	none := 0
	src, err := newRegistrySource(t.Context(), ref, Access{Retry: &none, Stall: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	r, err := src.blob(t.Context(), m.doc.Layers[2])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err = io.CopyN(io.Discard, r, 10); err == nil {
		time.Sleep(100 * time.Millisecond)
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		t.Error(err)
	}
}

// A registry that cannot go on in the middle of a blob, whatever it says of it, is asked
// for the whole again.
func TestOddRanges(t *testing.T) {
	m := make3(t, nil)
	big := m.doc.Layers[2]
	data := m.blobs[big.Digest]
	for name, answer := range map[string]func(w http.ResponseWriter){
		"not satisfiable": func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
		"another place": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 10-%d/%d", len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[10:])
		},
		"several parts": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, "--x\r\n\r\n")
			w.Write(data)
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := newRegistry(t)
			reg.serve("v1", m)
			cut, ranges := false, 0
			reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
				if digest.Digest(strings.TrimPrefix(r.URL.Path, "/v2/x/blobs/")) != big.Digest {
					return false
				}
				if r.Header.Get("Range") != "" {
					ranges++
					answer(w)
					return true
				}
				if cut {
					return false
				}
				cut = true
				w.Header().Set("Content-Length", fmt.Sprint(len(data)))
				w.Write(data[:50000])
				panic(http.ErrAbortHandler)
			}
			s := newStore(t)
			if _, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{Delay: time.Millisecond}}); err != nil {
				t.Error(err)
			}
			if ranges != 1 {
				t.Errorf("asked for %d ranges", ranges)
			}
		})
	}
}

// Lists of tags that go in a circle, are too long, or are empty.
func TestOddTags(t *testing.T) {
	pages := 0
	for name, c := range map[string]struct {
		body, link, want string
		tags             int
	}{
		"a circle":     {`{"tags":["a","b"]}`, `</v2/x/tags/list?last=b>; rel="next"`, "goes in a circle", 0},
		"too long":     {`{"tags":["` + strings.Repeat("a", maxManifest) + `"]}`, "", "more than 4 MiB", 0},
		"none":         {`{"tags":null}`, "", "", 0},
		"twice":        {`{"tags":["a","a","\u001b[31m","../b"]}`, "", "", 1},
		"a web page":   {`<html>`, "", "web page", 0},
		"empty page":   {`{"tags":[]}`, `</v2/x/tags/list?last=b>; rel="next"`, "goes in a circle", 0},
		"another host": {`{"tags":["a"]}`, `<http://192.0.2.1/v2/x/tags/list>; rel="next"`, "elsewhere", 0},
	} {
		reg := newRegistry(t)
		reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/tags/list") {
				return false
			}
			pages++
			if c.link != "" {
				w.Header().Set("Link", c.link)
			}
			io.WriteString(w, c.body)
			return true
		}
		pages = 0
		tags, err := newStore(t).Tags(t.Context(), reg.host()+"/x", Access{})
		if len(tags) != c.tags || (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) || pages > 2 {
			t.Errorf("%s: %q, %d pages: %v", name, tags, pages, err)
		}
	}
}

// What comes instead of a registry's answer is told by its status and kind, not shown.
func TestWebPages(t *testing.T) {
	for status, want := range map[int]string{500: "500 Internal Server Error", 200: "text/html"} {
		reg := newRegistry(t)
		reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(status)
			io.WriteString(w, "<html>"+strings.Repeat("z", 100000))
			return true
		}
		_, err := newStore(t).Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Access: Access{Delay: time.Millisecond}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "<html>") {
			t.Errorf("%d: %.300v", status, err)
		}
	}
}
