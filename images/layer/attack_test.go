package layer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// rawTar makes a ustar archive without the checks of archive/tar.
func rawTar(ents ...rawEnt) []byte {
	var b bytes.Buffer
	for _, e := range ents {
		var h block
		copy(h[:100], e.name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00", len(e.body), 0))
		h[156] = e.typ
		copy(h[157:257], e.link)
		copy(h[257:], "ustar\x0000")
		if e.edit != nil {
			e.edit(&h)
		}
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h[:])
		b.WriteString(e.body)
		b.Write(make([]byte, -len(e.body)&511))
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

type rawEnt struct {
	typ        byte
	name, link string
	body       string
	edit       func(*block)
}

func pax(kv ...string) rawEnt {
	var b strings.Builder
	for i := 0; i < len(kv); i += 2 {
		rec := " " + kv[i] + "=" + kv[i+1] + "\n"
		n := len(rec) + 1
		for len(fmt.Sprint(n))+len(rec) != n {
			n++
		}
		fmt.Fprint(&b, n, rec)
	}
	return rawEnt{typ: typePax, name: "pax", body: b.String()}
}

// outside makes a place beside the store that no archive may change.
func (e *env) outside(t *testing.T) (check func()) {
	t.Helper()
	dir := filepath.Join(e.root, "outside")
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(dir, "secret")} {
		if err := os.Chown(p, e.host(0), e.host(0)); err != nil { // so that only the names protect it
			t.Fatal(err)
		}
	}
	before := treeOf(t, dir, "owner mtime xattrs")
	top, _ := os.ReadDir(e.root)
	return func() {
		t.Helper()
		if after := treeOf(t, dir, "owner mtime xattrs"); !maps.Equal(after, before) {
			t.Errorf("the outside has changed: %v, was %v", after, before)
		}
		now, _ := os.ReadDir(e.root)
		for _, n := range now[:] {
			if n.Name() != "a" && len(now) > len(top)+1 {
				t.Errorf("new beside the layer: %s", n.Name())
			}
		}
	}
}

func TestAttacks(t *testing.T) {
	up := strings.Repeat("../", 3) + "outside/"
	deep := strings.TrimSuffix(strings.Repeat("d/", 1000), "/")
	refused := map[string][]ent{
		"dot dot":                  {file("../outside/x", "")},
		"dot dot inside":           {folder("a"), file("a/../../outside/x", "")},
		"absolute dot dot":         {file("/../outside/x", "")},
		"only dot dot":             {folder("..")},
		"hard link out":            {hard("x", "../../outside/secret")},
		"hard link to a directory": {folder("d"), hard("x", "d")},
		"hard link to the root":    {hard("x", ".")},
		"whiteout of the root":     {file(".wh..", "")},
		"whiteout of nothing":      {file("d/.wh.", "")},
		"whiteout of dot dot":      {file("d/.wh...", "")},
		"whiteout out":             {file("../.wh.outside", "")},
		"opaque out":               {file("../outside/.wh..wh..opq", "")},
		"in a whiteout":            {file(".wh.d/x", "")},
		"root is a link":           {symlink(".", "../outside")},
		"root is a file":           {file(".", "x")},
		"part too long":            {file(strings.Repeat("n", 256), "")},
		"name of 4,096":            {file(strings.Repeat("n/", 2047)+"xx", "")},
		"link loop":                {symlink("a", "b"), symlink("b", "a"), file("a/x", "")},
		"deeper than a name":       {folder(deep), symlink("l1", deep), folder("l1/" + deep), symlink("l2", "l1/"+deep), folder("l2/" + deep)},
		"below a file":             {file("f", ""), file("f/x", "")},
		"empty link":               {symlink("l", "")},
	}
	contained := map[string][]ent{
		"link then write":          {symlink("l", up), file("l/secret", "pwned")},
		"absolute link then write": {symlink("l", "/outside"), file("l/secret", "pwned")},
		"link to dot dot":          {symlink("l", ".."), file("l/outside/secret", "pwned")},
		"chain of links":           {symlink("a", "b/.."), folder("b"), symlink("c", "a/../.."), file("c/outside/secret", "x")},
		"link then chmod":          {symlink("l", up), folder("l").moded(0o777), folder("l/sub").moded(0)},
		"write at the link itself": {symlink("l", up+"secret"), file("l", "pwned")},
		"link then hard link":      {symlink("l", up), folder("outside"), file("outside/secret", "mine"), hard("x", "l/secret")},
		"link then whiteout":       {symlink("l", up), file("l/.wh.secret", "")},
		"link then opaque":         {symlink("l", up), file("l/.wh..wh..opq", "")},
		"link then device":         {symlink("l", up), ent{tar.Header{Typeflag: tar.TypeChar, Name: "l/secret"}, ""}},
		"link then replace":        {symlink("l", up), file("l/sub", "now a file")},
		"hard link to a link":      {symlink("l", up+"secret"), hard("h", "l"), file("h", "pwned")},
		"dir replaced by link":     {folder("d"), file("d/x", ""), symlink("d", up), file("d/secret", "pwned")},
		"times through a link":     {folder("d/sub"), symlink("d", up)},
		"magic link":               {symlink("l", "/proc/self/cwd/../../outside"), file("l/secret", "pwned")},
		"absolute name":            {file("/outside/secret", "mine")},
	}
	everywhere(t, func(t *testing.T, e *env) {
		check := e.outside(t)
		try := func(name string, ents []ent, want error) {
			t.Helper()
			data := rawOf(t, ents)
			_, err := e.unpack(t, "a", data)
			if err == nil {
				err = e.Finish(t.Context(), FinishRequest{Dir: "a/fs"})
			}
			switch {
			case want == nil && err != nil:
				t.Errorf("%s: %v", name, err)
			case want != nil && err == nil:
				t.Errorf("%s: accepted", name)
			case want != nil && !isOneOf(err, want, unix.ELOOP):
				t.Errorf("%s: %v", name, err)
			}
			check()
			if err := e.Remove(t.Context(), "a"); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			check()
		}
		for name, ents := range refused {
			try(name, ents, ErrBadEntry)
		}
		for name, ents := range contained {
			try(name, ents, nil)
		}
	})
}

func isOneOf(err error, any ...error) bool {
	for _, a := range any {
		if asIs(err, a) {
			return true
		}
	}
	return false
}

// rawOf is archiveOf without archive/tar's opinions on names.
func rawOf(t *testing.T, ents []ent) []byte {
	t.Helper()
	var raw []rawEnt
	for _, e := range ents {
		raw = append(raw, pax("path", e.Name, "linkpath", e.Linkname),
			rawEnt{typ: e.Typeflag, name: "x", body: e.body, edit: func(b *block) { copy(b[100:], fmt.Sprintf("%07o\x00", e.Mode)) }})
		if e.Linkname == "" {
			raw[len(raw)-2] = pax("path", e.Name)
		}
	}
	return rawTar(raw...)
}

func TestSymlinkedParentsStayInside(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		e.layer(t, "base", nil, file("usr/lib/gone", ""))
		dir := e.layer(t, "a", []string{"base"}, symlink("lib", "usr/lib"), folder("usr"), folder("usr/lib"), file("lib/x", "1"),
			symlink("abs", "/var/data"), file("abs/y", "2"), symlink("usr/up", "../../../etc"), file("usr/up/z", "3"),
			hard("h", "lib/x"), file("lib/.wh.gone", ""), file("abs/.wh..wh..opq", ""), symlink("lib/self", "."), file("lib/self/self/w", "4"))
		got := treeOf(t, dir, "")
		for name, want := range map[string]string{"usr/lib/x": `0100644 "1"`, "var/data/y": `0100644 "2"`, "etc/z": `0100644 "3"`,
			"usr/lib/gone": "0020000 0:0", "usr/lib/w": `0100644 "4"`} {
			if !strings.HasPrefix(got[name], want) && !strings.HasPrefix(got[name], want+" =") {
				t.Errorf("%s: %q, want %q", name, got[name], want)
			}
		}
		if x := xattrsOf(filepath.Join(dir, "var/data")); len(x) != 1 || x[0] != `user.overlay.opaque="y"` {
			t.Errorf("var/data: %q", x)
		}
	})
}

