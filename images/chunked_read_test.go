package images

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// chunkedImage has one zstd:chunked layer. lie may change the table, whose digest is right all
// the same.
func chunkedImage(t *testing.T, files map[string]string, lie func([]chunkedEntry) []chunkedEntry) *made {
	t.Helper()
	return make3(t, func(m *made) {
		plain := tarOf(t, files)
		var b bytes.Buffer
		notes, err := writeChunked(t.Context(), &b, bytes.NewReader(plain), 0)
		if err != nil {
			t.Fatal(err)
		}
		packed := b.Bytes()
		if lie != nil {
			packed, notes = otherTable(t, packed, notes, lie)
		}
		m.config.RootFS.DiffIDs = []digest.Digest{sha256Of(plain)}
		d := m.add(ocispec.MediaTypeImageLayerZstd, packed)
		d.Annotations = notes
		m.doc.Layers = []ocispec.Descriptor{d}
	})
}

func otherTable(t *testing.T, blob []byte, notes map[string]string, lie func([]chunkedEntry) []chunkedEntry) ([]byte, map[string]string) {
	t.Helper()
	d := ocispec.Descriptor{Annotations: notes, Size: int64(len(blob))}
	p, ok := placeOf(d)
	if !ok {
		t.Fatal(notes)
	}
	toc, err := parseTable(p, blob[p.at:p.at+p.packed])
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.Write(blob[:p.end])
	notes, err = writeTable(&b, p.end, lie(toc.entries))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), notes
}

// Of a new version of a layer only that is fetched which is new; whatever the table says, the
// blob is the right one in the end.
func TestChunkedFetchesWhatIsNew(t *testing.T) {
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("lib/%02d", i)] = noise(byte(i), 100<<10)
		files[fmt.Sprintf("lib/%02d.empty", i)] = ""
	}
	old := chunkedImage(t, files, nil)
	files = maps.Clone(files)
	files["lib/07"] = noise(100, 100<<10)
	files["lib/20.more"] = noise(101, 100<<10)
	delete(files, "lib/30")
	swap := func(l []chunkedEntry) []chunkedEntry {
		l = slices.Clone(l)
		l[0].Digest, l[2].Digest = l[2].Digest, l[0].Digest
		l[0].ChunkDigest, l[2].ChunkDigest = l[0].Digest, l[2].Digest
		return l
	}
	disorder := func(l []chunkedEntry) []chunkedEntry {
		l = slices.Clone(l)
		l[4].EndOffset, l[4].Offset = l[0].Offset, 1
		return l
	}
	for _, c := range []struct {
		name   string
		lie    func([]chunkedEntry) []chunkedEntry
		plain  bool // the registry serves no ranges
		wrong  bool // the manifest has another digest for the table
		reuses bool // part of it is not fetched
		twice  bool // what was put together is wrong, and fetched again
	}{
		{name: "as it should be", reuses: true},
		{name: "no ranges", plain: true},
		{name: "another table", wrong: true},
		{name: "the table lies about digests", lie: swap, twice: true},
		{name: "the table is not in order", lie: disorder},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := chunkedImage(t, files, c.lie)
			if c.wrong {
				m.doc.Layers[0].Annotations[chunkedChecksum] = string(sha256Of(nil))
				m.seal(t)
			}
			d := m.doc.Layers[0]
			reg := newRegistry(t)
			reg.serve("v1", old)
			s := newStore(t)
			if _, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{}); err != nil {
				t.Fatal(err)
			}
			reg.serve("v2", m)
			count := &countBlob{}
			serve := count.meddle(m.blobs[d.Digest], string(d.Digest))
			reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
				if c.plain {
					r.Header.Del("Range")
				}
				return serve(w, r)
			}
			st := newStage(t, s)
			img, err := s.Pull(t.Context(), reg.host()+"/x:v2", PullOptions{Class: class, Stage: st.get})
			if err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(s.blobPath(d.Digest)); err != nil || sha256Of(data) != d.Digest {
				t.Errorf("the blob is wrong: %v", err)
			}
			dirs, err := s.Layers(t.Context(), img, class, st.get)
			if err != nil || readLayers(t, dirs, "lib/07") != files["lib/07"] || readLayers(t, dirs, "lib/39") != files["lib/39"] {
				t.Errorf("the files are wrong: %v", err)
			}
			t.Logf("%d of %d bytes by %d requests", count.sent, d.Size, len(count.ranges))
			switch whole := int(d.Size); {
			case c.reuses && (count.sent > 300<<10 || len(count.ranges) > 5):
				t.Errorf("%d bytes by %q", count.sent, count.ranges)
			case c.twice && (count.sent < whole || count.sent > 2*whole):
				t.Errorf("%d of %d bytes by %q", count.sent, whole, count.ranges)
			case !c.reuses && count.sent < whole:
				t.Errorf("%d of %d bytes", count.sent, whole)
			}
			if left, _ := os.ReadDir(s.partialDir()); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// A layer that skopeo makes is taken apart, too, and put together again.
