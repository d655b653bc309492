package images

import (
	"net/http"
	"strings"
	"testing"
)

// What was pushed to one repository is mounted into the next one of that registry, and
// nothing is asked for elsewhere. A record that is damaged, or says what is not so, costs
// an upload.
func TestPushMountsWhatWasPushed(t *testing.T) {
	m := make3(t, nil)
	s := stored(t, m)
	name := onlyName(t, s)
	p := newPushed(t)
	var froms []string
	refuse := false
	p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		repository := strings.Split(r.URL.Path, "/")
		if len(repository) < 4 || repository[3] != "blobs" {
			return false
		}
		if r.Method == http.MethodHead { // each repository has its own
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		from := r.URL.Query().Get("from")
		if from == "" {
			return false
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		froms = append(froms, from)
		if refuse || len(p.blobs[r.URL.Query().Get("mount")]) == 0 {
			return false
		}
		w.WriteHeader(http.StatusCreated)
		return true
	}
	push := func(to string, o PushOptions) *Pushed {
		t.Helper()
		froms = nil
		out, err := s.Push(t.Context(), name, to, o)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := push(p.host()+"/one:v1", PushOptions{}); out.Mounted != 0 || len(froms) > 0 {
		t.Errorf("the first: %+v, from %q", out, froms)
	}
	if out := push(p.host()+"/two:v1", PushOptions{}); out.Mounted != 4 || out.Sent != 0 || len(froms) != 4 || froms[0] != "one" {
		t.Errorf("the second: %+v, from %q", out, froms)
	}
	zstd := PushOptions{Shape: Shape{Compression: "zstd"}}
	push(p.host()+"/three:v1", zstd)
	if out := push(p.host()+"/four:v1", zstd); out.Mounted != 4 || out.Sent != 0 {
		t.Errorf("compressed: %+v, from %q", out, froms)
	}
	other := newPushed(t)
	other.meddle = p.meddle
	if out := push(other.host()+"/two:v1", PushOptions{}); out.Mounted != 0 || len(froms) > 0 {
		t.Errorf("another registry: %+v, from %q", out, froms)
	}
	refuse = true
	if out := push(p.host()+"/five:v1", PushOptions{}); out.Mounted != 0 || out.Sent == 0 || len(froms) == 0 {
		t.Errorf("not mounted: %+v, from %q", out, froms)
	}
	write(t, s.sentPath(), []byte("{"))
	if out := push(p.host()+"/six:v1", PushOptions{}); out.Mounted != 0 || len(froms) > 0 {
		t.Errorf("damaged: %+v, from %q", out, froms)
	}
}
