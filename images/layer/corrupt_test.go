package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

func small(t testing.TB) []byte {
	return archiveOf(t, folder("d"), file("d/f", strings.Repeat("text ", 300)), file(strings.Repeat("long", 40), "x").with("user.a", "b"),
		symlink("l", "d/f"), hard("h", "d/f"), file("d/.wh.x", ""))
}

func TestTruncated(t *testing.T) {
	e := localEnv(t)
	data := small(t)
	try := func(blob []byte, mod func(*Request)) {
		t.Helper()
		_, err := e.unpack(t, "a", blob, mod)
		if err == nil {
			t.Errorf("%d of %d bytes are taken", len(blob), len(data))
		} else if !isOneOf(err, ErrTruncated, ErrCorrupt, ErrDiffID, ErrDigest) {
			t.Errorf("%d of %d bytes: %v", len(blob), len(data), err)
		}
		if err := e.Remove(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	id := digest.FromBytes(data)
	for n := 0; n < len(data)-1024; n += 512 {
		try(data[:n], func(r *Request) { r.DiffID = id })
		if n > 0 {
			try(data[:n], func(r *Request) { r.DiffID = "" }) // an import: only the end marker tells
			try(data[:n+100], func(r *Request) { r.DiffID = "" })
		}
	}
	for _, how := range []string{"gzip", "zstd"} {
		blob := compressed(t, how, data)
		for n := 8; n < len(blob); n += 7 {
			try(blob[:n], func(r *Request) {
				r.DiffID, r.MediaType = id, "application/vnd.oci.image.layer.v1.tar+"+how
			})
		}
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	e := localEnv(t)
	data := small(t)
	id := digest.FromBytes(data)
	for _, how := range []string{"", "gzip", "zstd"} {
		blob := compressed(t, how, data)
		step := max(1, len(blob)/100)
		for i := 0; i < len(blob); i += step {
			bad := bytes.Clone(blob)
			bad[i] ^= 1 << (i % 8)
			_, err := e.unpack(t, "a", bad, func(r *Request) {
				r.DiffID, r.Verify, r.Digest, r.Size = id, true, digest.FromBytes(blob), int64(len(blob))
			})
			if err == nil {
				t.Errorf("%s: byte %d of %d is changed and nobody minds", how, i, len(blob))
			}
			if err := e.Remove(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// umoci insert writes neither the padding of its last file nor an end marker.
func TestEndsWithTheData(t *testing.T) {
	e := localEnv(t)
	whole := archiveOf(t, folder("d"), file("d/f", "12345"))
	at := bytes.Index(whole, []byte("12345"))
	half := rawTar(pax("path", "x"))[:512+len("10 path=x\n")] // an extended header without its padding, and no entry
	for what, c := range map[string]struct {
		data []byte
		good bool
	}{
		"extended header": {half, false}, "4 of 5 bytes": {whole[:at+4], false}, "no padding": {whole[:at+5], true},
		"some padding": {whole[:at+6], true}, "most padding": {whole[:at+511], true}, "no end marker": {whole[:at+512], true},
		"half a block": {whole[:at+900], false},
	} {
		_, err := e.unpack(t, what, c.data, func(r *Request) { r.DiffID = digest.FromBytes(c.data) })
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrTruncated) {
			t.Errorf("%s: %v", what, err)
		}
		if c.good {
			if got, err := os.ReadFile(filepath.Join(e.root, what, "fs/d/f")); err != nil || string(got) != "12345" {
				t.Errorf("%s: %q, %v", what, got, err)
			}
		}
		_, err = e.unpack(t, what+", strict", c.data, func(r *Request) { r.DiffID = "" })
		wantErr(t, err, ErrTruncated)
		// Compressed data that stops has no end at all.
		gz := compressed(t, "gzip", c.data)
		_, err = e.unpack(t, what+", cut", gz[:len(gz)-9], func(r *Request) { r.DiffID = digest.FromBytes(c.data) })
		wantErr(t, err, ErrTruncated)
	}
}

func TestTrailingDataCounts(t *testing.T) {
	e := localEnv(t)
	data := append(small(t), "and something after the end"...)
	if _, err := e.unpack(t, "a", data); err != nil { // the digest of all of it is right
		t.Error(err)
	}
	_, err := e.unpack(t, "b", data, func(r *Request) { r.DiffID = digest.FromBytes(small(t)) })
	wantErr(t, err, ErrDiffID)
}

func TestFullDisk(t *testing.T) {
	e := localEnv(t)
	disk := filepath.Join(e.root, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m,nr_inodes=200"); err != nil {
		need(t, false, "mount: "+err.Error())
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	var many []ent
	for i := range 300 {
		many = append(many, file(fmt.Sprintf("d/%d", i), ""))
	}
	for name, ents := range map[string][]ent{"space": {file("big", strings.Repeat("x", 2<<20))}, "inodes": many} {
		_, err := e.unpack(t, "disk/"+name, archiveOf(t, ents...))
		wantErr(t, err, unix.ENOSPC)
		wantErr(t, err, ErrRefused)
		if err == nil || !strings.Contains(err.Error(), "unpack ") {
			t.Errorf("which file? %v", err)
		}
		if err := e.Remove(t.Context(), "disk/"+name); err != nil {
			t.Error(err)
		}
	}
	if names, _ := os.ReadDir(disk); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// manyEntries is an archive of n files, which never stands anywhere as a whole.
func manyEntries(n int, name func(i int) string) io.Reader {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		for i := range n {
			h := tar.Header{Typeflag: tar.TypeReg, Name: name(i), Mode: 0o644, ModTime: when}
			if strings.HasSuffix(h.Name, "/") {
				h.Typeflag = tar.TypeDir
			}
			if err := tw.WriteHeader(&h); err != nil {
				w.CloseWithError(err)
				return
			}
		}
		w.CloseWithError(tw.Close())
	}()
	return r
}

func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() && os.Getenv("CORACLE_MUST_WORK") != "1" {
		t.Skip("unpacks 100,000 entries")
	}
	e := localEnv(t)
	disk := filepath.Join(e.root, "disk")
	os.Mkdir(disk, 0o755)
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8g,nr_inodes=2m"); err != nil {
		need(t, false, "mount: "+err.Error())
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	for kind, name := range map[string]func(int) string{
		"directories": func(i int) string { return fmt.Sprintf("usr/share/some/where/%06d/", i) },
		"implied":     func(i int) string { return fmt.Sprintf("usr/share/some/where/%06d/f", i) },
	} {
		f, err := os.Create(filepath.Join(disk, "tar"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, manyEntries(50_000, name)); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		dir := "disk/" + kind + "/fs"
		if _, err := e.Unpack(t.Context(), Request{Blob: f, Dir: dir}); err != nil {
			t.Fatal(err)
		}
		if err := e.Finish(t.Context(), FinishRequest{Dir: dir}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 24<<20 {
			t.Errorf("%s: the heap has grown by %d MiB", kind, grown>>20)
		}
		f.Close()
		if err := e.Remove(t.Context(), "disk/"+kind); err != nil {
			t.Error(err)
		}
	}
}

// FuzzUnpack: whatever an archive says, nothing outside the layer changes, and
// what is made can be removed.
func FuzzUnpack(f *testing.F) {
	if os.Getuid() != 0 {
		f.Skip("needs root")
	}
	f.Add(small(f))
	f.Add(rawTar(pax("path", "../x", "SCHILY.xattr.user.a", "b"), rawEnt{typ: typeReg, name: "x", body: "12"}))
	f.Add(rawTar(rawEnt{typ: typeSymlink, name: "l", link: "../../out"}, rawEnt{typ: typeReg, name: "l/f", body: "x"}))
	f.Add(rawTar(rawEnt{typ: typeReg, name: ".wh..wh..opq"}, rawEnt{typ: typeReg, name: "a/.wh.b"}, rawEnt{typ: typeDir, name: "a/b"}))
	f.Add(rawTar(pax("GNU.sparse.size", "99", "GNU.sparse.map", "5,5"), rawEnt{typ: typeReg, name: "s", body: "12345"}))
	f.Add(rawTar(rawEnt{typ: typeLongName, name: "x", body: strings.Repeat("d/", 100)}, rawEnt{typ: typeLink, name: "x", link: "../out/f"}))
	root, err := os.MkdirTemp("/dev/shm", "fuzz") // many small files: a disk is too slow
	if err != nil {
		root, err = os.MkdirTemp("", "fuzz")
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { os.RemoveAll(root) })
	for _, d := range []string{"out", "in"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o777); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "out/f"), []byte("keep"), 0o600); err != nil {
		f.Fatal(err)
	}
	s, err := Local(filepath.Join(root, "in"))
	if err != nil {
		f.Fatal(err)
	}
	want := fmt.Sprint(treeOf(f, filepath.Join(root, "out"), "owner mtime xattrs"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for i := 0; i+blockSize <= len(data); i += blockSize { // so that the fuzzer gets past the checksums
			b := (*block)(data[i : i+blockSize])
			if string(b[257:262]) == "ustar" {
				fixChecksum(b)
			}
		}
		blob := memBlob(t, data)
		s.(*local).noOpen2 = len(data)%2 == 0
		_, err := s.Unpack(context.Background(), Request{Blob: blob, Dir: "a/fs", Limits: Limits{Bytes: 1 << 22}})
		if err == nil {
			err = s.Finish(context.Background(), FinishRequest{Dir: "a/fs"})
		}
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBADF) {
			t.Errorf("an error that should not come: %v", err)
		}
		if err := s.Remove(context.Background(), "a"); err != nil {
			t.Errorf("cannot be removed: %v", err)
		}
		if got := fmt.Sprint(treeOf(t, filepath.Join(root, "out"), "owner mtime xattrs")); got != want {
			t.Errorf("outside: %s, was %s", got, want)
		}
		for _, d := range []string{root, filepath.Join(root, "in")} {
			names, _ := os.ReadDir(d)
			if d == root && len(names) != 2 || d != root && len(names) != 0 {
				t.Errorf("%s has %v", d, names)
			}
		}
	})
}

func memBlob(t *testing.T, data []byte) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("blob", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "blob")
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f
}

func fixChecksum(b *block) {
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// FuzzArchive holds the reader against archive/tar: both must read what that
// one writes alike, and ours must not fail in other ways on anything.
func FuzzArchive(f *testing.F) {
	f.Add("name", "link", "body", int64(0o644), int64(1), int64(2), int64(3), byte('0'), 0)
	f.Add(strings.Repeat("long/", 60), strings.Repeat("l", 200), "", int64(0o7777), int64(3_000_000), int64(-5), int64(1<<40), byte('2'), 2)
	f.Fuzz(func(t *testing.T, name, link, body string, mode, uid, sec, nsec int64, typ byte, format int) {
		h := tar.Header{Typeflag: typ, Name: name, Linkname: link, Size: int64(len(body)), Mode: mode & 0o7777, Uid: int(uid & 0x7fffffff),
			ModTime: when.Add(0), Format: []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU}[uint(format)%3]}
		if typ != tar.TypeReg && typ != tar.TypeSymlink && typ != tar.TypeLink && typ != tar.TypeDir || strings.HasSuffix(name, "/") {
			return
		}
		if typ != tar.TypeReg {
			h.Size, body = 0, ""
		}
		h.ModTime = timeOf(sec, nsec, h.Format)
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if w.WriteHeader(&h) != nil {
			return
		}
		w.Write([]byte(body))
		w.Close()
		want, err := tar.NewReader(bytes.NewReader(b.Bytes())).Next()
		if err != nil {
			return
		}
		s, err := newStream(t.Context(), &Request{Blob: memBlob(t, b.Bytes())})
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		a := archive{s: s}
		got, err := a.next()
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if got.name != want.Name || got.link != want.Linkname || int64(got.mode) != want.Mode || got.uid != int64(want.Uid) ||
			got.size != want.Size || got.sec != want.ModTime.Unix() || got.nsec != int64(want.ModTime.Nanosecond()) {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
		data := make([]byte, len(body))
		for n := 0; n < len(data); {
			p, err := a.data(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			n += copy(data[n:], p)
		}
		if string(data) != body {
			t.Errorf("another body")
		}
		if _, err := a.next(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	})
}
