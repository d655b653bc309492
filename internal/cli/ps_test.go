package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"coracle/internal/engine"
)

func someContainers() []engine.Container {
	return []engine.Container{
		{ID: strings.Repeat("a", 64), Name: "web", Image: "docker.io/library/debian:12", Command: []string{"sleep", "9"}, Status: "running", PID: 7, Created: time.Now().Add(-time.Minute)},
		{ID: strings.Repeat("b", 64), Name: "old", Image: "host", Command: []string{"sh"}, Status: "exited", ExitCode: 3},
	}
}

// psContainers are in all states, the youngest first.
func psContainers() []engine.Container {
	now := time.Now()
	at := func(d time.Duration) time.Time { return now.Add(-d) }
	return []engine.Container{
		{ID: strings.Repeat("a", 64), Name: "web", Image: "debian:12", ImageID: digest.FromString("1"), Command: []string{"sleep", "99"}, Status: "running", PID: 7,
			Created: at(90 * time.Minute), Started: at(3 * time.Minute), Health: "healthy", Labels: map[string]string{"tier": "front", "a": "b"}, Network: "host", Restarts: 2},
		{ID: strings.Repeat("b", 64), Name: "cold", Image: "host", Command: []string{"a-command-that-is-much-too-long-for-a-table"}, Status: "paused", Created: at(2 * time.Hour), Started: at(2 * time.Hour)},
		{ID: strings.Repeat("c", 64), Name: "job", Image: "host", Command: []string{"sh"}, Status: "exited", ExitCode: 3, Created: at(3 * time.Hour), Started: at(3 * time.Hour), Finished: at(time.Hour)},
		{ID: strings.Repeat("d", 64), Name: "new", Image: "alpine", Command: []string{"sh"}, Status: "created", Created: at(72 * time.Hour)},
	}
}

func TestPS(t *testing.T) {
	a, b, c, d := strings.Repeat("a", 12), strings.Repeat("b", 12), strings.Repeat("c", 12), strings.Repeat("d", 12)
	table := "CONTAINER ID  IMAGE      COMMAND                   CREATED      STATUS                  PORTS  NAMES\n" +
		a + "  debian:12  sleep 99                  1 hour ago   Up 3 minutes (healthy)         web\n" +
		b + "  host       a-command-that-i…a-table  2 hours ago  Up 2 hours (Paused)            cold\n" +
		c + "  host       sh                        3 hours ago  Exited (3) 1 hour ago          job\n" +
		d + "  alpine     sh                        3 days ago   Created                        new\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-a"}, table},
		{[]string{"-a", "--format", "table"}, table},
		{[]string{"-q"}, a + "\n" + b + "\n"},
		{[]string{"-aq", "--no-trunc", "-l"}, strings.Repeat("a", 64) + "\n"},
		{[]string{"-q", "-n", "3"}, a + "\n" + b + "\n" + c + "\n"},
		{[]string{"-q", "--last", "9", "--filter", "name=o"}, b + "\n" + c + "\n"},
		{[]string{"-q", "--last", "1", "--filter", "name=o"}, b + "\n"},
		{[]string{"-q", "--last", "0", "--filter", "name=w"}, a + "\n"}, // no limit, and those that run
		{[]string{"-q", "-f", "status=exited"}, c + "\n"},
		{[]string{"-q", "-f", "exited=3"}, c + "\n"},
		{[]string{"-q", "-f", "name=job"}, ""}, // it does not run
		{[]string{"-aq", "-f", "before=job"}, d + "\n"},
		{[]string{"-aq", "-f", "health=healthy"}, a + "\n"},
		{[]string{"-aq", "--sort", "names"}, b + "\n" + c + "\n" + d + "\n" + a + "\n"},
		{[]string{"-aq", "--sort", "image"}, d + "\n" + a + "\n" + b + "\n" + c + "\n"},
		{[]string{"-aq", "--sort", "status"}, d + "\n" + c + "\n" + b + "\n" + a + "\n"},
		{[]string{"-aq", "--sort", "size"}, a + "\n" + c + "\n" + d + "\n" + b + "\n"},
		{[]string{"-a", "--format", "{{.Names}} {{.ExitCode}} {{.Pid}} {{.State}} {{.Exited}}"}, "web 0 7 running false\ncold 0 0 paused false\njob 3 0 exited true\nnew 0 0 created false\n"},
		{[]string{"-l", "--format", `{{.Label "tier"}}|{{.Label "none"}}|{{.Labels}}|{{index .Labels "a"}}|{{.Networks}}|{{.Restarts}}|{{.Health}}|{{.RunningFor}}`}, "front||a=b,tier=front|b|host|2|healthy|1 hour ago\n"},
		{[]string{"-l", "--format", `table {{.ID}}\t{{.Names}}\t{{.Label "tier"}}\t{{.RunningFor}}`}, "CONTAINER ID  NAMES  TIER   RUNNING FOR\n" + a + "  web    front  1 hour ago\n"},
		{[]string{"-l", "--noheading", "--format", "table {{.Names}}"}, "web\n"},
		{[]string{"-l", "--format", "{{.Size}} {{json .Names}}"}, "3 kB (virtual 5 MB) \"web\"\n"},
		{[]string{"-ls", "--noheading"}, a + "  debian:12  sleep 99  1 hour ago  Up 3 minutes (healthy)    web  3 kB (virtual 5 MB)\n"},
		{[]string{"-f", "name=nothing", "--noheading"}, ""},
		{[]string{"-f", "name=nothing", "--format", "json"}, "[]\n"},
		{[]string{"--ns", "-f", "name=nothing"}, "CONTAINER ID  NAMES  PID  CGROUPNS  IPC  MNT  NET  PIDNS  USERNS  UTS\n"},
	} {
		got := invoke(t, &fakeEngine{containers: psContainers()}, append([]string{"ps"}, c.args...)...)
		if got.code != 0 || got.out != c.want {
			t.Errorf("ps %q: exit %d %s\n%s\nnot\n%s", c.args, got.code, got.err, got.out, c.want)
		}
	}
}

func TestPSRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"--filter nam=x":       `did you mean "name"? There are ancestor, annotation, before`,
		"--filter name":        "it has no value",
		"--filter status=runs": `there is no state "runs"`,
		"--pod":                "there are no pods",
		"--external":           "no other program keeps containers",
		"--watch 0":            "a number of seconds",
		"-l -n 2":              "--last 1 is --latest",
		"-q --format json":     "--quiet prints ids only",
		"--sort pid":           "command",
		"--format {{.Nope}}":   "Nope",
	} {
		got := invoke(t, &fakeEngine{containers: psContainers()}, append([]string{"ps"}, strings.Fields(line)...)...)
		if got.code != 125 || !strings.Contains(got.err, want) {
			t.Errorf("ps %s: exit %d %s", line, got.code, got.err)
		}
	}
}

func TestPSJSON(t *testing.T) {
	f := &fakeEngine{containers: psContainers()}
	var docs []map[string]any
	if err := json.Unmarshal([]byte(invoke(t, f, "ps", "-a", "-s", "--format", "json").out), &docs); err != nil || len(docs) != 4 {
		t.Fatalf("%v %v", docs, err)
	}
	web := docs[0]
	for key, want := range map[string]any{
		"Id": strings.Repeat("a", 64), "ImageID": digest.FromString("1").Encoded(), "State": "running", "Status": "Up 3 minutes (healthy)",
		"Pid": 7.0, "Restarts": 2.0, "Exited": false, "ExitedAt": 0.0, "Created": float64(f.containers[0].Created.Unix()), "StartedAt": float64(f.containers[0].Started.Unix()),
	} {
		if web[key] != want {
			t.Errorf("%s: %v, not %v", key, web[key], want)
		}
	}
	for key, want := range map[string]string{"Names": `["web"]`, "Command": `["sleep","99"]`, "Labels": `{"a":"b","tier":"front"}`, "Mounts": "[]", "Ports": "[]", "Networks": `["host"]`, "Size": `{"rootFsSize":5000000,"rwSize":3000}`} {
		if got, _ := json.Marshal(web[key]); string(got) != want {
			t.Errorf("%s: %s, not %s", key, got, want)
		}
	}
	var keys []string
	for k := range docs[3] {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	// Programs read these: a key that goes or changes its kind breaks them.
	want := "AutoRemove Command Created CreatedAt ExitCode Exited ExitedAt Health Id Image ImageID Labels Mounts Names Networks OOMKilled Pid Ports Restarts Size StartedAt State Status"
	if strings.Join(keys, " ") != want || docs[3]["StartedAt"] != 0.0 {
		t.Errorf("%q", keys)
	}
}

func TestSelection(t *testing.T) {
	ids := func(letters string) []string {
		var out []string
		for _, l := range letters {
			out = append(out, strings.Repeat(string(l), 64))
		}
		return out
	}
	for _, c := range []struct {
		s    selection
		want []string
	}{
		{selection{Containers: []string{"web", "job"}}, []string{"web", "job"}},
		{selection{All: true}, ids("ab")},
		{selection{Latest: true}, ids("a")},
		{selection{Filter: []string{"name=o"}}, ids("b")}, // of those that run
		{selection{Filter: []string{"label=tier", "status=paused"}}, nil},
		{selection{All: true, Filter: []string{"status=paused"}}, ids("b")},
	} {
		names, err := c.s.names(&fakeEngine{containers: psContainers()}, "stop", isRunning)
		if err != nil || !slices.Equal(names, c.want) {
			t.Errorf("%+v: %q %v, not %q", c.s, names, err, c.want)
		}
	}
	for _, c := range []struct {
		s    selection
		want string
	}{
		{selection{}, "either CONTAINER, --all, --filter or --latest is needed"},
		{selection{Containers: []string{"web"}, All: true}, "either CONTAINER"},
		{selection{Containers: []string{"web"}, Filter: []string{"name=x"}}, "either CONTAINER"},
		{selection{Latest: true, Filter: []string{"name=x"}}, "either CONTAINER"},
		{selection{Filter: []string{"nme=x"}}, `there is no filter "nme"`},
		{selection{CIDFile: []string{"/gone"}}, "read the container id"},
	} {
		if _, err := c.s.names(&fakeEngine{containers: psContainers()}, "stop", isRunning); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, not %s", c.s, err, c.want)
		}
	}
}

