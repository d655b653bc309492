package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

func TestGoldenTree(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		long := strings.Repeat("long-", 50) + "/" + strings.Repeat("n", 255)
		dir := e.layer(t, "a", nil,
			folder("./").moded(0o750),
			folder("etc").moded(0o711).owned(0, 42),
			file("etc/passwd", "root:x:0:0\n").moded(0o640).owned(33, 34),
			file("/abs", "absolute"),
			file("bin/su", "#!").moded(0o4755),
			folder("tmp").moded(0o1777),
			folder("mail").moded(0o2775).owned(0, 8),
			file("mail/spool", "x").owned(1000, 0),
			folder("mail/sub").moded(0o755),
			hard("etc/passwd-", "etc/passwd"),
			symlink("lib", "usr/lib"), symlink("dangling", "/no/such"),
			folder("usr/lib"), file("lib/x.so", "elf"),
			folder("closed").moded(0), file("closed/in", "in").moded(0),
			ent{tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o620, Uid: 7, Gid: 8, ModTime: when}, ""},
			file("caf\xe9\n\x1b[31m", "odd name"), file(long, "long"),
			file("empty", ""), file("big", strings.Repeat("0123456789", 200_000)),
			file("twice", "first"), file("twice", "second").moded(0o600),
			file("was-dir/gone", "x"), file("was-dir", "file now"),
			file("was-file", "x"), folder("was-file"), file("was-file/in", "y"),
			file("was-link-target", "keep"), symlink("was-link", "was-link-target"), file("was-link", "own"),
		)
		h, t0 := e.host, "1600000000.123000000"
		want := map[string]string{
			".":                 fmt.Sprintf("0040750 %d:%d %s", h(0), h(0), t0),
			"etc":               fmt.Sprintf("0040711 %d:%d %s", h(0), h(42), t0),
			"etc/passwd":        fmt.Sprintf("0100640 %d:%d %s %q", h(33), h(34), t0, "root:x:0:0\n"),
			"etc/passwd-":       fmt.Sprintf("0100640 %d:%d %s %q =etc/passwd", h(33), h(34), t0, "root:x:0:0\n"),
			"abs":               fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "absolute"),
			"bin/su":            fmt.Sprintf("0104755 %d:%d %s %q", h(0), h(0), t0, "#!"),
			"tmp":               fmt.Sprintf("0041777 %d:%d %s", h(0), h(0), t0),
			"mail":              fmt.Sprintf("0042775 %d:%d %s", h(0), h(8), t0),
			"mail/spool":        fmt.Sprintf("0100644 %d:%d %s %q", h(1000), h(0), t0, "x"),
			"mail/sub":          fmt.Sprintf("0040755 %d:%d %s", h(0), h(0), t0),
			"lib":               fmt.Sprintf("0120777 %d:%d %s -> %q", h(0), h(0), t0, "usr/lib"),
			"dangling":          fmt.Sprintf("0120777 %d:%d %s -> %q", h(0), h(0), t0, "/no/such"),
			"usr/lib":           fmt.Sprintf("0040755 %d:%d %s", h(0), h(0), t0),
			"usr/lib/x.so":      fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "elf"),
			"closed":            fmt.Sprintf("0040000 %d:%d %s", h(0), h(0), t0),
			"closed/in":         fmt.Sprintf("0100000 %d:%d %s %q", h(0), h(0), t0, "in"),
			"pipe":              fmt.Sprintf("0010620 %d:%d %s", h(7), h(8), t0),
			"caf\xe9\n\x1b[31m": fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "odd name"),
			long:                fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "long"),
			"empty":             fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, ""),
			"twice":             fmt.Sprintf("0100600 %d:%d %s %q", h(0), h(0), t0, "second"),
			"was-dir":           fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "file now"),
			"was-file":          fmt.Sprintf("0040755 %d:%d %s", h(0), h(0), t0),
			"was-file/in":       fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "y"),
			"was-link-target":   fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "keep"),
			"was-link":          fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), t0, "own"),
		}
		got := treeOf(t, dir, "owner mtime")
		for _, implied := range []string{"bin", "usr", filepath.Dir(long)} { // their time is that of the unpacking
			if !strings.HasPrefix(got[implied], fmt.Sprintf("0040755 %d:%d ", h(0), h(0))) {
				t.Errorf("%s: %s", implied, got[implied])
			}
			delete(got, implied)
		}
		if !strings.Contains(got["big"], "2000000") {
			t.Errorf("big: %s", got["big"])
		}
		delete(got, "big")
		sameTrees(t, got, want)
	})
}

