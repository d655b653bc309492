package userns

import (
	"fmt"
	"testing"
)

func TestInspect(t *testing.T) {
	s := fakeRoot(t, map[string]string{
		"proc/self/uid_map":  "0 0 200000\n",
		"proc/self/gid_map":  "0 0 4294967295\n",
		"etc/subuid":         "ann:100000:65536\nbob:165000:65536\nann:x:y\nann:300000:10\n",
		"etc/subgid":         "ann:100000:65536\n",
		"etc/passwd":         "ann:x:1000:1000::/h:/s\nsvc:x:120000:1::/h:/s\nnobody:x:65534:65534::/:/s\n",
		"etc/group":          "ann:x:1000:\nstaff:x:100001:ann\n",
		"etc/os-release":     "ID=debian\n",
		"usr/bin/newuidmap*": "",
	})
	r, err := s.inspect(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(rangesText(r.UIDs), "|", rangesText(r.GIDs), "|", rangesText(r.Outside), "|", r.Bad, "|", r.Shared)
	want := "100000-165535|100000-165535|300000-300009|[/etc/subuid:3: \"x\" is not an id]|" +
		"[/etc/subuid gives ids of 100000-165535 to bob too svc of /etc/passwd (id 120000) is in the range 100000-165535 staff of /etc/group (id 100001) is in the range 100000-165535]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(r.Helpers) != 2 || r.Helpers[0].Problem == "" || r.Helpers[0].Path == "" || r.Helpers[1].Problem != "not installed" || r.Helpers[1].Hint != "sudo apt-get install uidmap" {
		t.Errorf("%+v", r.Helpers)
	}
	if r.AddSubIDs != "sudo usermod --add-subuids 230536-296071 --add-subgids 230536-296071 ann" {
		t.Error(r.AddSubIDs)
	}
	r, err = s.inspect(t.Context(), Identity{SetID: true})
	if err != nil || !r.Root {
		t.Errorf("root: %+v, %v", r, err)
	}
}
