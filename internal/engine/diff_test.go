package engine

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// whiteout makes the kind that needs no privilege.
func whiteout(t *testing.T, name string) {
	t.Helper()
	must(t, os.WriteFile(name, nil, 0o644), unix.Setxattr(name, "user.overlay.whiteout", []byte("y"), 0))
}

func TestDiffLayers(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	for _, f := range []string{"etc/conf", "etc/gone", "old/a", "old/b", "old/sub/c", "kind/x", "plain"} {
		must(t, os.MkdirAll(lower+"/"+f[:max(strings.LastIndexByte(f, '/'), 0)], 0o755), os.WriteFile(lower+"/"+f, []byte(f), 0o644))
	}
	must(t, os.MkdirAll(upper+"/etc/fresh", 0o755), os.WriteFile(upper+"/etc/conf", []byte("new"), 0o644), os.WriteFile(upper+"/etc/fresh/f", nil, 0o644),
		os.MkdirAll(upper+"/old/sub", 0o755), os.WriteFile(upper+"/old/b", nil, 0o644), os.WriteFile(upper+"/old/d", nil, 0o644),
		unix.Setxattr(upper+"/old", "user.overlay.opaque", []byte("y"), 0), os.WriteFile(upper+"/kind", nil, 0o644))
	whiteout(t, upper+"/etc/gone")
	// What was only copied up is not changed, unless something in it is.
	for _, d := range []string{"same", "only", "only/in"} {
		for _, layer := range []string{lower, upper} {
			must(t, os.MkdirAll(layer+"/"+d, 0o755))
		}
	}
	must(t, os.WriteFile(lower+"/only/in/f", nil, 0o644), os.WriteFile(upper+"/only/in/f", nil, 0o600))
	for _, d := range []string{"same", "only/in", "only"} {
		for _, layer := range []string{lower, upper} {
			must(t, os.Chtimes(layer+"/"+d, time.Unix(1, 0), time.Unix(1, 0)))
		}
	}
	whiteout(t, upper+"/never")
	var b bytes.Buffer
	d := &differ{enc: json.NewEncoder(&b), lower: openDir(t, lower)}
	must(t, d.dir(openDir(t, upper), "", true, false))
	var got []string
	for dec := json.NewDecoder(&b); dec.More(); {
		var c Change
		must(t, dec.Decode(&c))
		got = append(got, c.Kind+" "+c.Path)
	}
	slices.Sort(got)
	want := []string{"A /etc/fresh", "A /etc/fresh/f", "A /old/d", "C /etc", "C /etc/conf", "C /kind", "C /old", "C /old/b", "C /old/sub", "C /only", "C /only/in", "C /only/in/f", "D /etc/gone", "D /old/a", "D /old/sub/c"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	// fuse-overlayfs marks by name what the kernel's overlay takes for a file.
	must(t, os.RemoveAll(upper), os.MkdirAll(upper+"/etc", 0o755), os.WriteFile(upper+"/etc/.wh.gone", nil, 0o644))
	for marked, want := range map[bool]string{true: "D /etc/gone", false: "A /etc/.wh.gone"} {
		b.Reset()
		d := &differ{enc: json.NewEncoder(&b), lower: openDir(t, lower), marked: marked}
		must(t, d.dir(openDir(t, upper), "", true, false))
		if kind, path, _ := strings.Cut(want, " "); !strings.Contains(b.String(), `{"k":"`+kind+`","p":"`+path+`"}`) {
			t.Errorf("marked %v: %s", marked, b.String())
		}
	}
}

func TestDiffWithoutOurs(t *testing.T) {
	all := []Change{{"C", "/etc"}, {"A", "/etc/hosts"}, {"A", "/etc/hosts.d"}, {"A", "/vol"}, {"A", "/vol/x"}, {"A", "/volume"}, {"C", "/run"}, {"A", "/run/x"}}
	got := withoutOurs(all, []specs.Mount{{Destination: "/vol/"}})
	if want := []Change{{"C", "/etc"}, {"A", "/etc/hosts.d"}, {"A", "/volume"}, {"A", "/run/x"}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
