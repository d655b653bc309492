package images

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
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
"hub" = "docker.io/hub"
"gone" = ""
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
		`unqualified-search-registries = ["https://a.example"]`:                             `unqualified-search-registries is a list of names`,
		"[aliases]\na = 'a.example/a:1'":                                                    `aliases is a table`,
		"[aliases]\na = 'a.example:5000/a@sha256:" + strings.Repeat("0", 64) + "'":          `aliases is a table`,
		"[aliases]\na = 'b'":                                                                `aliases is a table`,
		"[[registry]]\nprefix = 'https://a.example'\nblocked = true":                        `[[registry]]: prefix is a name`,
		"[[registry]]\nprefix = '*.a.example/team'\nblocked = true":                         `[[registry]]: prefix is a name`,
		"[[registry]]\nprefix = 'a.*.example'\nblocked = true":                              `[[registry]]: prefix is a name`,
		"[[registry]]\nlocation = 'http://a.example'":                                       `[[registry]]: location is a name`,
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

// An entry is for what podman takes it for: all ports of a host that is named without one,
// what is below *.DOMAIN, and a place with a slash behind it.
func TestRegistryPrefixes(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, c := range []struct {
		prefix, name string
		want         bool
	}{
		{"r.example", "r.example/a", true},
		{"r.example", "r.example:5000/a", true},
		{"r.example/", "r.example/a", true},
		{"r.example", "r.example.org/a", false},
		{"r.example:5000", "r.example:5000/a", true},
		{"r.example:5000", "r.example/a", false},
		{"r.example/a", "r.example/a", true},
		{"r.example/a/", "r.example/a/b", true},
		{"r.example/a", "r.example/ab", false},
		{"*.example", "r.example/a", true},
		{"*.example", "x.r.example:5000/a", true},
		{"*.example", "example/a", false},
		{"*.example", "r.example.org/a", false},
	} {
		write(t, conf, []byte("[[registry]]\nprefix = \""+c.prefix+"\"\nblocked = true\n"))
		ref, err := ParseReference(c.name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = permitted(ref, Access{})
		if got := err != nil && strings.Contains(err.Error(), "blocked"); got != c.want {
			t.Errorf("%s, asked for %s: %v", c.prefix, c.name, err)
		}
	}
	for location, want := range map[string]string{"m.example/": "m.example/team/a:v1", "m.example:5000/sub": "m.example:5000/sub/team/a:v1"} {
		write(t, conf, []byte("[[registry]]\nprefix = \"r.example/\"\nlocation = \""+location+"\"\n"))
		c, err := readRegistries()
		if err != nil {
			t.Fatal(err)
		}
		ref, _ := ParseReference("r.example/team/a:v1")
		if list, err := c.endpoints(ref); err != nil || len(list) != 1 || list[0].ref.String() != want {
			t.Errorf("%s: %v, %v", location, list, err)
		}
	}
}

// What the environment names stands instead of registries.conf, and not of what is beside it.
func TestRegistriesBesideNamed(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	conf := filepath.Join(home, "named.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	write(t, conf, []byte("unqualified-search-registries = [\"named.example\"]\n"))
	if err := os.MkdirAll(filepath.Join(home, "containers/registries.conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, "containers/registries.conf"), []byte("[[registry]]\nlocation = \"own.example\"\nblocked = true\n"))
	write(t, filepath.Join(home, "containers/registries.conf.d/a.conf"), []byte("[[registry]]\nlocation = \"beside.example\"\nblocked = true\n"))
	c, err := readRegistries()
	if err != nil || len(c.search) != 1 {
		t.Fatal(c, err)
	}
	for name, want := range map[string]bool{"own.example/a": false, "beside.example/a": true} {
		ref, _ := ParseReference(name)
		if r, _ := c.match(ref); (r != nil) != want {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// The tags of a registry that registries.conf calls insecure are listed as its images are pulled.
func TestTagsOfInsecure(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		fmt.Fprint(w, `{"tags": ["v1"]}`)
		return true
	}
	secure := httptest.NewTLSServer(reg.Config.Handler)
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	write(t, conf, []byte("[[registry]]\nlocation = \""+host+"\"\ninsecure = true\n"))
	if _, err := newStore(t).Pull(t.Context(), host+"/x:v1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if tags, err := newStore(t).Tags(t.Context(), host+"/x", Access{}); err != nil || len(tags) != 1 {
		t.Errorf("%v, %v", tags, err)
	}
}
