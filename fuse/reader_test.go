package fuse

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stackOf makes layers, topmost first, and a secret beside them.
func stackOf(t *testing.T, layers ...map[string]string) (*LayerReader, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"secret": "never"})
	var lowers []string
	for i, files := range layers {
		l := filepath.Join(dir, string(rune('a'+i)))
		must(t, os.Mkdir(l, 0o755))
		for name, data := range files {
			switch data {
			case "WHITEOUT":
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(l, name)), 0o755))
				err := unix.Mknod(filepath.Join(l, name), unix.S_IFCHR, 0)
				need(t, err == nil, "mknod of a whiteout")
			case "XATTR WHITEOUT":
				write(t, l, map[string]string{name: ""})
				mark(t, filepath.Join(l, name), xattrWhiteout, "y")
				mark(t, filepath.Dir(filepath.Join(l, name)), xattrOpaque, "x")
			case "OPAQUE":
				write(t, l, map[string]string{name + "/": ""})
				mark(t, filepath.Join(l, name), xattrOpaque, "y")
			default:
				write(t, l, map[string]string{name: data})
			}
		}
		lowers = append(lowers, l)
	}
	r, err := OpenLayers(lowers)
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r, dir
}

func mark(t *testing.T, path, name, value string) {
	t.Helper()
	err := unix.Setxattr(path, name, []byte(value), 0)
	need(t, err == nil, "user attributes")
}

func TestReadFile(t *testing.T) {
	r, dir := stackOf(t,
		map[string]string{"etc/passwd": "top", "gone": "WHITEOUT", "x/gone2": "XATTR WHITEOUT", "opaque": "OPAQUE", "opaque/new": "new",
			"nodir": "a file", "abs -> /etc/passwd": "", "up -> ../../../../etc/group": "", "loop -> loop2": "", "loop2 -> loop": "",
			"out -> /../../secret": "", "usr/bin/": "", "bin -> usr/bin": "", "dangling -> nowhere/at/all": "", "self -> .": "", "var/run -> /run": ""},
		map[string]string{"etc/passwd": "below", "etc/group": "group", "gone": "never", "x/gone2": "never", "x/stays": "stays", "opaque/old": "never",
			"nodir/f": "never", "usr/bin/sh": "sh", "lib -> usr/lib": "", "run/f": "f"},
		map[string]string{"x/gone2": "never", "usr/lib/libc": "libc", "usr/bin/sh": "never", "deep/a/b": "b"})
	for name, want := range map[string]string{
		"/etc/passwd": "top", "etc/passwd": "top", "//etc/./x/../passwd": "", "/etc/group": "group", "/../../etc/group": "group",
		"/abs": "top", "/up": "group", "/bin/sh": "sh", "/lib/libc": "libc", "/x/stays": "stays", "/opaque/new": "new",
		"/deep/a/b": "b", "/self/self/self/etc/group": "group", "/var/run/f": "f", "/nodir": "a file",
		"/gone": "", "/x/gone2": "", "/opaque/old": "", "/nodir/f": "", "/loop": "", "/out": "", "/secret": "", "/../secret": "",
		"/dangling": "", "/etc": "", "/": "", "": "", "/etc/passwd/": "", "/a\x00b": "",
	} {
		got, err := r.ReadFile(name)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]error{"/gone": fs.ErrNotExist, "/loop": unix.ELOOP, "/etc": unix.EISDIR, "/nodir/f": unix.ENOTDIR} {
		if _, err := r.ReadFile(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "a", "big"), make([]byte, readMax+1), 0o644))
	if _, err := r.ReadFile("/big"); !errors.Is(err, ErrTooBig) {
		t.Errorf("a large file: %v", err)
	}
	must(t, unix.Mkfifo(filepath.Join(dir, "a", "fifo"), 0o644))
	if _, err := r.ReadFile("/fifo"); err == nil {
		t.Error("a FIFO was read")
	}
}

func TestResolveAndLookPath(t *testing.T) {
	r, dir := stackOf(t,
		map[string]string{"bin -> usr/bin": "", "etc/resolv.conf -> ../run/stub/resolv.conf": "", "var/run -> /run": "", "a -> b": "", "b -> a": "", "run/": "",
			"opt/tool": "x", "esc -> ../../..": "", "usr/bin/text": "x"},
		map[string]string{"usr/bin/sh": "x"})
	for _, x := range []string{"b/usr/bin/sh", "a/opt/tool"} {
		must(t, os.Chmod(filepath.Join(dir, x), 0o755))
	}
	for name, want := range map[string]string{
		"/bin/sh": "/usr/bin/sh", "/bin/new/dir": "/usr/bin/new/dir", "/etc/resolv.conf": "/run/stub/resolv.conf", "/var/run/x": "/run/x",
		"/": "/", "/../x": "/x", "/esc/y": "/y", "/a/x": "/a/x",
	} {
		if got := r.Resolve(name); got != want {
			t.Errorf("Resolve(%s) = %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"sh": "/bin/sh", "tool": "", "/opt/tool": "/opt/tool", "./tool": "/opt/tool", "none": "", "": "", "text": ""} {
		got, err := r.LookPath(name, "/nowhere:/bin", "/opt")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("LookPath(%q) = %s, %v; want %q", name, got, err, want)
		}
	}
	if _, err := r.LookPath("text", "/bin", "/"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a file that is not executable: %v", err)
	}
}

func TestReaderLeaksNothing(t *testing.T) {
	r, _ := stackOf(t, map[string]string{"etc/passwd": "x", "l -> /etc/passwd": "", "loop -> loop": ""}, map[string]string{"etc/group": "y"})
	before := len(readNames("/proc/self/fd"))
	for range 20 {
		for _, n := range []string{"/l", "/loop", "/none/x", "/etc/group", "/etc/passwd/x", "/etc/../etc/group"} {
			_, _ = r.ReadFile(n)
			_, _ = r.Lstat(n)
			_ = r.Resolve(n)
		}
	}
	if after := len(readNames("/proc/self/fd")); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	must(t, r.Close())
	if _, err := r.ReadFile("/etc/group"); err == nil {
		t.Error("a closed reader reads")
	}
	if _, err := OpenLayers([]string{"/nowhere"}); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a missing layer: %v", err)
	}
}
