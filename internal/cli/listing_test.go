package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"coracle/images"
	"coracle/internal/engine"
)

func newTestApp(t *testing.T) *app {
	t.Helper()
	return &app{out: bufio.NewWriter(io.Discard), err: io.Discard, open: func(engine.Config) (engineAPI, error) { return &fakeEngine{}, nil }}
}

func TestImages(t *testing.T) {
	f := &fakeEngine{images: someImages()}
	one, two, three := digest.FromString("1").Encoded(), digest.FromString("2").Encoded(), digest.FromString("3").Encoded()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "REPOSITORY                TAG     IMAGE ID      CREATED     SIZE\n" +
			"docker.io/library/alpine  latest  " + two[:12] + "  1 hour ago  999 B\n" +
			"docker.io/library/debian  12      " + one[:12] + "  3 days ago  123 MB\n" +
			"localhost:5000/deb        x       " + one[:12] + "  3 days ago  123 MB\n" +
			"<none>                    <none>  " + three[:12] + "  N/A         5 GB\n"},
		{[]string{"-q"}, two[:12] + "\n" + one[:12] + "\n" + three[:12] + "\n"},
		{[]string{"-q", "--no-trunc", "alpine"}, "sha256:" + two + "\n"},
		{[]string{"-aq", "--filter", "dangling=true"}, three[:12] + "\n"},
		{[]string{"--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=*deb*"}, "docker.io/library/debian:12\nlocalhost:5000/deb:x\n"},
		{[]string{"--format", "{{.Tag}}", "debian:12"}, "12\n"},
		{[]string{"--format", "{{.Tag}}", "library/debian"}, "12\n"},
		{[]string{"--format", `table {{.Tag}}\t{{.Size}}`, "alpine"}, "TAG     SIZE\nlatest  999 B\n"},
		{[]string{"--noheading", "--format", "table {{.Tag}}", "alpine"}, "latest\n"},
		{[]string{"--format", "{{.Names | json}}", "alpine"}, "[\"docker.io/library/alpine:latest\"]\n"},
		{[]string{"nothing"}, "REPOSITORY  TAG  IMAGE ID  CREATED  SIZE\n"},
		{[]string{"--format", "json", "nothing"}, "[]\n"},
	} {
		got := invoke(t, f, append([]string{"images"}, c.args...)...)
		if got.code != 0 || got.out != c.want {
			t.Errorf("images %q: exit %d\n%s%s\nnot\n%s", c.args, got.code, got.out, got.err, c.want)
		}
	}
	for _, args := range [][]string{{"--filter", "bogus=x"}, {"--filter", "until=x"}, {"--filter", "dangling=x"}, {"["}, {"--format", "{{.Nothing}}"}} {
		if got := invoke(t, f, append([]string{"images"}, args...)...); got.code != 125 || got.err == "" {
			t.Errorf("images %q: %+v", args, got)
		}
	}
}

