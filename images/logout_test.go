package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// keeper is a credential helper that has a file for each registry in a directory.
const keeper = `#!/bin/sh
cd "${0%/*}/kept-${0##*-}" || exit 1
case $1 in
get) read -r key; f=$(echo "$key" | tr / _); [ -e "$f" ] || { echo 'credentials not found in native keychain'; exit 1; }; echo '{"Username": "u", "Secret": "s"}' ;;
store) cat >/dev/null ;;
erase) read -r key; rm "$(echo "$key" | tr / _)" ;;
list) [ ! -e broken ] || { echo broken; exit 1; }; s=; echo '{'; for f in *; do [ ! -e "$f" ] || echo "$s\"$(echo "$f" | tr _ /)\": \"u\""; s=,; done; echo '}' ;;
esac
`

// authHome makes a HOME, and in it helpers who keep logins: one for a registry
// each, all for the rest.
func authHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", home+":"+os.Getenv("PATH"))
	for _, name := range []string{"REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, "")
	}
	for _, helper := range []string{"each", "all"} {
		if err := os.WriteFile(filepath.Join(home, "docker-credential-"+helper), []byte(keeper), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(home, "kept-"+helper), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// logout --all leaves none: neither in the file nor with the helpers that it names. What else is in
// the file stays, and so does what a helper keeps for others.
func TestLogoutAll(t *testing.T) {
	home := authHome(t)
	for _, kept := range []string{"kept-each/h.example", "kept-each/another.example", "kept-all/s.example", "kept-all/https:__index.docker.io_v1_"} {
		write(t, filepath.Join(home, kept), nil)
	}
	file := filepath.Join(home, "auth.json")
	write(t, file, []byte(`{"auths": {"f.example": {"auth": "YTpi"}, "f.example/team": {"identitytoken": "x"}, "s.example": {}, "stale.example": {}},
		"credHelpers": {"h.example": "each", "gone.example": "each"}, "credsStore": "all", "other": {"a": 1}}`))
	out, err := LogoutAll(file)
	if want := []string{"docker.io", "f.example", "f.example/team", "h.example", "s.example"}; err != nil || !slices.Equal(out.Removed, want) || out.File != file {
		t.Errorf("%+v, %v; want %q", out, err, want)
	}
	var doc map[string]json.RawMessage
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if err != nil || string(doc["auths"]) != "{}" || len(doc) != 4 {
		t.Errorf("%s, %v", data, err)
	}
	left, _ := filepath.Glob(filepath.Join(home, "kept-*/*"))
	if len(left) != 1 || filepath.Base(left[0]) != "another.example" {
		t.Errorf("kept: %q", left)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if out, err := LogoutAll(file); err != nil || len(out.Removed) > 0 {
		t.Errorf("again: %+v, %v", out, err)
	}
}

// A helper that fails is named, and the file has no login all the same.
func TestLogoutAllBrokenHelper(t *testing.T) {
	home := authHome(t)
	write(t, filepath.Join(home, "kept-all/broken"), nil)
	file := filepath.Join(home, "auth.json")
	write(t, file, []byte(`{"auths": {"f.example": {"auth": "YTpi"}}, "credsStore": "all", "credHelpers": {"h.example": "none"}}`))
	out, err := LogoutAll(file)
	if err == nil || !strings.Contains(err.Error(), "docker-credential-all") || !strings.Contains(err.Error(), "docker-credential-none") || !slices.Equal(out.Removed, []string{"f.example"}) {
		t.Errorf("%+v, %v", out, err)
	}
	if data, _ := os.ReadFile(file); strings.Contains(string(data), "f.example") {
		t.Errorf("%s", data)
	}
	write(t, file, []byte(`{"auths": `))
	if _, err := LogoutAll(file); err == nil || !strings.Contains(hintOf(err), "mend") {
		t.Errorf("%v", err)
	}
}

// Without a login nothing is made; a file of another program's is named.
func TestLogoutAllNone(t *testing.T) {
	home := authHome(t)
	podmans := filepath.Join(home, ".config/containers/auth.json")
	if err := os.MkdirAll(filepath.Dir(podmans), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, podmans, []byte(`{"auths": {"p.example": {"auth": "YTpi"}}}`))
	out, err := LogoutAll("")
	if err != nil || len(out.Removed) > 0 || out.File != filepath.Join(home, ".docker/config.json") || !slices.Equal(out.Others, []string{podmans}) {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(home, ".docker")); err == nil {
		t.Error(".docker was made")
	}
	if data, _ := os.ReadFile(podmans); !strings.Contains(string(data), "p.example") {
		t.Error("podman's login is gone")
	}
}
