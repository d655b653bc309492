package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// grow makes some random files of all kinds below dir, or changes those that are there.
func grow(t *testing.T, dir string, r *rand.Rand, n int) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var dirs, files []string
	list := func() {
		dirs, files = nil, nil
		must(filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if d.IsDir() {
				dirs = append(dirs, p)
			} else {
				files = append(files, p)
			}
			return err
		}))
	}
	for range n {
		list()
		in := dirs[r.IntN(len(dirs))]
		name := filepath.Join(in, string(rune('a'+r.IntN(8))))
		_, taken := os.Lstat(name)
		if taken == nil && r.IntN(3) == 0 {
			must(os.RemoveAll(name))
		}
		at := time.Unix(1e9+int64(r.IntN(1000)), int64(r.IntN(3))*500)
		switch k := r.IntN(10); {
		case k < 3:
			if st, err := os.Lstat(name); err == nil && !st.Mode().IsRegular() {
				continue
			}
			must(os.WriteFile(name, bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(3000)), 0o600))
			must(os.Chmod(name, os.FileMode(r.IntN(0o1000))))
			must(os.Chtimes(name, at, at))
		case k < 5:
			if os.Mkdir(name, 0o755) == nil {
				must(os.Chown(name, r.IntN(3), r.IntN(3)))
			}
		case k == 5:
			_ = os.Symlink(fmt.Sprint("to", r.IntN(3)), name)
		case k == 6 && len(files) > 0:
			_ = os.Link(files[r.IntN(len(files))], name)
		case k == 7 && in != dir:
			must(os.RemoveAll(in))
		case k == 8 && len(files) > 0:
			f := files[r.IntN(len(files))]
			_ = unix.Setxattr(f, "user.k", []byte{byte(r.IntN(3))}, 0)
			_ = os.Lchown(f, r.IntN(3), 0) // it may be gone
		case k == 9:
			_ = unix.Mkfifo(name, 0o640)
		}
	}
	fixed := time.Unix(1e9, 0)
	must(os.Chtimes(dir, fixed, fixed))
}

func openTree(t *testing.T, dirs ...string) Tree {
	t.Helper()
	var out Tree
	for _, d := range dirs {
		f, err := os.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		out.Layers = append(out.Layers, int(f.Fd()))
	}
	return out
}

func changeset(t *testing.T, was, is Tree, o ChangesetOptions) ([]byte, ChangesetResult) {
	t.Helper()
	var b bytes.Buffer
	res, err := WriteChangeset(context.Background(), &b, was, is, o)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), res
}

// unpackOn unpacks an archive as a layer over others.
func unpackOn(t *testing.T, e *env, name string, archive []byte, lowers ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tar")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := name + "/fs"
	res, err := e.Unpack(t.Context(), Request{Blob: f, Dir: dir})
	if err == nil {
		err = e.Finish(t.Context(), FinishRequest{Dir: dir, Lowers: lowers})
	}
	if err != nil || res.Skipped > 0 {
		t.Fatalf("unpack: %v, skipped %v", err, res.Skips)
	}
	return dir
}

// Whatever becomes of a tree, the layer that is made of the difference gives the
// same when it is unpacked over the first one: every byte, owner, mode, time, attribute and
// link.
func TestChangesetRoundTrip(t *testing.T) {
	e := localEnv(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		src := t.TempDir()
		grow(t, src, r, 60)
		whole, _ := changeset(t, Tree{}, openTree(t, src), ChangesetOptions{Whole: true})
		base := unpackOn(t, e, fmt.Sprint("base", seed), whole)
		at := func(d string) string { return filepath.Join(e.root, d) }
		if got, _ := changeset(t, Tree{}, openTree(t, at(base)), ChangesetOptions{Whole: true}); !bytes.Equal(got, whole) {
			t.Fatalf("seed %d: a tree that was packed and unpacked is another", seed)
		}
		if diff, res := changeset(t, openTree(t, at(base)), openTree(t, src), ChangesetOptions{}); res.Entries != 0 {
			t.Fatalf("seed %d: a copy differs: %s", seed, diff)
		}
		grow(t, src, r, 40)
		want, _ := changeset(t, Tree{}, openTree(t, src), ChangesetOptions{Whole: true})
		diff, _ := changeset(t, openTree(t, at(base)), openTree(t, src), ChangesetOptions{})
		top := unpackOn(t, e, fmt.Sprint("top", seed), diff, base)
		both := openTree(t, at(top), at(base))
		if got, _ := changeset(t, Tree{}, both, ChangesetOptions{Whole: true}); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %s", seed, firstDifference(t, both, openTree(t, src)))
		}
		// The same again, from layers: nobody looks below what is common.
		again, _ := changeset(t, openTree(t, at(base)), both, ChangesetOptions{})
		topAgain := unpackOn(t, e, fmt.Sprint("again", seed), again, base)
		if got, _ := changeset(t, Tree{}, openTree(t, at(topAgain), at(base)), ChangesetOptions{Whole: true}); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the difference of layers gives another tree", seed)
		}
	}
}

