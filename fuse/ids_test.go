package fuse

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMoveCaps(t *testing.T) {
	keep := ids{uids: []Segment{{0, 1, 1000}, {1000, 0, 1}}}
	v2 := capsV2()
	got := keep.moveCaps(v2)
	want := append(append([]byte{0, 0, 0, 3}, v2[4:]...), 1, 0, 0, 0)
	if !bytes.Equal(got, want) {
		t.Errorf("version 2: %x, want %x", got, want)
	}
	v3 := append(append([]byte{1, 0, 0, 3}, v2[4:]...), 0xe8, 3, 0, 0) // effective, root 1000
	want = append(append([]byte{1, 0, 0, 3}, v2[4:]...), 0, 0, 0, 0)
	if got := keep.moveCaps(v3); !bytes.Equal(got, want) {
		t.Errorf("version 3: %x, want %x", got, want)
	}
	for _, same := range [][]byte{nil, {1, 2}, v2} {
		if got := (ids{}).moveCaps(same); !bytes.Equal(got, same) {
			t.Errorf("%x became %x", same, got)
		}
	}
}

func TestMoveACL(t *testing.T) {
	keep := ids{uids: []Segment{{0, 1, 1000}}, gids: []Segment{{0, 7, 1000}}}
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 6, 0, 5, 0, 0, 0, 8, 0, 4, 0, 5, 0, 0, 0}
	want := bytes.Clone(acl)
	want[16], want[24] = 6, 12
	if got := keep.moveACL(acl); !bytes.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if acl[16] != 5 {
		t.Error("the source's own list was changed")
	}
	for _, odd := range [][]byte{nil, {2}, acl[:9]} {
		if got := keep.moveACL(odd); !bytes.Equal(got, odd) {
			t.Errorf("%v became %v", odd, got)
		}
	}
}

func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	must(t, err)
	defer src.Close()
	for _, at := range []int64{0, 1 << 20, 5<<20 + 17} {
		_, err := src.WriteAt([]byte("data"), at)
		must(t, err)
	}
	must(t, src.Truncate(8<<20))
	for name, copier := range map[string]func(s, d int) error{
		"by ranges": func(s, d int) error { return copySparse(s, d, 8<<20) },
		"by hand": func(s, d int) error {
			return errors.Join(unix.Ftruncate(d, 8<<20), copyByHand(s, d, 0, 4), copyByHand(s, d, 1<<20, 6<<20))
		},
	} {
		dst, err := os.Create(filepath.Join(dir, "dst"))
		must(t, err)
		must(t, copier(int(src.Fd()), int(dst.Fd())))
		want, err := os.ReadFile(src.Name())
		must(t, err)
		got, err := os.ReadFile(dst.Name())
		must(t, err)
		if !bytes.Equal(want, got) {
			t.Errorf("%s: the copy differs", name)
		}
		var st unix.Stat_t
		must(t, unix.Fstat(int(dst.Fd()), &st))
		if name == "by ranges" && st.Blocks*512 > 1<<20 {
			t.Errorf("%s: the holes are filled: %d blocks", name, st.Blocks)
		}
		must(t, dst.Close())
	}
}

func TestTreeRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"l/f": "x", "there/": ""})
	l := filepath.Join(dir, "l")
	for name, r := range map[string]TreeRequest{
		"no layers":         {Dst: filepath.Join(dir, "a")},
		"a missing layer":   {Lowers: []string{l + "x"}, Dst: filepath.Join(dir, "b")},
		"an existing tree":  {Lowers: []string{l}, Dst: filepath.Join(dir, "there")},
		"a missing parent":  {Lowers: []string{l}, Dst: filepath.Join(dir, "x", "y")},
		"a link as a layer": {Lowers: []string{dir + "/link"}, Dst: filepath.Join(dir, "c")},
	} {
		if name == "a link as a layer" {
			must(t, os.Symlink(l, dir+"/link"))
		}
		if _, err := CopyLayers(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CopyLayers(ctx, TreeRequest{Lowers: []string{l}, Dst: filepath.Join(dir, "d")}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
