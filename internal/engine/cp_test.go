package engine

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openDir is a directory as the stage has it.
func openDir(t *testing.T, name string) int {
	t.Helper()
	fd, err := openat(unix.AT_FDCWD, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// listing is all that is below a directory, as "MODE NAME CONTENT".
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(name)
		if err != nil {
			return err
		}
		line := st.Mode().String() + " " + strings.TrimPrefix(name, dir)
		switch {
		case st.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d bytes, %.20q", len(data), data)
		case st.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			line += " " + to
		}
		if !st.Mode().IsDir() {
			line += " " + st.ModTime().UTC().Format(time.RFC3339Nano)
		}
		out = append(out, line)
		return nil
	}))
	return out
}

func TestPackUnpack(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(src+"/a/b", 0o750), os.Mkdir(src+"/closed", 0o700), os.WriteFile(src+"/closed/f", []byte("in it"), 0o600),
		os.WriteFile(src+"/a/f", bytes.Repeat([]byte("data"), 500_001), 0o640), os.WriteFile(src+"/a/empty", nil, 0o644),
		os.Link(src+"/a/f", src+"/a/b/same"), os.Symlink("../a/f", src+"/a/link"), os.Symlink("nowhere", src+"/broken"), unix.Mkfifo(src+"/pipe", 0o600),
		os.WriteFile(src+"/"+strings.Repeat("long", 50), []byte("name"), 0o644), os.WriteFile(src+"/\u00fcn\xffu\n", []byte("odd"), 0o644),
		os.Chtimes(src+"/a/empty", time.Unix(1, 5), time.Unix(1, 5)), os.Chmod(src+"/closed", 0o500))
	t.Cleanup(func() { _ = os.Chmod(src+"/closed", 0o700); _ = os.Chmod(dst+"/closed", 0o700) })
	for _, host := range []bool{true, false} {
		must(t, os.RemoveAll(dst), os.Mkdir(dst, 0o755))
		var b bytes.Buffer
		must(t, newPacker(&b, packOptions{As: "."}).pack(openDir(t, src), "/"))
		u := newUnpacker(storeOptions{Host: host})
		u.root = openDir(t, dst)
		must(t, u.unpack(&b))
		want, got := listing(t, src), listing(t, dst)
		if len(want) != 13 || !reflect.DeepEqual(got[1:], want[1:]) {
			t.Errorf("host %v: %d files, want %d", host, len(got), len(want))
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("%q, want %q", got[i], want[i])
				}
			}
		}
		var x, y unix.Stat_t
		if unix.Stat(dst+"/a/f", &x) != nil || unix.Stat(dst+"/a/b/same", &y) != nil || x.Ino != y.Ino {
			t.Errorf("the hard link was not kept")
		}
		must(t, os.Chmod(dst+"/closed", 0o700))
	}
}

