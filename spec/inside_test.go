package spec

import (
	"fmt"
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestInsideOf(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"run", "var", "etc"} {
		if err := os.Mkdir(root+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"var/run": "/run", "etc/resolv.conf": "../run/systemd/resolve/stub.conf", "etc/up": "../../../../../etc/x", "etc/loop": "loop", "etc/a": "b", "etc/b": "/var/run/c",
	} {
		if err := os.Symlink(to, root+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	for dest, want := range map[string]string{
		"/": "/", "/plain/new": "/plain/new", "/var/run/lock": "/run/lock", "/etc/resolv.conf": "/run/systemd/resolve/stub.conf", "/etc/up/y": "/etc/x/y",
		"/etc/loop/x": "/etc/loop/x", "/etc/a/d": "/run/c/d", "/etc/../../var//run/./z": "/run/z",
	} {
		if got := insideOf(root)(dest); got != want {
			t.Errorf("%s: %s, want %s", dest, got, want)
		}
	}
}

// A directory of which many names are asked for is listed; its links are links still.
func TestInsideOfManyNames(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/d/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for i := range 5 * manyNames {
		name := fmt.Sprintf("/d/%d", i)
		want[name+"/x"] = name + "/x"
		var err error
		switch i % 4 {
		case 0:
			err = os.Mkdir(root+name, 0o755)
		case 1:
			err = os.WriteFile(root+name, nil, 0o644)
		case 2:
			err, want[name+"/x"] = os.Symlink("sub", root+name), "/d/sub/x"
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	resolve := insideOf(root)
	for i := range len(want) {
		dest := fmt.Sprintf("/d/%d/x", i)
		if got := resolve(dest); got != want[dest] {
			t.Errorf("%s: %s, want %s", dest, got, want[dest])
		}
	}
}

// Mount points that are links to nothing: what they name is made, inside; a
// mount that hides such a link makes it count no more.
func TestStartMakesWhatLinksName(t *testing.T) {
	root, src := busyboxRoot(t), t.TempDir()+"/f"
	if err := os.WriteFile(src, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	replaceByLink(t, root+"/etc/resolv.conf", "../srv/not/there.conf")
	replaceByLink(t, root+"/gone", "/made/here")
	replaceByLink(t, root+"/run/lock", "/locks")
	s := testSpec(root, "sh", "-c", "cat /etc/resolv.conf; cat /proc/self/mountinfo | grep -o ' /made/here/x \\| /run/lock \\| /locks ' ; pwd")
	s.Process.Cwd = "/gone/wd"
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/etc/resolv.conf", Source: src, Options: []string{"bind"}},
		specs.Mount{Destination: "/gone/x", Type: "tmpfs"},
		specs.Mount{Destination: "/run", Type: "tmpfs"},
		specs.Mount{Destination: "/run/lock", Type: "tmpfs"})
	out, code, err := runSpec(t, s, Extra{})
	if err != nil || code != 0 || out != "content /made/here/x \n /run/lock \n/made/here/wd\n" {
		t.Errorf("%q, %d, %v", out, code, err)
	}
}
