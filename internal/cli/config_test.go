package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coracle/internal/engine"
)

// TestConfigErrors: what a file gets wrong is named by place and key, with what
// was likely meant.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ file, err, hint string }{
		{"rot = 'x'", `c.toml:1: rot: there is no such key`, `did you mean "root"?`},
		{"\n[run]\npul = 'x'", `c.toml:3: run.pul: there is no such key`, `did you mean "pull"?`},
		{"[rnu]", `c.toml:1: rnu: no command`, `did you mean [run]?`},
		{"[xyzzy]", `c.toml:1: xyzzy: no command`, `[run]`},
		{"[oci]", `c.toml:1: oci: no command`, ``},
		{"[[run]]", `c.toml:1: run: a list of tables`, `[run]`},
		{"[run]\n[ps]\n[run]", `c.toml:3: run: line 1 has it already`, ``},
		{"[run]\npull = 'newer'\npull = 'newer'", `c.toml:3: run.pull: line 2 has it already`, ``},
		{"run.pull = 'newer'\n[run]\npull = 'never'", `c.toml:3: run.pull: line 1 has it already`, ``},
		{"[run]\npull = 'alwyas'", `c.toml:2: run.pull: "alwyas" is not one of always, missing, never, newer`, `did you mean "always"?`},
		{"run = { pull = 'x' }", `c.toml:1: run.pull: "x" is not one of`, ``},
		{"[run]\npull = true", `c.toml:2: run.pull: a word is wanted, and it is true or false`, `quotes`},
		{"[run]\nrm = 'yes'", `c.toml:2: run.rm: true or false is wanted, and it is a word`, `without quotes`},
		{"[run]\npasswd = 0", `c.toml:2: run.passwd: true or false is wanted`, ``},
		{"[run]\ndns = '1.1.1.1'", `c.toml:2: run.dns: a list of words is wanted`, `["one", "two"]`},
		{"[run]\ndns = ['a', 1]", `c.toml:2: run.dns: a list of words is wanted, and there is a number in it`, ``},
		{"[run]\nstop-timeout = '9'", `c.toml:2: run.stop-timeout: a number is wanted`, ``},
		{"[run]\nstop-timeout = 9.5", `c.toml:2: run.stop-timeout: a fraction`, ``},
		{"[run]\nstop-timeout = 99999999999999999999", `c.toml:2: run.stop-timeout: 99999999999999999999: it is too large`, ``},
		{"[run]\npreserve-fds = -1", `c.toml:2: run.preserve-fds: -1 is out of its range`, ``},
		{"[run]\numask = 1979-05-27", `c.toml:2: run.umask: a date or time`, ``},
		{"[run]\ntimeout = 'soon'", `c.toml:2: run.timeout: "soon" is not a time`, ``},
		{"[run]\nkernel-memory = '1g'", `c.toml:2: run.kernel-memory: --kernel-memory is refused`, ``},
		{"force = true", `c.toml:1: force: there is no such key outside tables`, `in its table`},
		{"config = 'x'", `c.toml:1: config: there is no such key`, ``},
		{"[run]\nroot = '/x'", `c.toml:2: run.root: `, ``},
		{"[run]\nIMAGE = 'x'", `c.toml:2: run.IMAGE: `, ``},
		{"\n\nx = \n", `c.toml:3: this is not TOML`, ``},
		{"'a\x1bb' = 1", `c.toml:1: this is not TOML`, ``},
		{`"a\u001bb" = 1`, `c.toml:1: a\x1bb: there is no such key`, ``},
		{"root = 'x", `c.toml:1: this is not TOML`, ``},
	} {
		_, err := parseConfig("c.toml", []byte(c.file))
		if err == nil {
			t.Errorf("%q: no error", c.file)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.err) || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%q:\n%v\nhint: %s\nand not %s\nhint: %s", c.file, err, hintOf(err), c.err, c.hint)
		}
	}
}

// withConfig is an app that reads these files, the strongest last.
func withConfig(t *testing.T, files ...string) (*app, *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	var places []string
	for i, text := range files {
		file := filepath.Join(dir, string(rune('a'+i))+".toml")
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		places = append(places, file)
	}
	a := newTestApp(t)
	out := &strings.Builder{}
	a.out.Reset(out)
	a.err = out
	a.places = func(named string) []string {
		if named != "" {
			return configPlaces(named)
		}
		return places
	}
	return a, out
}

