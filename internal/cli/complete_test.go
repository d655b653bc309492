package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coracle/internal/engine"
)

// rootedEngine is a fake with a store's directory.
type rootedEngine struct {
	*fakeEngine
	dir string
}

func (r rootedEngine) Root() string { return r.dir }

// ask gives the answer of `coracle __complete` in lines.
func askCompletion(t *testing.T, shell string, words ...string) []string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "volumes", "data"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "oci-layout"), nil, 0o600))
	boxes := append(someContainers(), engine.Container{ID: strings.Repeat("c", 64), Name: "ice", Status: "paused"})
	a := newTestApp(t)
	out := &strings.Builder{}
	a.out.Reset(out)
	a.open = func(engine.Config) (engineAPI, error) {
		return rootedEngine{&fakeEngine{images: someImages(), containers: boxes}, dir}, nil
	}
	if code := a.main(append([]string{"coracle", completeVerb, shell}, words...)); code != 0 {
		t.Errorf("%q exits with %d", words, code)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// zshWords are the words of a zsh answer without their descriptions.
func zshWords(lines []string) []string {
	out := lines[:1:1]
	for _, line := range lines[1:] {
		line = strings.ReplaceAll(line, `\:`, "\x00")
		word, _, _ := strings.Cut(line, ":")
		out = append(out, strings.ReplaceAll(word, "\x00", ":"))
	}
	return out
}

func TestCompleteLine(t *testing.T) {
	// The last word is the one that is typed; "…" at the end of want stands for
	// more.
	for _, c := range []struct{ line, want string }{
		{"|ru", "none 0 space|run"},
		{"|imag", "none 0 space|image|images"},
		{"image |l", "none 0 space|list|load|ls"},
		{"help |rm", "none 0 space|rm|rmi"},
		{"help image |r", "none 0 space|remove|rm"},
		{"|--ro", "none 0 space|--root"},
		{"--root |", "dirs 0 space"},
		{"|--root=/", "dirs 7 space"},
		{"image |--log-format=", "none 13 space|text|json"},
		{"--storage-driver |o", "none 0 space|overlay"},
		{"--root /x --debug |rmi", "none 0 space|rmi"},
		{"run |--netw", "none 0 space|--network|--network-alias"},
		{"run --rm |--ro", "none 0 space|--rootfs|--root"},
		{"run --network |", "none 0 space|container:|private|builtin|none|host|slirp4netns|pasta|ns:|quay"},
		{"run --net |h", "none 0 space|host"},
		{"run |--network=", "none 10 space|container:|private|builtin|none|host|slirp4netns|pasta|ns:|quay"},
		{"run |--userns=k", "none 9 space|keep-id"},
		{"run --userns |", "none 0 space|container:|keep-id|nomap|auto"},
		{"run --pull |", "none 0 space|always|missing|never|newer"},
		{"run -it --pull=always --pull |n", "none 0 space|never|newer"},
		{"run --stop-signal |SIGT", "none 0 space|SIGTRAP|SIGTERM|SIGTSTP|SIGTTIN|SIGTTOU"},
		{"run --stop-signal |ter", "none 0 space|term"},
		{"run --cap-add |CAP_NET_A", "none 0 space|CAP_NET_ADMIN"},
		{"run --cap-drop |al", "none 0 space|all"},
		{"run --ulimit |nof", "none 0 nospace|nofile="},
		{"run --env-file |x", "files 0 space"},
		{"run |--env-file=x", "files 11 space"},
		{"run --cidfile |", "files 0 space"},
		{"run -v |", "files 0 nospace|data:"},
		{"run -v |/et", "files 0 space"},
		{"run -v |a:b:r", "none 4 space|ro|rw|rshared|rslave|rprivate"},
		{"run --passwd |deb", "none 0 space|debian:12"}, // a switch: what follows is the image
		{"run |--passwd=", "none 9 space|true|false"},
		{"run |", "none 0 space|debian:12|localhost:5000/deb:x|alpine:latest|host"},
		{"run |de", "none 0 space|debian:12"},
		{"run |docker.io/library/d", "none 0 space|docker.io/library/debian:12"},
		{"run |oci", "none 0 nospace|oci:|oci-archive:"},
		{"run |oci:x", "files 4 space"},
		{"run --rootfs |", "dirs 0 space"},
		{"sandbox --root |", "dirs 0 space|debian:12|localhost:5000/deb:x|alpine:latest|host|none"},
		{"run debian |--r", "files 0 space"}, // of the container's command
		{"run host |", "files 0 space"},
		{"images --filter |", "none 0 nospace|reference=|dangling=|label=|before=|since=|until=|id=|digest="},
		{"images --filter |dangling=", "none 9 space|true|false"},
		{"images |alp", "none 0 space|alpine:latest"},
		{"rmi debian:12 |", "none 0 space|localhost:5000/deb:x|alpine:latest"},
		{"image rm |de", "none 0 space|debian:12"},
		{"rm |", "none 0 space|web|old|ice"},
		{"rm web |", "none 0 space|old|ice"},
		{"rm -f |aa", "none 0 space|aaaaaaaaaaaa"},
		{"container rm |w", "none 0 space|web"},
		{"inspect --type container |", "none 0 space|web|old|ice"},
		{"inspect |d", "none 0 space|debian:12|data"},
		{"inspect --type |", "none 0 space|all|image|container|volume"},
		{"completion |", "none 0 space|bash|zsh|fish"},
		{"completion bash |", "none 0 space"},
		{"oci |st", "none 0 space|start|state"},
		{"oci |--log-f", "none 0 space|--log-format"},
		{"oci run |--bun", "none 0 space|--bundle"},
		{"ps --filter |st", "none 0 nospace|status="},
		{"stop --filter status=|", "none 0 space|web|ice"}, // two words: the filter is done
		{"ps --filter |status=p", "none 7 space|paused"},
		{"wait --condition |hea", "none 0 space|healthy"},
		{"start |", "none 0 space|old"},
		{"stop |", "none 0 space|web|ice"},
		{"unpause |", "none 0 space|ice"},
		{"container stop web |", "none 0 space|ice"},
		{"logs -f |o", "none 0 space|old"},
		{"volume |l", "none 0 space|ls|list"},
		{"volume rm |", "none 0 space|data"},
		{"volume ls --filter |dang", "none 0 nospace|dangling="},
		{"volume import data |x", "files 0 space"},
		{"run --log-driver |j", "none 0 space|json-file|journald"},
		{"run --restart |on", "none 0 space|on-failure|on-failure:"},
		{"kill --signal |TER", "none 0 space|TERM"},
		{"info --format |", "none 0 space|json"},
		{"bogus |", "none 0 space"},
		{"run --bogus |", "none 0 space|debian:12|…"},
		{"ps -- |", "none 0 space"},
	} {
		before, typed, _ := strings.Cut(c.line, "|")
		words := append(append([]string{"coracle"}, strings.Fields(before)...), typed)
		got := strings.Join(zshWords(askCompletion(t, "zsh", words...)), "|")
		want, more := strings.CutSuffix(c.want, "…")
		if got != want && (!more || !strings.HasPrefix(got, want)) {
			t.Errorf("%s:\n%s, not\n%s", c.line, got, c.want)
		}
	}
}

// TestCompleteStates: each command is offered the containers that it works on.
func TestCompleteStates(t *testing.T) {
	boxes := []engine.Container{{Name: "up", Status: "running"}, {Name: "ice", Status: "paused"}, {Name: "new", Status: "created"}, {Name: "old", Status: "exited"}}
	for command, want := range map[string]string{
		"start": "new old", "stop": "up ice", "kill": "up ice", "exec": "up", "pause": "up", "unpause": "ice", "logs": "up ice new old", "rm": "up ice new old", "attach": "up",
	} {
		var got []string
		for _, box := range boxes {
			if wantedStates(command)(box) {
				got = append(got, box.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s is offered %v, not %s", command, got, want)
		}
	}
}

// TestCompleteBash: bash replaces what stands behind its last separator.
func TestCompleteBash(t *testing.T) {
	const breaks = " \t\n\"'><=;|&(:"
	for _, c := range []struct{ line, want string }{
		{"coracle ru", "none 0 space|run"},
		{"coracle run --network=h", "none 0 space|host"},
		{"coracle run --network=", "none 0 space|container:|private|builtin|none|host|slirp4netns|pasta|ns:|quay"},
		{"coracle rmi debian:", "none 0 space|12"},
		{"coracle rmi localhost:5000/deb", "none 0 space|5000/deb:x"},
		{"coracle rmi 'deb", "none 0 space|debian:12"},
		{`coracle rmi "localhost:5000/d`, "none 0 space|localhost:5000/deb:x"},
		{`coracle rmi debian\:`, "none 0 space|debian:12"},
		{"coracle   --debug  rm  -f  w", "none 0 space|web"},
		{"coracle run -v dat", "files 0 nospace|data:"},
		{"coracle run -v data:/x:z", "none 0 space|z"},
		{"coracle run --ulimit=no", "none 0 nospace|nofile="},
		{"coracle", ""},
		{"", ""},
	} {
		got := strings.Join(askCompletion(t, "bash", breaks, c.line), "|")
		if got != c.want {
			t.Errorf("%q:\n%q, not\n%q", c.line, got, c.want)
		}
	}
}

func TestCompleteFish(t *testing.T) {
	got := askCompletion(t, "fish", "coracle", "run", "--network=h")
	if !slices.Equal(got, []string{"none 10 space", "--network=host"}) {
		t.Errorf("%q", got)
	}
	got = askCompletion(t, "fish", "coracle", "rm", "w")
	if !slices.Equal(got, []string{"none 0 space", "web\trunning, docker.io/library/debian:12"}) {
		t.Errorf("%q", got)
	}
}

// TestCompleteOffersEverything: each command and each flag can be reached.
func TestCompleteOffersEverything(t *testing.T) {
	for _, e := range commands() {
		words := append([]string{"coracle"}, strings.Fields(e.name)...)
		last := words[len(words)-1]
		if got := zshWords(askCompletion(t, "zsh", words...)); !slices.Contains(got, last) {
			t.Errorf("%s is not offered: %q", e.name, got)
		}
		got := askCompletion(t, "zsh", append(words, "--")...)
		for _, f := range fieldsOf(e.make()) {
			if f.isArg {
				continue
			}
			if !slices.ContainsFunc(got, func(line string) bool {
				return strings.HasPrefix(line, "--"+f.name+":") && len(line) > len("--"+f.name+":")
			}) {
				t.Errorf("%s --%s is not offered, or without its help", e.name, f.name)
			}
		}
	}
}

// TestCompleteIsSilent: no store, a broken configuration: no answer, no error.
func TestCompleteIsSilent(t *testing.T) {
	a, out := withConfig(t, "nonsense")
	a.open = func(engine.Config) (engineAPI, error) { return rootedEngine{&fakeEngine{}, "/no/such"}, nil }
	if code := a.main([]string{"coracle", completeVerb, "zsh", "coracle", "rmi", ""}); code != 0 || out.String() != "none 0 space\n" {
		t.Errorf("%d %q", code, out)
	}
}

func FuzzSplitShell(f *testing.F) {
	f.Add(`coracle run "a b'c" d\ e 'x`)
	f.Fuzz(func(t *testing.T, line string) {
		s := splitShell(line)
		cut := s.lastBreak(" =:'\"")
		if last := []rune(s.words[len(s.words)-1]); len(s.raw) != len(s.at) || cut > len(last) {
			t.Errorf("%q: %+v, cut at %d", line, s, cut)
		}
	})
}

func (rootedEngine) Networks() ([]engine.Network, error) {
	return []engine.Network{{Name: "quay"}}, nil
}

// TestCompleteLoopback: the values that a flag takes, which are the sandbox's to check.
func TestCompleteLoopback(t *testing.T) {
	if got := askCompletion(t, "fish", "coracle", "sandbox", "--loopback="); !slices.Contains(got, "--loopback=allow") || !slices.Contains(got, "--loopback=deny") {
		t.Errorf("--loopback= is completed by %q", got)
	}
}

// TestCompleteNetworks: networks by name, and a driver's options behind its name, in
// shells that hand words over whole; TestCompleteBash has the other.
func TestCompleteNetworks(t *testing.T) {
	for _, shell := range []string{"zsh", "fish"} {
		for typed, want := range map[string]string{"--network=q": "quay", "--network=sli": "slirp4netns", "--network=builtin:m": "mtu=", "--network=pasta:mtu=9000,host": "host-loopback=true"} {
			got := strings.Join(askCompletion(t, shell, "coracle", "run", typed), "\n")
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s is completed by %q, without %s", shell, typed, got, want)
			}
		}
	}
}
