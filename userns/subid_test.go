package userns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeRoot makes a machine out of files; a name that ends in * is a program.
func fakeRoot(t *testing.T, files map[string]string) system {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		mode := os.FileMode(0o644)
		if n, ok := strings.CutSuffix(name, "*"); ok {
			name, mode = n, 0o755
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return system{root: root}
}

func TestParseSubIDs(t *testing.T) {
	const file = `# a comment
bob:100000:65536

ann:165536:65536
nonsense without colons
ann:x:5
bob:y:z
1000:300000:100
ann:1:2:3
ann:4294967290:10
 ann:400000:5
ann:500000:0`
	ranges, bad := parseSubIDs("/etc/subuid", file, []string{"ann", "1000"})
	if want := []Range{{165536, 65536}, {300000, 100}, {400000, 5}}; !slices.Equal(ranges, want) {
		t.Errorf("got %v, want %v", ranges, want)
	}
	var got []string
	for _, b := range bad {
		got = append(got, b.String())
	}
	want := []string{
		`/etc/subuid:6: "x" is not an id`,
		"/etc/subuid:9: a line has the form NAME:START:COUNT",
		"/etc/subuid:10: 10 ids from 4294967290 on go past the last id",
		"/etc/subuid:12: the range from 500000 on is empty",
	}
	if !slices.Equal(got, want) {
		t.Errorf("bad lines:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDistinct(t *testing.T) {
	for _, c := range []struct{ in, want []Range }{
		{nil, nil},
		{[]Range{{10, 5}, {10, 5}}, []Range{{10, 5}}},
		{[]Range{{20, 5}, {10, 5}}, []Range{{20, 5}, {10, 5}}},
		{[]Range{{10, 10}, {15, 10}}, []Range{{10, 10}, {20, 5}}},
		{[]Range{{15, 2}, {10, 10}}, []Range{{15, 2}, {10, 5}, {17, 3}}},
	} {
		if got := distinct(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.in, got, c.want)
		}
	}
}

func TestJoinRanges(t *testing.T) {
	got := joinRanges([]Range{{20, 5}, {10, 5}, {15, 5}, {40, 1}, {21, 2}})
	if want := "10-24, 40"; rangesText(got) != want {
		t.Errorf("got %s, want %s", rangesText(got), want)
	}
}

func TestSubIDSources(t *testing.T) {
	const answers = `#!/bin/sh
if [ "$1" = -g ]; then start=800000; shift; else start=700000; fi
[ "$1" = ann ] || { echo "Error fetching ranges" >&2; exit 1; }
echo "0: ann $start 65536"
`
	files := func(nsswitch string) map[string]string {
		return map[string]string{
			"etc/nsswitch.conf":  nsswitch,
			"etc/subuid":         "ann:100000:10\n",
			"etc/subgid":         "1000:200000:20\n",
			"usr/bin/getsubids*": answers,
		}
	}
	ann := Identity{UID: 1000, GID: 1000, Name: "ann"}
	for _, c := range []struct {
		name, nsswitch string
		id             Identity
		names          [2]string
		uids, gids     string
	}{
		{"files by name and number", "passwd: files\n", ann, [2]string{}, "100000-100009", "200000-200019"},
		{"files are named", "subid: files\n", ann, [2]string{}, "100000-100009", "200000-200019"},
		{"commented out", "#subid: sss\n", ann, [2]string{}, "100000-100009", "200000-200019"},
		{"a directory service", "subid: sss\n", ann, [2]string{}, "700000-765535", "800000-865535"},
		{"the service knows nothing", "subid:\tsss # new\n", Identity{UID: 1000, Name: "old"}, [2]string{}, "none", "200000-200019"},
		{"another name", "", ann, [2]string{"ann", "bob"}, "100000-100009", "none"},
		{"a caller without name", "", Identity{UID: 1000}, [2]string{}, "none", "200000-200019"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := fakeRoot(t, files(c.nsswitch)).subIDs(t.Context(), c.id, c.names)
			if err != nil || rangesText(l.UIDs) != c.uids || rangesText(l.GIDs) != c.gids {
				t.Errorf("%s / %s, %v; want %s / %s", rangesText(l.UIDs), rangesText(l.GIDs), err, c.uids, c.gids)
			}
		})
	}
}

func TestSubIDServiceFails(t *testing.T) {
	ann := Identity{UID: 1000, Name: "ann"}
	s := fakeRoot(t, map[string]string{
		"etc/nsswitch.conf":  "subid: sss",
		"usr/bin/getsubids*": "#!/bin/sh\necho broken\n",
	})
	if _, err := s.subIDs(t.Context(), ann, [2]string{}); err == nil || !strings.Contains(err.Error(), `printed "broken"`) {
		t.Errorf("nonsense from getsubids: %v", err)
	}
	// Not installed: the files are all there is.
	s = fakeRoot(t, map[string]string{"etc/nsswitch.conf": "subid: sss", "etc/subuid": "ann:5:6"})
	if l, err := s.subIDs(t.Context(), ann, [2]string{}); err != nil || rangesText(l.UIDs) != "5-10" {
		t.Errorf("%v, %v", l, err)
	}
	// A server that does not answer ends with the context.
	s = fakeRoot(t, map[string]string{"etc/nsswitch.conf": "subid: sss", "usr/bin/getsubids*": "#!/bin/sh\nexec sleep 60\n"})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("no time"))
	if _, err := s.subIDs(ctx, ann, [2]string{}); err == nil || !strings.Contains(err.Error(), "no time") {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRealGetsubids(t *testing.T) {
	// What the installed program prints must be what is parsed.
	out, err := realSystem().run(t.Context(), "getsubids", "root")
	if err != nil && !exited(err, 1) {
		mustWork(t, "getsubids", err)
	}
	if _, err := parseGetsubids(string(out)); err != nil {
		t.Error(err)
	}
}

// mustWork skips a test for want of something, or fails it where CI has
// promised to have everything.
func mustWork(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}

func FuzzParseSubIDs(f *testing.F) {
	f.Add("ann:100000:65536\n1000:5:6\n# x\n")
	f.Add("ann:4294967295:1\nann:1:4294967295\nann::\n:::")
	f.Add("ann:10:10\nann:15:10\nann:12:1\n\xff\x00")
	f.Fuzz(func(t *testing.T, data string) {
		ranges, bad := parseSubIDs("f", data, []string{"ann", "1000"})
		for _, b := range bad {
			if b.Line < 1 || b.Line > strings.Count(data, "\n")+1 {
				t.Fatalf("line %d of %q", b.Line, data)
			}
		}
		d := distinct(ranges)
		for i, r := range d {
			if r.Count == 0 || r.end() > 1<<32-1 {
				t.Fatalf("range %v of %q", r, data)
			}
			for _, s := range d[:i] {
				if overlaps(r.Start, s.Start, r.Count, s.Count) {
					t.Fatalf("%v and %v of %q", r, s, data)
				}
			}
		}
		if total(d) != total(joinRanges(ranges)) {
			t.Fatalf("distinct %v and joined %v differ", d, joinRanges(ranges))
		}
		subIDLines(data)
		_, _ = parseGetsubids(data)
	})
}