// What a container sends may be anything: nothing of it gets out of the
// directory that the caller named, and nothing is set-id.
func TestUnpackHostile(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(outside+"/secret", []byte("secret"), 0o644))
	for name, entries := range map[string][]tar.Header{
		"up":             {{Name: "../f", Typeflag: tar.TypeReg}},
		"up in between":  {{Name: "d/../../f", Typeflag: tar.TypeReg}},
		"through a link": {{Name: "l", Linkname: outside, Typeflag: tar.TypeSymlink}, {Name: "l/f", Typeflag: tar.TypeReg}},
		"a directory in a link's place": {{Name: "l", Linkname: outside, Typeflag: tar.TypeSymlink}, {Name: "l/", Typeflag: tar.TypeDir, Mode: 0o777},
			{Name: "l/f", Typeflag: tar.TypeReg}},
		"a deep link":             {{Name: "d/l", Linkname: "../../" + filepath.Base(outside), Typeflag: tar.TypeSymlink}, {Name: "d/l/x/f", Typeflag: tar.TypeReg}},
		"a hard link up":          {{Name: "h", Linkname: "../" + filepath.Base(outside) + "/secret", Typeflag: tar.TypeLink}},
		"a hard link by a link":   {{Name: "l", Linkname: outside, Typeflag: tar.TypeSymlink}, {Name: "h", Linkname: "l/secret", Typeflag: tar.TypeLink}},
		"onto a link":             {{Name: "l", Linkname: outside + "/secret", Typeflag: tar.TypeSymlink}, {Name: "l", Typeflag: tar.TypeReg}},
		"a hard link to a link":   {{Name: "l", Linkname: outside + "/secret", Typeflag: tar.TypeSymlink}, {Name: "h", Linkname: "l", Typeflag: tar.TypeLink}, {Name: "h", Typeflag: tar.TypeReg}},
		"absolute":                {{Name: outside + "/f", Typeflag: tar.TypeReg}},
		"devices and set-id bits": {{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, {Name: "s", Typeflag: tar.TypeReg, Mode: 0o6755}},
	} {
		dst := t.TempDir() + "/dst"
		must(t, os.Mkdir(dst, 0o755))
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			must(t, w.WriteHeader(&h))
		}
		must(t, w.Close())
		u := newUnpacker(storeOptions{Host: true})
		u.root = openDir(t, dst)
		err := u.unpack(&b)
		t.Logf("%s: %v", name, err)
		if got := listing(t, outside); len(got) != 2 || !strings.Contains(got[1], "secret") {
			t.Errorf("%s: outside is %q", name, got)
		}
		if left, _ := os.ReadDir(filepath.Dir(dst)); len(left) != 1 {
			t.Errorf("%s: made beside it: %v", name, left)
		}
		for _, line := range listing(t, dst) {
			if strings.HasPrefix(line, "u") || strings.HasPrefix(line, "g") || strings.HasPrefix(line, "D") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// In a container links count, and lead nowhere but into its root.
func TestUnpackInsideFollowsLinks(t *testing.T) {
	outside := t.TempDir()
	root := t.TempDir()
	must(t, os.MkdirAll(root+outside, 0o755), os.MkdirAll(root+"/usr/bin", 0o755), os.Symlink("usr/bin", root+"/bin"),
		os.Symlink(outside, root+"/abs"), os.Symlink("../../../../../../../.."+outside, root+"/usr/up"))
	for _, dir := range []string{"/abs", "/usr/up"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}, {Name: "d/g", Typeflag: tar.TypeReg, Mode: 0o644}} {
			must(t, w.WriteHeader(&h))
		}
		must(t, w.Close())
		u := newUnpacker(storeOptions{})
		u.root, u.base = openDir(t, root), dir
		must(t, u.unpack(&b))
		if left, _ := os.ReadDir(outside); len(left) != 0 {
			t.Errorf("%s: made outside: %v", dir, left)
		}
		must(t, os.Remove(root+outside+"/f"), os.RemoveAll(root+outside+"/d"))
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o700}), w.WriteHeader(&tar.Header{Name: "bin/tool", Typeflag: tar.TypeReg, Mode: 0o755}), w.Close())
	u := newUnpacker(storeOptions{})
	u.root, u.base = openDir(t, root), "/"
	must(t, u.unpack(&b))
	if _, err := os.Lstat(root + "/usr/bin/tool"); err != nil {
		t.Error(err)
	}
}

// A process of the container swaps a directory for a link that leads out, all
// the time that files are copied through it (CVE-2018-15664).
func TestCopyWhileLinksAreSwapped(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(outside+"/f", []byte("secret"), 0o600), os.Mkdir(outside+"/sub", 0o755), os.MkdirAll(root+"/vol/dir/sub", 0o755),
		os.WriteFile(root+"/vol/dir/f", []byte("public"), 0o644), os.Symlink(outside, root+"/vol/link"))
	stop, swapped := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				swapped <- n
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, root+"/vol/dir", unix.AT_FDCWD, root+"/vol/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	fd := openDir(t, root)
	read, stored := 0, 0
	for range 300 {
		for _, name := range []string{"/vol/dir/f", "/vol"} {
			var b bytes.Buffer
			err := newPacker(&b, packOptions{As: "x"}).pack(fd, name)
			if bytes.Contains(b.Bytes(), []byte("secret")) {
				t.Fatalf("%s: read outside (%v)", name, err)
			}
			if err == nil {
				read++
			}
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{Name: "dir/sub/made", Typeflag: tar.TypeReg, Mode: 0o644}), w.WriteHeader(&tar.Header{Name: "dir/d/", Typeflag: tar.TypeDir, Mode: 0o755}), w.Close())
		u := newUnpacker(storeOptions{})
		u.root, u.base = fd, "/vol"
		if u.unpack(&b) == nil {
			stored++
		}
	}
	close(stop)
	t.Logf("%d read, %d stored, %d swaps", read, stored, <-swapped)
	if got := listing(t, outside); len(got) != 3 {
		t.Errorf("made outside: %q", got)
	}
}