func TestBadArchives(t *testing.T) {
	e := localEnv(t)
	long := strings.Repeat("v", 2<<20)
	sparse := func(size string, kv ...string) []byte {
		return rawTar(pax(append([]string{"GNU.sparse.size", size}, kv...)...), rawEnt{typ: typeReg, name: "s", body: "12345"})
	}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"NUL in a name":          {rawTar(pax("path", "a\x00b"), rawEnt{typ: typeReg, name: "x"}), ErrBadEntry},
		"NUL in a link":          {rawTar(pax("linkpath", "a\x00b"), rawEnt{typ: typeSymlink, name: "x"}), ErrBadEntry},
		"no name":                {rawTar(rawEnt{typ: typeReg}), ErrBadEntry},
		"unknown type":           {rawTar(rawEnt{typ: 'Z', name: "x"}), ErrBadEntry},
		"continued volume":       {rawTar(rawEnt{typ: 'M', name: "x"}), ErrBadEntry},
		"huge PAX header":        {rawTar(pax("comment", long), rawEnt{typ: typeReg, name: "x"}), ErrTooBig},
		"huge long name":         {rawTar(rawEnt{typ: typeLongName, name: "x", body: long}), ErrTooBig},
		"PAX length":             {rawTar(rawEnt{typ: typePax, name: "x", body: "99 a=b\n"}), ErrCorrupt},
		"PAX newline":            {rawTar(rawEnt{typ: typePax, name: "x", body: "6 a=bc"}), ErrCorrupt},
		"PAX number":             {rawTar(pax("size", "-1"), rawEnt{typ: typeReg, name: "x"}), ErrCorrupt},
		"size without data":      {rawTar(pax("size", "99999"), rawEnt{typ: typeReg, name: "x"}), ErrTruncated},
		"no owner":               {rawTar(pax("uid", "4294967295"), rawEnt{typ: typeReg, name: "x"}), ErrBadEntry},
		"header without entry":   {rawTar(pax("path", "x")), ErrTruncated},
		"entry after the end":    {append(rawTar()[:512], rawTar(rawEnt{typ: typeReg, name: "x"})...), ErrCorrupt},
		"sparse: too much data":  {sparse("3", "GNU.sparse.map", "0,5"), ErrCorrupt},
		"sparse: too little":     {sparse("9", "GNU.sparse.map", "0,4"), ErrCorrupt},
		"sparse: overlap":        {sparse("99", "GNU.sparse.map", "0,3,2,2"), ErrCorrupt},
		"sparse: backwards":      {sparse("99", "GNU.sparse.map", "50,3,0,2"), ErrCorrupt},
		"sparse: overflow":       {sparse("9223372036854775807", "GNU.sparse.map", "9223372036854775806,5"), ErrCorrupt},
		"sparse: odd":            {sparse("99", "GNU.sparse.map", "0"), ErrCorrupt},
		"sparse: no size":        {sparse("", "GNU.sparse.map", "0,5"), ErrCorrupt},
		"sparse: unknown":        {sparse("9", "GNU.sparse.major", "7", "GNU.sparse.minor", "0"), ErrCorrupt},
		"sparse: map in no data": {sparse("9", "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "9"), ErrCorrupt},
		"sparse: directory":      {rawTar(pax("GNU.sparse.size", "9", "GNU.sparse.map", "0,0"), rawEnt{typ: typeDir, name: "s"}), ErrCorrupt},
	} {
		_, err := e.unpack(t, "a", c.data)
		if !asIs(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if err := e.Remove(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBombs(t *testing.T) {
	e := localEnv(t)
	zeros := archiveOf(t, file("z", strings.Repeat("\x00", 8<<20)))
	many := archiveOf(t, file("a", ""), file("b", ""), file("c", ""))
	hole := rawTar(pax("GNU.sparse.size", "1099511627776", "GNU.sparse.map", "0,1"), rawEnt{typ: typeReg, name: "s", body: "x"})
	for name, c := range map[string]struct {
		data []byte
		lim  Limits
		what string
	}{
		"bytes":       {compressed(t, "gzip", zeros), Limits{Bytes: 1 << 20}, "bytes"},
		"zstd":        {compressed(t, "zstd", zeros), Limits{Bytes: 1 << 20}, "bytes"},
		"entries":     {many, Limits{Entries: 2}, "entries"},
		"hole":        {hole, Limits{}, "bytes"},
		"enough":      {many, Limits{Entries: 3}, ""},
		"hole wanted": {hole, Limits{Bytes: -1}, ""},
	} {
		_, err := e.unpack(t, name, c.data, func(r *Request) { r.Limits = c.lim })
		var big *TooBigError
		if c.what == "" && err != nil || c.what != "" && (!asErr(err, &big) || big.What != c.what || !asIs(err, ErrTooBig)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The ratio counts beyond 1 GiB only, which would take long to write here.
	lim := limitsOf(Limits{})
	for _, c := range []struct {
		out, in int64
		ok      bool
	}{{1 << 30, 1, true}, {2 << 30, 8 << 20, false}, {2 << 30, 11 << 20, true}, {300 << 30, 300 << 30, false}} {
		if err := lim.check(c.out, c.in); (err == nil) != c.ok {
			t.Errorf("%d from %d: %v", c.out, c.in, err)
		}
	}
}

func TestVerifyBlob(t *testing.T) {
	e := localEnv(t)
	data := compressed(t, "gzip", archiveOf(t, file("a", "x")))
	good := func(r *Request) { r.Verify, r.Digest, r.Size = true, digest.FromBytes(data), int64(len(data)) }
	if _, err := e.unpack(t, "ok", data, good); err != nil {
		t.Error(err)
	}
	_, err := e.unpack(t, "size", data, good, func(r *Request) { r.Size++ })
	wantErr(t, err, ErrDigest)
	_, err = e.unpack(t, "digest", data, good, func(r *Request) { r.Digest = digest.FromString("other") })
	wantErr(t, err, ErrDigest)
	_, err = e.unpack(t, "diffID", data, func(r *Request) { r.DiffID = digest.FromString("other") })
	wantErr(t, err, ErrDiffID)
	if _, err = e.unpack(t, "empty", data, func(r *Request) { r.DiffID = "sha256:zz" }); err == nil {
		t.Error("a malformed diffID is taken")
	}
}