func TestXattrs(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		// cap_net_raw+ep, version 2
		capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		data := archiveOf(t,
			file("ping", "elf").with("security.capability", capability).owned(0, 5),
			file("note", "n").with("user.note", "hello\x00world"),
			file("se", "").with("security.selinux", "system_u:object_r:bin_t:s0"),
			folder("d").with("user.overlay.opaque", "y"),
			file("w", "").with("user.overlay.whiteout", "y"),
			file("r", "").with("trusted.overlay.redirect", "/etc"),
			file("o", "").with("user.coracle.stat", "0:0:0104755"),
			symlink("l", "x").with("user.note", "n"),
			folder("dd").with("user.dir", "v"),
		)
		res, err := e.unpack(t, "a", data)
		if err != nil {
			t.Fatal(err)
		}
		if res.Skipped != 6 || len(res.Skips) != 6 {
			t.Errorf("skipped %d: %v", res.Skipped, res.Skips)
		}
		dir := filepath.Join(e.root, "a/fs")
		for name, want := range map[string]string{"note": `[user.note="hello\x00world"]`, "se": "[]", "d": "[]", "w": "[]", "r": "[]", "o": "[]", "l": "[]", "dd": `[user.dir="v"]`} {
			if got := fmt.Sprint(xattrsOf(filepath.Join(dir, name))); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		// In a user namespace the kernel writes version 3, with the namespace's root.
		got := fmt.Sprint(xattrsOf(filepath.Join(dir, "ping")))
		want := "[security.capability=" + fmt.Sprintf("%q", capability) + "]"
		if e.client != nil {
			v3 := "\x01\x00\x00\x03" + capability[4:] + string([]byte{callerID & 0xff, callerID >> 8, 0, 0})
			want = "[security.capability=" + fmt.Sprintf("%q", v3) + "]"
		}
		if got != want {
			t.Errorf("ping: %s, want %s", got, want)
		}
	})
}

func compressed(t testing.TB, how string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		w, _ = zstd.NewWriter(&b)
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return b.Bytes()
}

