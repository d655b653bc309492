package images

import (
	"fmt"
	"net/http/httptest"
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

// A file whose values are of another kind than its keys want is an error: passed over, they
// would let another registry be asked.
func TestRegistriesAreChecked(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	for text, want := range map[string]string{
		`unqualified-search-registries = "a.example"`:                                       `unqualified-search-registries is a list of names`,
		`unqualified-search-registries = [true]`:                                            `unqualified-search-registries is a list of names`,
		`short-name-mode = "enforce"`:                                                       `short-name-mode is enforcing, permissive or disabled`,
		`aliases = ["a"]`:                                                                   `aliases is a table`,
		"[registry]\nlocation = 'a.example'":                                                `registry is a list of tables`,
		"[registries.search]\nregistries = ['a.example']":                                   `version 1`,
		"[[registry]]\nlocation = 'a.example'\nblocked = 'true'":                            `[[registry]]: blocked is true or false`,
		"[[registry]]\nblocked = true":                                                      `neither prefix nor location`,
		"[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\ninsecure = 'yes'":       `[[registry.mirror]]: insecure is true or false`,
		"[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\npull-from-mirror = 'x'": `pull-from-mirror is all, digest-only or tag-only`,
	} {
		write(t, conf, []byte(text))
		if _, err := newStore(t).Pull(t.Context(), "x.example/x:v1", PullOptions{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), conf) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// push and login keep to what registries.conf says of a registry, too.
func TestPushKeepsToRegistries(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	p := newPushed(t)
	write(t, conf, []byte("[[registry]]\nlocation = \""+p.host()+"/no\"\nblocked = true\n"))
	m := make3(t, nil)
	s := stored(t, m)
	name := onlyName(t, s)
	if _, err := s.Push(t.Context(), name, p.host()+"/no/x:v1", PushOptions{}); err == nil || !strings.Contains(err.Error(), "blocked by registries.conf") || len(p.asked) > 0 {
		t.Errorf("%v, asked %q", err, p.asked)
	}
	if _, err := s.Push(t.Context(), name, p.host()+"/yes/x:v1", PushOptions{}); err != nil {
		t.Error(err)
	}

	secure := httptest.NewTLSServer(p)
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	if _, err := s.Push(t.Context(), name, host+"/x:v1", PushOptions{}); err == nil {
		t.Error("an unknown authority is trusted")
	}
	write(t, conf, []byte("[[registry]]\nlocation = \""+host+"\"\ninsecure = true\n"))
	if _, err := s.Push(t.Context(), name, host+"/x:v1", PushOptions{}); err != nil {
		t.Error(err)
	}
	yes := true
	if _, err := s.Push(t.Context(), name, host+"/x:v1", PushOptions{Access: Access{TLSVerify: &yes}}); err == nil {
		t.Error("--tls-verify does not count")
	}
	if err := tryLogin(t.Context(), host, Access{}); err != nil {
		t.Errorf("login: %v", err)
	}
}
