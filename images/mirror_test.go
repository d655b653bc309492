package images

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

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
