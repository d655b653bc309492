package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBuiltinProfiles(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, b := range builtinProfiles() {
		p, err := readProfile(b.name)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := parseProfile("again", []byte(p.toml()))
		if err != nil {
			t.Fatalf("%s: %v\n%s", b.name, err, p.toml())
		}
		if again.toml() != p.toml() || p.description == "" {
			t.Errorf("%s: got\n%s", b.name, again.toml())
		}
	}
}

func TestProfileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"pids = 3\nrw = 'x'":         "f:2:1: rw: a list of words is wanted, and it is a word",
		"  report = 'x'":             `f:1:3: report: that is a matter of one run`,
		"qwertz = 'x'":               `f:1:1: qwertz: "coracle sandbox" has no flag of that name`,
		"cdw = 'ro'":                 "f:1:1: cdw: there is no such key",
		"pids = 1\npids = 2":         "f:2:1: pids: line 1 has it already",
		"[limits]\npids = 1":         "f:1:2: limits: a profile has no tables",
		"pids = \"":                  "f:1:8: this is not TOML",
		"timeout = 'soon'":           "f:1:1: timeout: ",
		"extends = 3":                "f:1:1: extends: a word is wanted",
		"description = 'a'\nnice=1x": "f:2:",
	} {
		_, _, err := parseProfile("f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// What the line says goes before a profile, that before what it extends; lists add up.
func TestProfileWords(t *testing.T) {
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	t.Setenv("HOME", "/home/u")
	dir := filepath.Join(config, "coracle", "profiles")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a": "ro = ['/a', '~/x']\ncwd = 'ro'\npids = 5\ntimeout = 3", "b": "extends = 'a'\nro = ['/b']\npids = 7", "round": "extends = 'round'"} {
		if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := readProfile("b")
	if err != nil {
		t.Fatal(err)
	}
	got := p.words(fieldsOf(&sandboxCmd{}), split{flags: []string{"--cwd=rw"}})
	if want := []string{"--ro=/a", "--ro=/home/u/x", "--timeout=3", "--ro=/b", "--pids=7"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"round", "nosuch"} {
		if _, err := readProfile(name); err == nil || hintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A project's profile may take away; what it may give is what was trusted, as it was.
func TestProjectProfile(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", filepath.Dir(dir))
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(sub)
	file := filepath.Join(dir, projectProfile)
	words := func(text string, line ...string) ([]string, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return projectWords(nil, fieldsOf(&sandboxCmd{}), split{flags: line})
	}
	got, err := words("hide = ['secret']\ncwd = 'ro'\npids = 100\nnetwork = 'none'", "--pids=5")
	if want := []string{"--hide=" + filepath.Join(dir, "secret"), "--cwd=ro", "--network=none"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := words("filter-escapes = true"); err != nil || !slices.Equal(got, []string{"--filter-escapes=true"}) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := words("loopback = 'deny'"); err != nil || !slices.Equal(got, []string{"--loopback=deny"}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"loopback = 'allow'", "cwd = 'rw'", "rw = ['/']", "allow-net = ['x']", "home = 'real'", "network = 'host'", "pids = 4096", "pids = 'max'", "on-exit = 'apply'", "env-pass = ['A']",
		"extends = 'hpc'", "best-effort = true", "seccomp = 'x'", "allow-unix = ['/s']", "root = 'host'", "grace = 9", "deny-net = ['x']", "ro = ['~/.ssh']",
		"allow-32bit = true", "proxy-env = true", "filter-escapes = false"} {
		if got, err := words("nice = 3\n" + text); err == nil || !strings.Contains(hintOf(err), "coracle profile trust") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if _, err := words("cwd = 'rw'"); err == nil {
		t.Fatal("not refused")
	}
	if code, err := (&profileTrustCmd{File: file}).run(nil); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if got, err := words("cwd = 'rw'"); err != nil || !slices.Equal(got, []string{"--cwd=rw"}) {
		t.Errorf("trusted: %q, %v", got, err)
	}
	if _, err := words("cwd = 'rw' "); err == nil {
		t.Error("other content is trusted")
	}
}

// Whatever a profile is, it is read or refused with a place, and what is read can be
// written and read again.
func FuzzProfile(f *testing.F) {
	for _, b := range builtinProfiles() {
		f.Add([]byte(b.text))
	}
	f.Add([]byte("ro = [\"\\u0000\", '''a\nb''']\nextends = 'x'\n[t]\n"))
	f.Add([]byte("a.b = {c = 1}\nnice = 0x1_0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := parseProfile("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("without a place: %v", err)
			}
			return
		}
		again, _, err := parseProfile("f", []byte(p.toml()))
		if err != nil || again.toml() != p.toml() {
			t.Errorf("%v\n%s\n%s", err, p.toml(), again.toml())
		}
	})
}