func TestConfigPrecedence(t *testing.T) {
	const system = "root = '/system'\nrunroot = '/system'\nuserns = 'nomap'\n[run]\npull = 'never'\nworkdir = 7\ndns = ['1.1.1.1', '2.2.2.2']\nrm = true\nannotation = ['a,b=c']\nulimit = ['nofile=1,x']"
	const user = "root = '/user'\n[run]\npull = 'newer'\ndns = []\n"
	for _, c := range []struct {
		line string
		want func(engine.RunOptions, engine.Config) bool
	}{
		{"run debian", func(o engine.RunOptions, c engine.Config) bool {
			return c.Root == "/user" && c.RunRoot == "/system" && o.Pull == "newer" && len(o.DNS) == 0 && o.Remove && o.Userns.Userns == "nomap"
		}},
		{"--root /line run --pull missing --rm=false --dns 3.3.3.3 --userns auto debian", func(o engine.RunOptions, c engine.Config) bool {
			return c.Root == "/line" && o.Pull == "missing" && slices.Equal(o.DNS, []string{"3.3.3.3"}) && !o.Remove && o.Userns.Userns == "auto"
		}},
		{"run debian", func(o engine.RunOptions, _ engine.Config) bool { return o.Workdir == "7" }}, // a number stands for a word
		{"run debian --rm=false", func(o engine.RunOptions, _ engine.Config) bool { return o.Remove }},
		{"run debian", func(o engine.RunOptions, _ engine.Config) bool {
			return slices.Equal(o.Annotations, []string{"a,b=c"}) && slices.Equal(o.Ulimits, []string{"nofile=1,x"})
		}},
		{"run --config none debian", func(o engine.RunOptions, c engine.Config) bool {
			return c.Root == "" && o.Pull == "missing" && !o.Remove
		}},
	} {
		a, out := withConfig(t, system, "", user)
		f := &fakeEngine{}
		var seen engine.Config
		a.open = func(c engine.Config) (engineAPI, error) { seen = c; return f, nil }
		if code := a.main(append([]string{"coracle"}, strings.Fields(c.line)...)); code != 0 {
			t.Errorf("%q exits with %d: %s", c.line, code, out)
			continue
		}
		if !c.want(f.ran, seen) {
			t.Errorf("%q: %+v %+v", c.line, f.ran, seen)
		}
	}
}

// TestConfigIsOneCommands: a table is for its command only.
func TestConfigIsOneCommands(t *testing.T) {
	a, out := withConfig(t, "[images]\nquiet = true\n[ps]\nno-trunc = true")
	f := &fakeEngine{images: someImages()}
	a.open = func(engine.Config) (engineAPI, error) { return f, nil }
	if code := a.main([]string{"coracle", "images"}); code != 0 || strings.Contains(out.String(), "REPOSITORY") {
		t.Errorf("[images] quiet: %d\n%s", code, out)
	}
	a, out = withConfig(t, "[images]\nquiet = true\n[ps]\nno-trunc = true")
	a.open = func(engine.Config) (engineAPI, error) { return &fakeEngine{containers: someContainers()}, nil }
	if code := a.main([]string{"coracle", "ps"}); code != 0 || !strings.Contains(out.String(), strings.Repeat("a", 64)) {
		t.Errorf("[ps] no-trunc: %d\n%s", code, out)
	}
}

// TestConfigTrust: a file that others could have written is not read.
func TestConfigTrust(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "coracle")
	file := filepath.Join(dir, "config.toml")
	reset := func() {
		must(t, os.RemoveAll(dir))
		must(t, os.Mkdir(dir, 0o755)) //nolint:gosec // as mkdir makes it
		must(t, os.WriteFile(file, []byte("debug = false\n"), 0o600))
	}
	for _, c := range []struct {
		name, want string
		do         func() error
	}{
		{"as it should be", "", func() error { return nil }},
		{"the group writes the file", "mode 0620", func() error { return os.Chmod(file, 0o620) }},
		{"everybody writes the file", "mode 0602", func() error { return os.Chmod(file, 0o602) }},
		{"the group writes the directory", "mode 0775", func() error { return os.Chmod(dir, 0o775) }}, //nolint:gosec // the fault
		{"everybody writes the directory", "mode 0777", func() error { return os.Chmod(dir, 0o777) }}, //nolint:gosec // the fault
		{"the directory is sticky", "", func() error { return os.Chmod(dir, 0o777|os.ModeSticky) }},
		{"a directory", "not a regular file", func() error { return os.Rename(file, file+"x") }},
	} {
		reset()
		must(t, c.do())
		if strings.HasPrefix(c.name, "a directory") {
			must(t, os.Mkdir(file, 0o700))
		}
		_, err := loadConfig([]string{file}, false)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if os.Getuid() != 0 {
		return // the rest takes root
	}
	reset()
	must(t, os.Chown(file, 12345, 0))
	if _, err := loadConfig([]string{file}, false); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another's file: %v", err)
	}
	reset()
	must(t, os.Chown(dir, 12345, 0))
	if _, err := loadConfig([]string{file}, false); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another's directory: %v", err)
	}
}