func TestChunkedOfPeers(t *testing.T) {
	needs(t, "skopeo")
	files := map[string]string{"a": noise(1, 300<<10), "b": strings.Repeat("b", 1<<20), "c": "", "zeros": string(make([]byte, 200<<10))}
	for i := range 8 {
		files[fmt.Sprint("many", i)] = noise(byte(i+2), 70<<10)
	}
	m := make1(t, files)
	dir := t.TempDir()
	run(t, "skopeo", "copy", "-q", "--dest-compress", "--dest-compress-format", "zstd:chunked", "oci:"+m.layout(t), "dir:"+dir+"/x")
	raw, err := os.ReadFile(dir + "/x/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc ocispec.Manifest
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	d := doc.Layers[0]
	blob, err := os.ReadFile(filepath.Join(dir, "x", d.Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	p, ok := placeOf(d)
	if !ok {
		t.Fatalf("skopeo's annotations: %v", d.Annotations)
	}
	toc, err := parseTable(p, blob[p.at:p.at+p.packed])
	if err != nil {
		t.Fatal(err)
	}
	list, err := toc.segments()
	if err != nil {
		t.Fatal(err)
	}
	// Each segment is frames that can be read alone.
	var out []byte
	for _, g := range list {
		out = append(out, unzst(t, blob[g.at:g.at+g.n])...)
	}
	if sha256Of(out) != m.config.RootFS.DiffIDs[0] {
		t.Errorf("the segments hold %d bytes that are another archive", len(out))
	}
	if len(list) < 2*len(files)-8 {
		t.Errorf("%d segments of %d files", len(list), len(files))
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(`{"version":1,"entries":[{"type":"reg","name":"a","offset":10,"endOffset":20,"digest":"x"},{"type":"chunk","name":"a","offset":15}]}`), int64(100), int64(1000))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, at, size int64) {
		packed := z.EncodeAll(raw, nil)
		d := ocispec.Descriptor{Size: size, Annotations: map[string]string{chunkedChecksum: string(sha256Of(packed)), chunkedPosition: fmt.Sprintf("%d:%d:%d:1", at, len(packed), len(raw))}}
		p, ok := placeOf(d)
		if !ok {
			return
		}
		toc, err := parseTable(p, packed)
		if err != nil {
			return
		}
		list, err := toc.segments()
		if err != nil {
			return
		}
		var pos int64
		have := donors{}
		for i, g := range list {
			if g.at != pos || g.n <= 0 {
				t.Fatalf("%d: %+v", pos, g)
			}
			if pos += g.n; i%2 == 0 {
				have[g.key] = append(have[g.key], donor{"x", int64(binary.LittleEndian.Uint32(g.key[:4]))})
			}
		}
		plan, err := planChunked(toc, make([]byte, size-p.end), have)
		if err != nil {
			t.Fatal(err)
		}
		pos = 0
		for _, p := range plan {
			if p.at != pos || p.n < 0 {
				t.Fatalf("%d: %+v", pos, p)
			}
			pos += p.n
		}
		if plan != nil && pos != size {
			t.Fatalf("%d of %d", pos, size)
		}
	})
}