func TestScreen(t *testing.T) {
	var b strings.Builder
	s := screen{out: &b, width: 10, height: 5}
	s.show("one\ntwo is wider than ten\nthree\nfour\n", "title", "", true)
	want := "\x1b[2J\x1b[Htitle\x1b[K\r\n\x1b[K\r\none\x1b[K\r\ntwo is wi…\r\n… 2 more\x1b[K\x1b[J"
	if b.String() != want {
		t.Errorf("%q\nnot\n%q", b.String(), want)
	}
	b.Reset()
	s = screen{out: &b}
	s.show("one\n", "title", "", true)
	s.show("two\n", "title", "", false)
	if b.String() != "one\n\ntwo\n" {
		t.Errorf("without a terminal: %q", b.String())
	}
}

// 137 alone may be anybody's SIGKILL: the kernel's own is told apart.
func TestOOMIsToldApart(t *testing.T) {
	now := time.Now()
	killed := engine.Container{ID: strings.Repeat("e", 64), Name: "bomb", Status: "exited", ExitCode: 137, Signal: 9, Started: now.Add(-2 * time.Minute), Finished: now.Add(-time.Minute)}
	oom := killed
	oom.OOMKilled, oom.OOMKills = true, 2
	for box, want := range map[*engine.Container]string{&killed: "Exited (137) 1 minute ago", &oom: "Exited (137) 1 minute ago (OOM)"} {
		if got := statusLine(*box, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := invoke(t, &fakeEngine{containers: []engine.Container{oom}}, "ps", "-a", "--format", "{{.OOMKilled}}"); got.out != "true\n" {
		t.Errorf("%+v", got)
	}
}

// The kernel's kill for want of memory is said to who waits, on standard error.
func TestWaitSaysOOM(t *testing.T) {
	for name, test := range map[string]struct {
		exit engine.Exit
		said bool
	}{
		"killed by the kernel":       {engine.Exit{Code: 137, Signal: 9, OOMKilled: true}, true},
		"killed by somebody":         {engine.Exit{Code: 137, Signal: 9}, false},
		"only a child was, long ago": {engine.Exit{OOMKilled: true}, false},
	} {
		for _, args := range [][]string{{"wait", "bomb"}, {"attach", "bomb"}, {"start", "-a", "bomb"}, {"run", "debian"}} {
			got := invoke(t, &fakeEngine{exit: test.exit}, args...)
			if strings.Contains(got.err, "(OOM)") != test.said || args[0] != "wait" && got.code != test.exit.Code {
				t.Errorf("%s: %s: %+v", args[0], name, got)
			}
		}
	}
}