func TestConfigPlaces(t *testing.T) {
	t.Setenv("HOME", "/h")
	for _, c := range []struct{ xdg, home, named, want string }{
		{"/x", "/h", "", "/etc/coracle/config.toml /x/coracle/config.toml"},
		{"", "/h", "", "/etc/coracle/config.toml /h/.config/coracle/config.toml"},
		{"relative", "/h", "", "/etc/coracle/config.toml /h/.config/coracle/config.toml"},
		{"", "", "", "/etc/coracle/config.toml"},
		{"/x", "/h", "none", ""},
		{"/x", "/h", "f.toml", "f.toml"},
	} {
		t.Setenv("XDG_CONFIG_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		if got := strings.Join(configPlaces(c.named), " "); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestConfigMustBeThere: only a file that was named.
func TestConfigMustBeThere(t *testing.T) {
	a, out := withConfig(t, "", "")
	a.open = func(engine.Config) (engineAPI, error) { return &fakeEngine{}, nil }
	if code := a.main([]string{"coracle", "images"}); code != 0 {
		t.Errorf("no files: %d %s", code, out)
	}
	if code := a.main([]string{"coracle", "images", "--config", "/no/such"}); code != 125 || !strings.Contains(out.String(), "read the configuration /no/such: no such file") {
		t.Errorf("a named file that is not there: %d %s", code, out)
	}
	a, out = withConfig(t, "nonsense")
	if code := a.main([]string{"coracle", "version"}); code != 0 {
		t.Errorf("version with a bad file: %d %s", code, out)
	}
	if code := a.main([]string{"coracle", "help"}); code != 0 {
		t.Errorf("help with a bad file: %d %s", code, out)
	}
}

func TestInfoShowsSources(t *testing.T) {
	a, out := withConfig(t, "", "runroot = '/rr'\n\n[run]\npull = 'newer'\nstop-timeout = 7\ndns = ['1.1.1.1']\ntimeout = 90\nsig-proxy = false\n")
	a.open = func(engine.Config) (engineAPI, error) { return &fakeEngine{}, nil }
	if code := a.main([]string{"coracle", "--debug", "info", "--format", "json"}); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	var doc infoDocument
	if err := json.Unmarshal([]byte(out.String()), &doc); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range doc.Config.Values {
		got[v.Key] = v.text() + " " + filepath.Base(v.from())
	}
	for key, want := range map[string]string{
		"debug": "true command line", "runroot": `"/rr" b.toml:1`, "log-format": `"text" built-in`,
		"run.pull": `"newer" b.toml:4`, "run.stop-timeout": "7 b.toml:5", "run.dns": `["1.1.1.1"] b.toml:6`, "run.timeout": "90 b.toml:7", "run.sig-proxy": "false b.toml:8",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, not %q", key, got[key], want)
		}
	}
	if len(doc.Config.Files) != 2 || doc.Config.Files[0].Read || !doc.Config.Files[1].Read {
		t.Errorf("files: %+v", doc.Config.Files)
	}
	out.Reset()
	if code := a.main([]string{"coracle", "info", "--all"}); code != 0 || !strings.Contains(out.String(), "b.toml:4)") || !strings.Contains(out.String(), "run.sig-proxy = false") ||
		!strings.Contains(out.String(), "images.quiet = false") {
		t.Errorf("%d: %s", code, out)
	}
}

// TestEveryFlagHasADefault: each flag of each command can stand in a file, in
// the type that it has.
func TestEveryFlagHasADefault(t *testing.T) {
	for _, e := range commands() {
		for _, f := range fieldsOf(e.make()) {
			if f.isArg {
				continue
			}
			var ok bool
			var errs []string
			for _, value := range []string{"true", "'1'", "['1']", "1", "'always'", "'text'", "'all'", "'5s'"} {
				key := strings.ReplaceAll(e.name, " ", ".")
				found, err := parseConfig("c", []byte("["+key+"]\n"+f.name+" = "+value))
				if err != nil {
					errs = append(errs, err.Error())
					continue
				}
				if len(found) != 1 || found[0].flag != f.name || found[0].command != e.name {
					t.Errorf("%s --%s: %+v", e.name, f.name, found)
				}
				ok = true
			}
			if !ok && f.tag.Get("enum") == "" {
				t.Errorf("%s --%s takes no value: %q", e.name, f.name, errs)
			}
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("root = 'x'\n[run]\ndns = ['1', '2,3']\npull = \"newer\"\n")
	f.Add("run = { rm = true, timeout = 0x10 }\n\"a.b\".c = 1.5\n[[x]]")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseConfig("c.toml", []byte(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "c.toml:") {
				t.Errorf("%q: an error without a place: %v", text, err)
			}
			return
		}
		for _, s := range found {
			if s.flag == "" || s.line < 1 || s.line > 1+strings.Count(text, "\n") {
				t.Errorf("%q: %+v", text, s)
			}
		}
	})
}

func BenchmarkConfig(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "config.toml")
	text := "root = '/x'\nuserns = 'keep-id'\n[run]\npull = 'newer'\nrm = true\ndns = ['1.1.1.1']\nlabel = ['a=b']\n[pull]\nquiet = true\n[images]\nno-trunc = true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, path string }{{"absent", file + "x"}, {"present", file}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := loadConfig([]string{c.path}, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