func TestParseEnd(t *testing.T) {
	for arg, want := range map[string]copyEnd{
		"-": {path: "-", stream: true}, "f": {path: "f"}, "/a:b": {path: "/a:b"}, "./a:b": {path: "./a:b"}, "d/a:b": {path: "d/a:b"},
		"c:": {container: "c"}, "c:/x": {container: "c", path: "/x"}, "c:x:y": {container: "c", path: "x:y"}, ":x": {path: ":x"}, "../a:b": {path: "../a:b"},
	} {
		if got := parseEnd(arg); got != want {
			t.Errorf("%s: %+v, want %+v", arg, got, want)
		}
	}
}

// What a copy becomes: docker-cp(1), the list of SRC_PATH and DEST_PATH.
func TestAim(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/d", 0o755), os.WriteFile(dir+"/f", nil, 0o644), os.Symlink("f", dir+"/l"), os.Symlink("gone", dir+"/broken"))
	file, tree := fileStat{unix.S_IFREG}, fileStat{unix.S_IFDIR}
	for _, tt := range []struct {
		src       fileStat
		base, to  string
		overwrite bool
		want      target
		err       string
	}{
		{src: file, base: "s", to: "d", want: target{as: "s", dir: dir + "/d"}},
		{src: file, base: "s", to: "d/", want: target{as: "s", dir: dir + "/d/"}},
		{src: file, base: "s", to: "f", want: target{as: "f", dir: dir + "/"}},
		{src: file, base: "s", to: "l", want: target{as: "l", dir: dir + "/", through: true}},
		{src: file, base: "s", to: "broken", want: target{as: "broken", dir: dir + "/"}},
		{src: file, base: "s", to: "new", want: target{as: "new", dir: dir + "/"}},
		{src: file, base: "s", to: "new/", err: "no such file"},
		{src: file, base: "s", to: "no/new", err: "no such file"},
		{src: file, base: "s", to: "f/new", err: "not a directory"},
		{src: tree, base: "s", to: "d", want: target{as: "s", dir: dir + "/d"}},
		{src: tree, base: ".", to: "d", want: target{as: ".", dir: dir + "/d"}},
		{src: tree, base: "s", to: "new", want: target{as: "new", dir: dir + "/"}},
		{src: tree, base: ".", to: "new/", want: target{as: "new", dir: dir + "/"}},
		{src: tree, base: "s", to: "f", err: "--overwrite"},
		{src: tree, base: "s", to: "f", overwrite: true, want: target{as: "f", dir: dir + "/"}},
	} {
		got, err := aim(tt.src, tt.base, copyEnd{path: dir + "/" + tt.to}, hostSide{}, CopyOptions{Overwrite: tt.overwrite})
		if tt.err == "" && (err != nil || got != tt.want) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s to %s: %+v, %v; want %+v %s", tt.base, tt.to, got, err, tt.want, tt.err)
		}
	}
}

// A device that is all there is to copy was named itself: that is an error, and
// among others a warning.
func TestUnpackDevices(t *testing.T) {
	null := tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}
	for _, k := range []struct {
		entries []tar.Header
		fails   bool
		notes   int
	}{
		{[]tar.Header{null}, true, 0},
		{[]tar.Header{null, {Name: "f", Typeflag: tar.TypeReg, Mode: 0o600}}, false, 1},
		{[]tar.Header{{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755}, null}, false, 1},
		{nil, false, 0},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range k.entries {
			must(t, w.WriteHeader(&h))
		}
		must(t, w.Close())
		u := newUnpacker(storeOptions{Host: true})
		u.root = openDir(t, t.TempDir())
		if err := u.unpack(&b); (err != nil) != k.fails || len(u.notes) != k.notes {
			t.Errorf("%d entries: %v, noted %q", len(k.entries), err, u.notes)
		}
	}
}