func firstDifference(t *testing.T, a, b Tree) string {
	t.Helper()
	var out []string
	if err := Compare(t.Context(), a, b, Leave{}, func(c Change) error {
		out = append(out, fmt.Sprintf("%c %s", c.Kind, c.Path))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

// What a change is told as, and what is not looked at.
func TestCompare(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	was, is := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1e9, 0)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{was, is} {
		write(d, "same", "1")
		write(d, "deep/er/same", "1")
		write(d, "content", d[len(d)-1:])
		write(d, "ours/x", d[len(d)-1:])
		write(d, "run/gone", "")
		write(d, "dir/file", "")
	}
	for _, f := range []string{"run/gone", "dir/file", "dir"} {
		if err := os.Remove(filepath.Join(is, f)); err != nil {
			t.Fatal(err)
		}
	}
	write(is, "dir", "a file now")
	write(is, "deep/er/new", "")
	write(is, "run/new", "")
	at := time.Unix(1e9, 0)
	for _, d := range []string{was, is} {
		for _, sub := range []string{"deep/er", "deep", "run", "ours", "."} {
			if err := os.Chtimes(filepath.Join(d, sub), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []string
	err := Compare(t.Context(), openTree(t, was), openTree(t, is), Leave{Trees: []string{"ours"}, Alone: []string{"run"}}, func(c Change) error {
		got = append(got, fmt.Sprintf("%c %s", c.Kind, c.Path))
		return nil
	})
	want := []string{"C content", "= deep", "= deep/er", "A deep/er/new", "C dir", "= run", "D run/gone", "A run/new"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %q, not %q", err, got, want)
	}
}

// What fuse-overlayfs leaves in an upper directory, and what no layer can have.
func TestChangesetMarks(t *testing.T) {
	e := localEnv(t)
	base, upper := filepath.Join(e.root, "base"), filepath.Join(e.root, "upper")
	for _, d := range []string{base + "/d", base + "/o", upper + "/d", upper + "/o"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{base + "/d/gone", base + "/d/stays", base + "/o/hidden", upper + "/d/.wh.gone", upper + "/o/.wh..wh..opq", upper + "/o/new", base + "/top", upper + "/.wh.top", upper + "/.wh.never"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is := openTree(t, upper, base)
	is.Marked = true
	kinds := map[string]Kind{}
	if err := Compare(t.Context(), openTree(t, base), is, Leave{}, func(c Change) error { kinds[c.Path] = c.Kind; return nil }); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Kind{"d/gone": Deleted, "o/hidden": Deleted, "o/new": Added, "top": Deleted, "d/stays": 0, "never": 0, ".wh.never": 0} {
		if kinds[path] != want {
			t.Errorf("%s: %q, not %q", path, kinds[path], want)
		}
	}
	// Without marks the same names are files, which an archive cannot have.
	is.Marked = false
	if _, res := changeset(t, openTree(t, base), is, ChangesetOptions{}); len(res.Notes) != 4 {
		t.Errorf("notes: %q", res.Notes)
	}
}

// Owners and devices that were only recorded come back.
func TestChangesetRecorded(t *testing.T) {
	e := localEnv(t)
	dir := filepath.Join(e.root, "l/fs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/f", nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(dir+"/f", XattrStat, []byte("7:8:0100640"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.root+"/l/stat", []byte("5:6:0120777 link\x001:2:0020600:4:5 dev\x009:9:0100600 link\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := openTree(t, dir)
	tree.Record = true
	got, _ := changeset(t, Tree{}, tree, ChangesetOptions{})
	if b := listTar(t, got); b != "./ 0:0 dev 1:2 c4,5 f 7:8 link 0:0 " {
		t.Errorf("%q", b)
	}
}

func listTar(t *testing.T, archive []byte) string {
	t.Helper()
	var out strings.Builder
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %d:%d ", h.Name, h.Uid, h.Gid)
		if h.Typeflag == tar.TypeChar {
			fmt.Fprintf(&out, "c%d,%d ", h.Devmajor, h.Devminor)
		}
	}
}