func TestImagesJSON(t *testing.T) {
	got := invoke(t, &fakeEngine{images: someImages()}, "images", "--format", "json", "alpine")
	var rows []map[string]any
	if err := json.Unmarshal([]byte(got.out), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1 || rows[0]["Id"] != digest.FromString("2").String() || rows[0]["Repository"] != "docker.io/library/alpine" || rows[0]["Bytes"] != 999.0 {
		t.Errorf("%+v", rows)
	}
}

// TestNothingReachesTheTerminal gives every listing names with terminal
// escapes, newlines and a bidirectional override, in each of its formats.
func TestNothingReachesTheTerminal(t *testing.T) {
	f := &fakeEngine{
		images:     []images.Listed{{ID: digest.FromString("1"), Names: []string{evil + "/x:" + evil}}},
		containers: []engine.Container{{ID: evil, Name: evil, Image: evil, Command: []string{evil, "\x1bc"}}},
		checks:     []engine.Check{{Name: evil, Status: "warn", Detail: evil, Hint: evil}},
		documents:  map[string]any{"x": map[string]any{evil: []string{evil}, "Name": evil}},
		err:        nil,
	}
	for _, line := range []string{
		"images", "images --digests --no-trunc", "images --format json", "images --format {{.Repository}}{{.Tag}}{{.Names}}",
		"images --format {{json\t.Names}}", "images --format table\t{{.Repository}}",
		"ps -a", "ps -a --no-trunc", "ps -aq", "ps -a --format json", "ps -a --format {{.Names}}{{.Command}}{{.Image}}{{.ID}}",
		"doctor", "doctor --format json", "doctor --format {{.}}",
		"inspect x", "inspect --format {{.Name}}{{.}} x", "inspect --format {{json\t.}} x", "inspect no-" + "\x1b[2J",
		"rm " + "\x1b[2J", "rmi \x1b[2J", "rmi no-\x1b[2J", "pull \x1b[2J", "\x1b[2J", "run --\x1b[2J x", "run --pull=\x1b[2J x", "images --filter=\x1b=x",
	} {
		args := strings.Fields(strings.ReplaceAll(line, "\t", "\x00"))
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "\x00", " ")
		}
		got := invoke(t, f, args...)
		if got.out+got.err == "" {
			t.Errorf("%q printed nothing", line)
		}
		for _, r := range got.out + got.err {
			if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') || !utf8.ValidString(got.out+got.err) {
				t.Errorf("%q printed %U: %q", line, r, got.out+got.err)
				break
			}
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain ~text":          "plain ~text",
		"Straße 日本 é":          "Straße 日本 é",
		"a\nb\tc\rd":           `a\nb\tc\rd`,
		"\x1b[31m":             `\x1b[31m`,
		"\x00\x07\x7f":         `\x00\a\x7f`,
		"\u009b1m":             `\u009b1m`,
		"x\u202ey\u2066z":      `x\u202ey\u2066z`,
		"\xff\xc3":             `\xff\xc3`,
		"\ufeff\u200b\u2028":   `\ufeff\u200b\u2028`,
		"\U000e0041 tag":       `\U000e0041 tag`,
		"back\\slash":          `back\slash`,
		"\ufffd replacement":   "\ufffd replacement",
		"non\u00a0break\u3000": `non\u00a0break\u3000`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, not %q", in, got, want)
		}
	}
	if got := visibleText("a\n\tb\x1b"); got != "a\n\tb\\x1b" {
		t.Errorf("visibleText: %q", got)
	}
}

func TestVisibleJSONKeepsTheValue(t *testing.T) {
	for _, s := range []string{evil, "\u009b\u007f\u202e\U000e0041", "plain", "日本"} {
		doc, err := json.Marshal(map[string]string{"k": s})
		if err != nil {
			t.Fatal(err)
		}
		clean := visibleJSON(doc)
		var before, after map[string]string
		if err := json.Unmarshal(clean, &after); err != nil {
			t.Fatalf("%q: %v", clean, err)
		}
		_ = json.Unmarshal(doc, &before)
		if before["k"] != after["k"] || strings.ContainsFunc(strings.Map(onlyControl, string(clean)), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q became %q", doc, clean)
		}
	}
}

