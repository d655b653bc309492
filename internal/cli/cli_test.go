package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/internal/engine"
)

func TestDispatch(t *testing.T) {
	for _, c := range []struct {
		line     string
		code     int
		out, err string // parts of them; "" is: nothing at all
	}{
		{"", 125, "", "Usage: coracle"},
		{"help", 0, "Usage: coracle", ""},
		{"--help", 0, "Usage: coracle", ""},
		{"-h", 0, "Usage: coracle", ""},
		{"help run", 0, "Usage: coracle run [flags] IMAGE", ""},
		{"run --help", 0, "Usage: coracle run [flags] IMAGE", ""},
		{"ps -h", 0, "Usage: coracle ps", ""},
		{"--version", 0, "coracle version ", ""},
		{"-v", 0, "coracle version ", ""},
		{"--debug --root /x version", 0, "coracle version ", ""},
		{"--root=/x --debug=false version --debug", 0, "coracle version ", ""},
		{"-- version", 0, "coracle version ", ""},
		{"rnu debian", 125, "", `hint: did you mean "run"?`},
		{"imags", 125, "", `did you mean "images"?`},
		{"xyzzy", 125, "", `error: unknown command "xyzzy"`},
		{"help xyzzy", 125, "", `error: unknown command "xyzzy"`},
		{"build .", 125, "", `error: the command "build" is not supported yet`},
		{"--rot /x ps", 125, "", "hint: did you mean --root?"},
		{"--rm run debian", 125, "", "error: unknown flag --rm before the command"},
		{"-it run debian", 125, "", "error: unknown flag -i before the command"},
		{"--root", 125, "", "error: --root needs a value"},
		{"--debug=x ps", 125, "", "either true or false"},
		{"--log-format xml version", 125, "", "--log-format must be one of"},
		{"run --pull alwyas debian", 125, "", "run: --pull must be one of always, missing, never, newer, and not \"alwyas\"\nhint: did you mean always?"},
		{"run --pull=xyzzy debian", 125, "", "hint: see \"coracle run --help\""},
		{"completion bsh", 125, "", "error: completion: SHELL must be one of bash, zsh, fish, and not \"bsh\"\nhint: did you mean bash?"},
		{"image inspect --type contaner x", 125, "", "hint: did you mean container?"},
		{"run --network bultin:mtu=1400 debian", 125, "", "hint: did you mean --network builtin:mtu=1400?"},
		{"run --nmae x debian", 125, "", "hint: did you mean --name?"},
		{"run --memory-swappiness 1 debian", 125, "", "hint: --memory-swap"},
		{"run", 125, "", `hint: see "coracle run --help"`},
		{"ps extra", 125, "", "error: ps: unexpected argument extra"},
		{"version --format {{.nothing}}", 125, "", "error: apply the template of --format"},
		{"version --format {{", 125, "", "error: read the template of --format"},
		{"image", 125, "", "Usage: coracle image COMMAND"},
		{"image --help", 0, "Usage: coracle image COMMAND", ""},
		{"image help", 0, "Usage: coracle image COMMAND", ""},
		{"help image", 0, "Usage: coracle image COMMAND", ""},
		{"--debug image --root /x --help", 0, "Usage: coracle image COMMAND", ""},
		{"image ls --help", 0, "Usage: coracle images [flags]", ""},
		{"image help ls", 0, "Usage: coracle images [flags]", ""},
		{"help image ls", 0, "Usage: coracle images [flags]", ""},
		{"image rmm x", 125, "", `hint: did you mean "image rm"?`},
		{"image xyzzy", 125, "", `hint: "coracle image --help" lists its commands`},
		{"contaner ls", 125, "", `did you mean "container"?`},
		{"image --rot /x ls", 125, "", "hint: did you mean --root?"},
		{"sandbox --ro-bind / / -- true", 125, "", "error: sandbox: --ro-bind is refused: that is bubblewrap's name for it\nhint: --ro PATH[:DEST]"},
		{"sandbox --unshare-all -- true", 125, "", "error: sandbox: --unshare-all is refused: that is so in every sandbox"},
		{"learn --bind / / -- true", 125, "", "error: learn: --bind is refused"},
		{"image ls --bogus", 125, "", `error: images: unknown flag --bogus`},
		{"pull --decryption-key k debian", 125, "", "--decryption-key is not supported yet"},
	} {
		got := invoke(t, nil, strings.Fields(c.line)...)
		if got.code != c.code {
			t.Errorf("%q exited with %d, not %d\n%s", c.line, got.code, c.code, got.err)
		}
		for _, s := range []struct{ name, got, want string }{{"stdout", got.out, c.out}, {"stderr", got.err, c.err}} {
			if (s.want == "") != (s.got == "") || !strings.Contains(s.got, s.want) {
				t.Errorf("%q: %s is %q, without %q", c.line, s.name, s.got, s.want)
			}
		}
	}
}

