package images

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config/types"
)

// userOf is as whom a registry is asked for an image, with a file of credentials.
func userOf(t *testing.T, file, name string) string {
	t.Helper()
	ref, err := ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := credentialsFor(ref, file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := auth.Authorization()
	if err != nil {
		t.Fatal(err)
	}
	return c.Username
}

// loginsFile has logins by key: the user is called as the value says.
func loginsFile(t *testing.T, path string, users map[string]string) string {
	t.Helper()
	var entries []string
	for key, user := range users {
		entries = append(entries, `"`+key+`": {"auth": "`+base64.StdEncoding.EncodeToString([]byte(user+":secret"))+`"}`)
	}
	write(t, path, []byte(`{"auths": {`+strings.Join(entries, ", ")+`}}`))
	return path
}

// A repository's login is for what is below it and nothing else, and each program's way
// to write a registry is understood.
func TestCredentialKeys(t *testing.T) {
	home := authHome(t)
	for _, c := range []struct {
		users map[string]string
		name  string
		want  string
	}{
		{map[string]string{"docker.io": "podman"}, "busybox", "podman"},
		{map[string]string{"https://index.docker.io/v1/": "docker"}, "busybox", "docker"},
		{map[string]string{"docker.io/team": "team", "https://index.docker.io/v1/": "docker"}, "team/app", "team"},
		{map[string]string{"docker.io/team": "team"}, "other/app", ""},
		{map[string]string{"r.example/team": "team"}, "r.example/team/app", "team"},
		{map[string]string{"r.example/team": "team"}, "r.example/team", "team"},
		{map[string]string{"r.example/team": "team"}, "r.example/other/app", ""},
		{map[string]string{"r.example/team": "team"}, "r.example/teamster", ""},
		{map[string]string{"r.example/team": "team", "r.example": "all"}, "r.example/other/app", "all"},
		{map[string]string{"https://r.example/v1/": "old"}, "r.example/app", "old"},
		{map[string]string{"https://r.example": "old", "r.example": "new"}, "r.example/app", "new"},
		{map[string]string{"r.example/v2/": "old"}, "r.example/app", "old"},
		{map[string]string{"https://r.example:5000/v1/": "old"}, "r.example/app", ""},
		{map[string]string{"https://r.example.evil/v1/": "old"}, "r.example/app", ""},
	} {
		file := loginsFile(t, filepath.Join(home, "auth.json"), c.users)
		if got := userOf(t, file, c.name); got != c.want {
			t.Errorf("%v: %s is asked for as %q, want %q", c.users, c.name, got, c.want)
		}
	}
}

// $DOCKER_AUTH_CONFIG counts for more than docker's file, as with docker, and is not asked
// when another file is named.
func TestCredentialsOfEnvironment(t *testing.T) {
	home := authHome(t)
	if err := os.Mkdir(filepath.Join(home, ".docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	loginsFile(t, filepath.Join(home, ".docker/config.json"), map[string]string{"r.example": "file", "s.example": "file"})
	named := loginsFile(t, filepath.Join(home, "named.json"), map[string]string{"r.example": "named"})
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths": {"r.example": {"auth": "ZW52OnNlY3JldA=="}}}`)
	for _, c := range [][3]string{{"", "r.example/x", "env"}, {"", "s.example/x", "file"}, {named, "r.example/x", "named"}} {
		if got := userOf(t, c[0], c[1]); got != c[2] {
			t.Errorf("%q: %s is asked for as %q, want %q", c[0], c[1], got, c[2])
		}
	}
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths": {"r.example": {"auth": "secret-of-ada"`)
	_, err := credentialsFor(Reference{Domain: "r.example", Path: "x"}, "")
	if err == nil || !strings.Contains(err.Error(), "DOCKER_AUTH_CONFIG") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// logout forgets a registry's login wherever a pull would find it: with its helper and in
// the file, and however a program wrote the registry.
func TestLogoutEverySpelling(t *testing.T) {
	home := authHome(t)
	file := filepath.Join(home, "auth.json")
	for _, c := range []struct {
		text, registry, kept, want string
	}{
		{`{"auths": {"docker.io": {"auth": "YTpi"}, "https://index.docker.io/v1/": {"auth": "YTpi"}, "docker.io/team": {"auth": "YTpi"}}}`, "docker.io", "", "docker.io/team"},
		{`{"auths": {"https://r.example/v1/": {"auth": "YTpi"}, "r.example/team": {"auth": "YTpi"}, "r.example.org": {"auth": "YTpi"}}}`, "r.example", "", "r.example.org r.example/team"},
		{`{"auths": {"r.example": {"auth": "YTpi"}, "r.example/team": {"auth": "YTpi"}}}`, "r.example/team", "", "r.example"},
		{`{"auths": {"r.example": {"auth": "YTpi"}}, "credHelpers": {"r.example": "each"}}`, "r.example", "kept-each/r.example", ""},
		{`{"auths": {"r.example": {"auth": "YTpi"}}, "credHelpers": {"r.example": "each"}}`, "r.example", "", ""},
		{`{"auths": {"r.example": {}, "s.example": {}}, "credsStore": "all"}`, "r.example", "kept-all/r.example", "s.example"},
	} {
		write(t, file, []byte(c.text))
		if c.kept != "" {
			write(t, filepath.Join(home, c.kept), nil)
		}
		removed, _, err := Logout(c.registry, file)
		_, cf, rerr := readAuth(file)
		if err != nil || rerr != nil || !removed {
			t.Errorf("%s: %v, %v, %v", c.text, removed, err, rerr)
			continue
		}
		var left []string
		for key := range cf.AuthConfigs {
			left = append(left, key)
		}
		slices.Sort(left)
		if got := strings.Join(left, " "); got != c.want {
			t.Errorf("%s: logout %s leaves %q, want %q", c.text, c.registry, got, c.want)
		}
		if kept, _ := filepath.Glob(filepath.Join(home, "kept-*/*")); len(kept) > 0 {
			t.Errorf("%s: kept: %q", c.text, kept)
		}
		if removed, _, err := Logout(c.registry, file); removed || err != nil {
			t.Errorf("%s: again: %v, %v", c.text, removed, err)
		}
	}
}

// The file has no login of a registry any more when its helper fails, which is said.
func TestLogoutBrokenHelper(t *testing.T) {
	home := authHome(t)
	file := filepath.Join(home, "auth.json")
	write(t, file, []byte(`{"auths": {"r.example": {"auth": "YTpi"}}, "credHelpers": {"r.example": "none"}}`))
	removed, _, err := Logout("r.example", file)
	if err == nil || !strings.Contains(err.Error(), "docker-credential-none") {
		t.Errorf("%v, %v", removed, err)
	}
	if data, _ := os.ReadFile(file); strings.Contains(string(data), "YTpi") {
		t.Errorf("%s", data)
	}
}

// A login is kept in one place: what was written of the registry before is gone, also
// when a helper keeps the new one.
func TestLoginReplaces(t *testing.T) {
	home := authHome(t)
	file := filepath.Join(home, "auth.json")
	write(t, file, []byte(`{"auths": {"docker.io": {"auth": "YTpi"}, "r.example": {"auth": "YTpi"}}, "credHelpers": {"r.example": "each"}}`))
	for _, key := range []string{"https://index.docker.io/v1/", "r.example"} {
		if _, err := changeAuth(file, key, &types.AuthConfig{Username: "new", Password: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := userOf(t, file, "busybox"); got != "new" {
		t.Errorf("docker.io is asked as %q", got)
	}
	if data, _ := os.ReadFile(file); strings.Contains(string(data), "YTpi") {
		t.Errorf("an old password is still there: %s", data)
	}
}

// The login for a part of a registry is found where a helper keeps it, too.
func TestLoginForPart(t *testing.T) {
	home := authHome(t)
	file := filepath.Join(home, "auth.json")
	for _, text := range []string{`{"credsStore": "all"}`, `{"credHelpers": {"r.example/team": "all"}}`} {
		write(t, file, []byte(text))
		if _, err := changeAuth(file, "r.example/team", &types.AuthConfig{Username: "u", Password: "x"}); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, "kept-all/r.example_team"), nil) // what this helper gives is fixed
		if got := userOf(t, file, "r.example/team/app"); got != "u" {
			t.Errorf("%s: asked as %q", text, got)
		}
		if got := userOf(t, file, "r.example/other/app"); got != "" {
			t.Errorf("%s: other images are asked for as %q", text, got)
		}
		if removed, _, err := Logout("r.example/team", file); !removed || err != nil {
			t.Errorf("%s: %v, %v", text, removed, err)
		}
	}
}

// A helper that cannot be asked is not a registry that nobody is logged in to.
func TestLogoutNoHelper(t *testing.T) {
	home := authHome(t)
	file := filepath.Join(home, "auth.json")
	write(t, file, []byte(`{"credHelpers": {"r.example": "none"}}`))
	if _, _, err := Logout("r.example", file); err == nil || !strings.Contains(err.Error(), "docker-credential-none") {
		t.Errorf("%v", err)
	}
}