func TestCompressionsAndMediaTypes(t *testing.T) {
	e := localEnv(t)
	data := archiveOf(t, file("a", "x"), file("b", strings.Repeat("y", 3*chunkSize)))
	half := len(data) / 2 &^ 511
	gz, zs := compressed(t, "gzip", data), compressed(t, "zstd", data)
	multi := append(compressed(t, "gzip", data[:half]), compressed(t, "gzip", data[half:])...)
	frames := append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), append(compressed(t, "zstd", data[:half]), compressed(t, "zstd", data[half:])...)...)
	const oci, docker = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
	for i, c := range []struct {
		blob      []byte
		mediaType string
		want      error
	}{
		{data, "", nil}, {gz, "", nil}, {zs, "", nil}, {multi, "", nil}, {frames, "", nil},
		{data, oci, nil}, {gz, oci + "+gzip", nil}, {zs, oci + "+zstd", nil},
		{multi, docker + ".gzip", nil}, {frames, docker + ".zstd", nil}, {data, docker, nil},
		{gz, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", nil},
		{gz, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", nil},
		{data, oci + "+gzip", ErrMediaType}, {gz, oci, ErrMediaType}, {zs, oci + "+gzip", ErrMediaType}, {gz, oci + "+zstd", ErrMediaType},
		{gz, "application/vnd.oci.image.config.v1+json", ErrMediaType}, {gz, "text/plain", ErrMediaType},
		{[]byte("BZh91AY"), "", ErrMediaType}, {[]byte("\xfd7zXZ\x00"), "", ErrMediaType},
		{[]byte(strings.Repeat("<html>", 200)), "", ErrMediaType}, {[]byte("short"), "", ErrTruncated},
		{append(bytes.Clone(gz), "garbage after it"...), "", ErrCorrupt},
		{append(bytes.Clone(zs), "garbage after it"...), "", ErrCorrupt},
	} {
		res, err := e.unpack(t, fmt.Sprint(i), c.blob, func(r *Request) { r.MediaType, r.DiffID = c.mediaType, "" })
		if c.want != nil {
			if err == nil || !strings.Contains(fmt.Sprint(err), c.want.Error()) {
				t.Errorf("%d (%s): got %v, want %v", i, c.mediaType, err, c.want)
			}
			continue
		}
		if err != nil || res.DiffID != digest.FromBytes(data) || res.Entries != 2 || res.Bytes != int64(len(data)) {
			t.Errorf("%d (%s): %+v, %v", i, c.mediaType, res, err)
		}
	}
}

func TestDevicesAreLeftOutWithReason(t *testing.T) {
	e := stageEnv(t, false)
	dev := func(name string, typ byte, major, minor int64) ent {
		return ent{tar.Header{Typeflag: typ, Name: name, Mode: 0o666, Devmajor: major, Devminor: minor, ModTime: when}, ""}
	}
	res, err := e.unpack(t, "a", archiveOf(t, file("dev/null", "earlier"), dev("dev/null", tar.TypeChar, 1, 3),
		dev("dev/sda", tar.TypeBlock, 8, 0), dev("whiteout", tar.TypeChar, 0, 0), hard("dev/link", "dev/null"), file("after", "")))
	if err != nil {
		t.Fatal(err)
	}
	if res.Skipped != 4 || !strings.Contains(res.Skips[0].Why, "character device 1:3") || !strings.Contains(res.Skips[1].Why, "block device 8:0") {
		t.Errorf("%+v", res)
	}
	var names []string
	for n := range treeOf(t, filepath.Join(e.root, "a/fs"), "") {
		names = append(names, n)
	}
	if len(names) != 3 { // . dev after
		t.Errorf("made %q", names)
	}
}

func TestUnmappedOwner(t *testing.T) {
	e := stageEnv(t, false)
	_, err := e.unpack(t, "a", archiveOf(t, file("ok", ""), file("far", "").owned(70000, 3), file("farther", "").owned(200000, 100000)))
	wantErr(t, err, ErrUnmapped)
	var u *UnmappedError
	if !asErr(err, &u) || u.Path != "far" || u.Kind != "uid" || u.ID != 70000 || u.MaxUID != 200000 || u.MaxGID != 100000 {
		t.Errorf("%+v", u)
	}
	var h interface{ Hint() string }
	if !asErr(err, &h) || !strings.Contains(h.Hint(), "200000 subordinate ids") {
		t.Errorf("no hint: %v", err)
	}
}

func TestRecordKeepsOwners(t *testing.T) {
	e := stageEnv(t, true)
	rec := func(r *Request) { r.Record = true }
	data := archiveOf(t, file("root", "0"), file("www", "w").owned(33, 34).moded(0o4750), folder("d").owned(5, 6).moded(0o2700),
		symlink("l", "x").owned(7, 8),
		ent{tar.Header{Typeflag: tar.TypeBlock, Name: "sda", Mode: 0o660, Gid: 6, Devmajor: 8, Devminor: 1, ModTime: when}, ""},
		ent{tar.Header{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o600, Uid: 9, ModTime: when}, ""})
	if _, err := e.unpack(t, "a", data, rec); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(e.root, "a/fs")
	for name, want := range map[string]string{"root": "[]", "www": `[user.coracle.stat="33:34:0104750"]`, "d": `[user.coracle.stat="5:6:0042700"]`} {
		if got := fmt.Sprint(xattrsOf(filepath.Join(dir, name))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	got, err := os.ReadFile(filepath.Join(e.root, "a/stat"))
	if want := "7:8:0120777 l\x000:6:0060660:8:1 sda\x009:0:0010600 p\x00"; err != nil || string(got) != want {
		t.Errorf("stat: %q, %v; want %q", got, err, want)
	}
	for name, want := range map[string]string{"www": "0104750", "d": "0042700"} {
		if tr := treeOf(t, dir, "owner"); !strings.HasPrefix(tr[name], fmt.Sprintf("%s %d:%d", want, callerID, callerID)) {
			t.Errorf("%s: %s", name, tr[name])
		}
	}
}

func TestStatRoundTrip(t *testing.T) {
	for _, s := range []Stat{{0, 0, unix.S_IFREG | 0o644, 0, 0}, {4294967294, 1, unix.S_IFDIR | 0o7777, 0, 0}, {1, 2, unix.S_IFCHR | 0o600, 1, 3}} {
		if got, err := ParseStat(s.String()); err != nil || got != s {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "1:2", "1:2:9", "1:2:3:4", "-1:0:0", "4294967296:0:0", "1:2:3:4:5:6"} {
		if s, err := ParseStat(bad); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}