// What no JSON is made of can stand in a document that others wrote, and inspect --raw shows it:
// on a terminal nothing of it is an order, in whichever encoding that reads.
func TestVisibleJSONOfAnything(t *testing.T) {
	for in, want := range map[string]string{
		"{\n\t\"a\": 1\n}":        "{\n\t\"a\": 1\n}",
		"\"\x1b[31m\"":            `"\u001b[31m"`,
		"\"\u009b31m\"":           `"\u009b31m"`,
		"\"\x9b31m\xff\xe6\x97\"": `"\ufffd31m\ufffd\ufffd\ufffd"`,
		"\"\ufffd 日本\"":           "\"\ufffd 日本\"",
		"{}\r\x00\x7f":            `{}\u000d\u0000\u007f`,
	} {
		if got := string(visibleJSON([]byte(in))); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}

// onlyControl drops what may be printed.
func onlyControl(r rune) rune {
	if r >= 0xa0 && r != '\u202e' && r < 0xe0000 {
		return -1
	}
	return r
}

func TestRemoveCommands(t *testing.T) {
	for _, c := range []struct {
		line  string
		code  int
		asked string
	}{
		{"rm web old", 0, "rm web,rm old"},
		{"rm -f web", 0, "rm web,force"},
		{"rm no-x web", 1, "rm no-x,rm web"},
		{"rm -i no-x web", 0, "rm no-x,rm web"},
		{"rm -a", 0, "rm " + strings.Repeat("b", 64)},
		{"rm", 125, ""},
		{"rm -a web", 125, ""},
		{"rmi debian alpine", 0, "rmi debian,rmi alpine"},
		{"rmi -f no-x debian", 125, "rmi no-x,force,rmi debian,force"},
		{"rmi", 125, ""},
		{"rmi -a debian", 125, ""},
		{"rmi -a", 0, "rmi docker.io/library/debian:12,rmi localhost:5000/deb:x,rmi docker.io/library/alpine:latest,rmi " + digest.FromString("3").String()},
	} {
		f := &fakeEngine{images: someImages(), containers: someContainers()}
		got := invoke(t, f, strings.Fields(c.line)...)
		if got.code != c.code || strings.Join(f.asked, ",") != c.asked {
			t.Errorf("%q: exit %d, asked %q; not %d, %q\n%s", c.line, got.code, f.asked, c.code, c.asked, got.err)
		}
	}
}

func TestSeveralFailuresAreAllTold(t *testing.T) {
	got := invoke(t, &fakeEngine{}, "rmi", "no-a", "ok", "no-b")
	if strings.Count(got.err, "error: ") != 2 || strings.Count(got.err, "hint: ") != 2 || got.out != "Untagged: ok\n" {
		t.Errorf("%+v", got)
	}
}

func TestPull(t *testing.T) {
	f := &fakeEngine{images: someImages()}
	got := invoke(t, f, "pull", "--platform=linux/arm64", "--tls-verify=false", "debian", "nothing", "alpine")
	want := digest.FromString("1").Encoded() + "\n" + digest.FromString("2").Encoded() + "\n"
	if got.code != 125 || got.out != want || !strings.Contains(got.err, "error: pull nothing: look up nothing") {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.err, "layer of alpine  4 B\n") {
		t.Errorf("no line for the layer in %q", got.err)
	}
	if f.pull.Policy != "always" || f.pull.Platform != "linux/arm64" || f.pull.TLSVerify == nil || *f.pull.TLSVerify {
		t.Errorf("%+v", f.pull)
	}
	if got := invoke(t, f, "pull", "-q", "debian"); got.err != "" || f.pull.Progress != nil {
		t.Errorf("quiet: %+v", got)
	}
}

func TestImport(t *testing.T) {
	f := &fakeEngine{}
	got := invoke(t, f, "import", "-c", `CMD ["a","b"]`, "--change=ENV A=b", "-m", "why", "-", "my/root:1")
	if got.out != digest.FromString("imported").String()+"\n" {
		t.Errorf("%+v", got)
	}
	if f.asked[0] != "import -" || f.imp.Name != "my/root:1" || f.imp.Message != "why" || !slices.Equal(f.imp.Changes, []string{`CMD ["a","b"]`, "ENV A=b"}) {
		t.Errorf("%q %+v", f.asked, f.imp)
	}
}

func TestInspect(t *testing.T) {
	f := &fakeEngine{documents: map[string]any{"a": map[string]any{"Config": map[string]any{"Env": []string{"A=<b>"}}}}}
	if got := invoke(t, f, "inspect", "--format", "{{index .Config.Env 0}}", "a"); got.out != "A=<b>\n" {
		t.Errorf("%+v", got)
	}
	got := invoke(t, f, "inspect", "--type", "image", "a", "missing")
	if got.code != 125 || !strings.HasPrefix(got.out, "[\n") || !strings.Contains(got.out, `"A=<b>"`) || f.asked[1] != "inspect image a" {
		t.Errorf("%+v %q", got, f.asked)
	}
	if got := invoke(t, f, "inspect", "--format", "[{{.Config.User}}{{.Nothing}}]", "a"); got.out != "[]\n" {
		t.Errorf("what is not set: %+v", got)
	}
	if got := invoke(t, f, "inspect", "missing"); got.out != "[]\n" {
		t.Errorf("%+v", got)
	}
}

func TestDoctor(t *testing.T) {
	f := &fakeEngine{checks: []engine.Check{{Name: "subids", Status: "ok", Detail: "65536"}, {Name: "tun", Status: "warn", Detail: "missing", Hint: "modprobe tun\nand so on"}}}
	got := invoke(t, f, "doctor")
	want := "ok    subids  65536\nwarn  tun     missing\n      hint: modprobe tun\n            and so on\n\n1 ok, 1 to look at, 0 in the way of \"coracle run\"\n"
	if got.code != 0 || got.out != want {
		t.Errorf("exit %d\n%s", got.code, got.out)
	}
	f.checks[1].Status = "fail"
	for _, format := range []string{"", "json"} {
		if got := invoke(t, f, "doctor", "--format="+format); got.code != 1 || got.err != "" {
			t.Errorf("with a failed check: %+v", got)
		}
	}
}

func TestOutline(t *testing.T) {
	var b bytes.Buffer
	doc := `{"store":{"root":"/x\u001b","free":2000,"drivers":[],"empty":{},"none":null,"no":""},"map":[[0,1000,1],[1,100000,65536]],"list":["a","b"],"deep":["a",{"b":true}],"end":1.5}`
	if err := writeOutline(&b, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	want := `store:
  root: /x\x1b
  free: 2000 (2 kB)
  drivers: none
  empty: none
  none: none
  no: none
map:
  0 1000 1
  1 100000 65536
list: a b
deep:
  a
  -:
    b: true
end: 1.5
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestTableFitsTheTerminal(t *testing.T) {
	tab := table{
		titles: []string{"NAME", "ID", "TEXT"},
		flex:   []bool{true, false, true},
		rows:   [][]string{{strings.Repeat("n", 40), "123456789012", strings.Repeat("ü", 50)}, {"short", "1", ""}},
	}
	for width, longest := range map[int]int{0: 106, 200: 106, 80: 80, 60: 60, 10: 40} {
		var b bytes.Buffer
		tab.write(&b, width)
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(line)) - 1; n > longest {
				t.Errorf("width %d: a line of %d: %s", width, n, line)
			}
		}
		if width == 80 && !strings.Contains(b.String(), "123456789012") {
			t.Errorf("the id was cut: %s", b.String())
		}
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1234: "1.23 kB", 999_600: "1 MB", 75_123_456: "75.1 MB", 5_000_000_000: "5 GB", 1 << 62: "4.61e+03 PB"} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, not %q", n, got, want)
		}
	}
}

func TestHumanAge(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", time.Second: "1 second ago", 90 * time.Second: "1 minute ago", 26 * time.Hour: "26 hours ago",
		72 * time.Hour: "3 days ago", 15 * 24 * time.Hour: "2 weeks ago", 90 * 24 * time.Hour: "3 months ago",
		800 * 24 * time.Hour: "2 years ago", -time.Hour: "just now",
	} {
		if got := humanAge(now, now.Add(-d)); got != want {
			t.Errorf("%v: %q, not %q", d, got, want)
		}
	}
	if got := humanAge(now, time.Time{}); got != "N/A" {
		t.Errorf("no time at all: %q", got)
	}
}

func TestSplitName(t *testing.T) {
	for name, want := range map[string][3]string{
		"docker.io/library/debian:12":   {"docker.io/library/debian", "12", ""},
		"localhost:5000/a":              {"localhost:5000/a", "", ""},
		"localhost:5000/a:b@sha256:cd":  {"localhost:5000/a", "b", "sha256:cd"},
		"docker.io/library/x@sha256:ab": {"docker.io/library/x", "", "sha256:ab"},
	} {
		r, tag, d := splitName(name)
		if [3]string{r, tag, d} != want {
			t.Errorf("splitName(%q) = %q %q %q", name, r, tag, d)
		}
	}
}

// TestHelp compares with testdata/*.golden; CORACLE_UPDATE=1 writes them.
func TestHelp(t *testing.T) {
	lines := map[string][]string{"help": {"help"}}
	for _, e := range commands() {
		lines["help-"+strings.ReplaceAll(e.name, " ", "-")] = append(strings.Fields(e.name), "--help")
	}
	for _, f := range families() {
		lines["help-"+f.name] = []string{f.name, "--help"}
	}
	for name, args := range lines {
		got := invoke(t, nil, args...)
		for line := range strings.Lines(got.out) {
			if len(strings.TrimRight(line, "\n")) > 80 {
				t.Errorf("%s: wider than 80 columns: %s", name, line)
			}
		}
		file := "testdata/" + name + ".golden"
		if os.Getenv("CORACLE_UPDATE") == "1" {
			if err := os.WriteFile(file, []byte(got.out), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got.out != string(want) {
			t.Errorf("%s differs from %s:\n%s", name, file, got.out)
		}
	}
}