// TestFieldsAreTheGrammar holds the short reading of the structs against
// kong's own, for every command and the global flags.
func TestFieldsAreTheGrammar(t *testing.T) {
	for _, e := range commands() {
		p := newParser(e, e.make(), &globals{})
		k, err := p.grammar()
		if err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		var want, got []string
		seen := map[string]bool{}
		for _, f := range k.Model.Flags {
			if seen[f.Name] {
				continue // the global one that the command's own hides
			}
			seen[f.Name] = true
			short := ""
			if f.Short != 0 {
				short = string(f.Short)
			}
			want = append(want, fmt.Sprint(f.Name, short, f.Aliases, f.IsBool(), f.Default))
		}
		for _, f := range p.fields {
			if f.name != "" {
				got = append(got, fmt.Sprint(f.name, f.short, append([]string{}, f.aliases...), f.isBool, f.tag.Get("default")))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%q\nkong has\n%q", e.name, got, want)
		}
		if e.usage == "" || e.summary == "" || e.group == "" {
			t.Errorf("%s: %+v", e.name, e)
		}
	}
}

func TestGlobalNames(t *testing.T) {
	want := []string{"version"}
	for _, f := range fieldsOf(&globals{}) {
		want = append(want, f.name)
		if got := globalKind(f.name); got != f.kind() {
			t.Errorf("globalKind(%q) = %v, not %v", f.name, got, f.kind())
		}
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(globalNames())); !slices.Equal(got, want) {
		t.Errorf("globalNames() = %v, the struct has %v", got, want)
	}
}

func TestGlobalFlagsReachTheEngine(t *testing.T) {
	for _, line := range []string{
		"--root /r --runroot /rr --storage-driver copy images -q",
		"images --root /r --runroot=/rr --storage-driver=copy -q",
		"--root /r image --runroot /rr ls --storage-driver copy -q",
		"--root /x --storage-driver overlay images --root /r --runroot /rr --storage-driver copy",
	} {
		var seen engine.Config
		a := newTestApp(t)
		a.open = func(c engine.Config) (engineAPI, error) { seen = c; return &fakeEngine{}, nil }
		if code := a.main(append([]string{"coracle"}, strings.Fields(line)...)); code != 0 {
			t.Fatalf("%q exited with %d", line, code)
		}
		if seen.Root != "/r" || seen.RunRoot != "/rr" || seen.StorageDriver != "copy" || seen.Warn == nil {
			t.Errorf("%q opened %+v", line, seen)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		f    fakeEngine
		want int
	}{
		{"success", fakeEngine{}, 0},
		{"the payload's own", fakeEngine{exit: engine.Exit{Code: 3}}, 3},
		{"a signal", fakeEngine{exit: engine.Exit{Code: 137, Signal: 9}}, 137},
		{"ours", fakeEngine{err: errors.New("x")}, 125},
		{"not found", fakeEngine{exit: engine.Exit{Code: 127}, err: errors.New("x")}, 127},
		{"by the error, below 125", fakeEngine{exit: engine.Exit{Code: 125}, err: fmt.Errorf("start: %w", errors.Join(coded{125}, coded{127}))}, 127},
		{"by the error", fakeEngine{err: fmt.Errorf("start: %w", coded{126})}, 126},
	} {
		for _, line := range []string{"run debian x", "unshare x"} {
			f := c.f
			if got := invoke(t, &f, strings.Fields(line)...); got.code != c.want {
				t.Errorf("%s: %q exited with %d, not %d", c.name, line, got.code, c.want)
			}
		}
	}
}

type coded struct{ code int }

func (c coded) Error() string { return "coded" }
func (c coded) ExitCode() int { return c.code }

func TestPrintError(t *testing.T) {
	inner := hinted{errors.New("no\x1b[31m subids\nhint: rm -rf /"), "usermod --add-subuids\n100000-165535"}
	f := &fakeEngine{err: fmt.Errorf("resolve the map: %w", inner)}
	got := invoke(t, f, "run", "debian")
	want := "error: resolve the map: no\\x1b[31m subids\n    hint: rm -rf /\nhint: usermod --add-subuids\n    100000-165535\n"
	if got.err != want {
		t.Errorf("stderr is\n%q, not\n%q", got.err, want)
	}
}

func TestDebugShowsTheChain(t *testing.T) {
	f := &fakeEngine{err: fmt.Errorf("outer: %w", errors.Join(errors.New("left"), fmt.Errorf("right: %w", os.ErrPermission)))}
	got := invoke(t, f, "--debug", "run", "debian")
	for _, want := range []string{"error: outer: left", "*fmt.wrapError", "*errors.joinError", "right: permission denied"} {
		if !strings.Contains(got.err, want) {
			t.Errorf("no %q in %s", want, got.err)
		}
	}
	if quiet := invoke(t, f, "run", "debian"); strings.Contains(quiet.err, "wrapError") {
		t.Errorf("the chain without --debug: %s", quiet.err)
	}
}

func TestLogFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	f := &fakeEngine{err: errors.New("it\x1b broke")}
	got := invoke(t, f, "--log", file, "--log-format", "json", "run", "debian")
	if got.err != "error: it\\x1b broke\n" {
		t.Errorf("stderr is %q", got.err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("the log %q: %v", text, err)
	}
	if line.Level != "error" || line.Msg != `it\x1b broke` || line.Time == "" {
		t.Errorf("the log says %+v", line)
	}
	if got := invoke(t, f, "--log", "/nowhere/log", "images"); got.code != 125 || !strings.Contains(got.err, "open the log") {
		t.Errorf("an unwritable log: %+v", got)
	}
}

func TestWriteErrorIsOurs(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	a := newTestApp(t)
	a.out.Reset(full)
	if code := a.main([]string{"coracle", "version"}); code != 125 {
		t.Errorf("a full disk behind stdout exits with %d", code)
	}
}

func TestVersionJSON(t *testing.T) {
	version = "1.2.3"
	defer func() { version = "" }()
	got := invoke(t, nil, "version", "--format", "json")
	var b build
	if err := json.Unmarshal([]byte(got.out), &b); err != nil {
		t.Fatal(err)
	}
	if b.Version != "1.2.3" || !strings.HasPrefix(b.Go, "go1.") || b.Spec.Runtime == "" || b.Spec.Image == "" {
		t.Errorf("%+v", b)
	}
	if b.Features == nil || !slices.Contains(b.Features.Commands, "run") || !slices.Contains(b.Features.Network, "none") {
		t.Errorf("features: %+v", b.Features)
	}
	for _, key := range []string{"version", "commit", "date", "modified", "go", "platform", "spec", "features"} {
		if !strings.Contains(got.out, fmt.Sprintf("%q: ", key)) {
			t.Errorf("no key %q", key)
		}
	}
	if got := invoke(t, nil, "version", "--format", "{{.version}} {{.spec.runtime}}"); got.out != "1.2.3 "+b.Spec.Runtime+"\n" {
		t.Errorf("the template gives %q", got.out)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"run", "ps", "rm", "rmi", "images", "inspect", "import", "unshare"}
	for typed, want := range map[string]string{
		"rnu": "run", "urn": "run", "iamges": "images", "image": "images", "insp": "inspect",
		"unsahre": "unshare", "zzz": "", "": "", "x": "", "rmm": "rm", "imports": "import",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("nearest(%q) = %q, not %q", typed, got, want)
		}
	}
}

func TestUnshare(t *testing.T) {
	t.Setenv("SHELL", "/bin/myshell")
	f := &fakeEngine{}
	invoke(t, f, "unshare")
	invoke(t, f, "unshare", "--userns", "keep-id", "--uidmap=0:1:2", "id", "-u", "--rm")
	invoke(t, f, "unshare", "--", "id", "--", "x")
	t.Setenv("SHELL", "")
	invoke(t, f, "unshare")
	want := []string{"unshare /bin/myshell", "unshare id -u --rm", "unshare id -- x", "unshare /bin/sh"}
	if !slices.Equal(f.asked, want) {
		t.Errorf("asked %q, not %q", f.asked, want)
	}
}

func TestSecondsText(t *testing.T) {
	var s seconds
	if err := s.UnmarshalText([]byte("0.5")); err != nil || time.Duration(s) != 500*time.Millisecond {
		t.Errorf("0.5: %v, %v", s, err)
	}
	for _, bad := range []string{".", "1.2.3", "-0.5", ""} {
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
	if err := s.UnmarshalText([]byte("99999999999")); err == nil {
		t.Errorf("3,000 years are %v", time.Duration(s))
	}
}

func TestDoing(t *testing.T) {
	if got := doing("pull", "x", errors.New("no such image")).Error(); got != "pull x: no such image" {
		t.Errorf("%q", got)
	}
	if got := doing("pull", "x", errors.New("pull x: no such image")).Error(); got != "pull x: no such image" {
		t.Errorf("%q", got)
	}
	if doing("pull", "x", nil) != nil {
		t.Error("nothing became an error")
	}
}
