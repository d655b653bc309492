package images

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// settle makes all that the store has older than the clock's tick.
func settle(t *testing.T, s *Store) {
	t.Helper()
	for time.Since(time.Unix(0, s.indexStamp().CTime)) < 2*clockTick {
		time.Sleep(clockTick)
	}
}

// The remembered list is that of the images, whatever has become of the store or of it.
func TestList(t *testing.T) {
	s := newStore(t)
	a := pullLayout(t, s, make3(t, func(m *made) { m.config.Config.Labels = map[string]string{"k": "v"} }), "localhost/a:1")
	b := pullLayout(t, s, make3(t, func(m *made) { m.config.Author = "b" }), "localhost/b:1")
	same := func(what string) {
		t.Helper()
		all, err := s.Images()
		if err != nil {
			t.Fatal(err)
		}
		want := []Listed{}
		for _, i := range all {
			want = append(want, i.listed())
		}
		settle(t, s)
		for range 3 { // read, remembered, and from what was remembered
			if got, err := s.List(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n%+v\nnot\n%+v\n%v", what, got, want, err)
			}
		}
	}
	same("two images")
	if r := s.lastList(); len(r.Rows) != 2 || r.Stamp != s.indexStamp() {
		t.Fatalf("nothing is remembered: %+v", r)
	}
	if err := s.Tag(t.Context(), "a:1", "localhost/c:1"); err != nil {
		t.Fatal(err)
	}
	same("another name")
	if _, err := s.Remove(t.Context(), "b:1", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	same("one removed")
	for _, text := range []string{"", "{", `{"Version":1}`, `{"Version":99,"Rows":[{"ID":"x"}]}`, strings.Repeat("[", 1000)} {
		write(t, s.listPath(), []byte(text))
		same("the list is " + text)
	}
	if err := os.Remove(s.listPath()); err != nil {
		t.Fatal(err)
	}
	same("no list")
	if b.ID == a.ID {
		t.Error("one image")
	}
}

// A list that names files which are no longer what they were is not believed.
func TestListIsNotBelieved(t *testing.T) {
	s := newStore(t)
	a := pullLayout(t, s, make3(t, nil), "localhost/a:1")
	settle(t, s)
	if _, err := s.List(); err != nil {
		t.Fatal(err)
	}
	r := s.lastList()
	r.Rows[0].Size, r.Rows[0].Files[1].Size = 1, 1
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.listPath(), data)
	if got, err := s.List(); err != nil || got[0].Size != a.Size {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.Remove(s.blobPath(a.ID)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.List(); !errors.Is(err, ErrCorrupt) || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
