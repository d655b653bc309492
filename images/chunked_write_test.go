package images

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// zstd:chunked: the frames of the table's offsets are the files.
func TestChunked(t *testing.T) {
	m := make3(t, nil)
	s := stored(t, m)
	dir := filepath.Join(t.TempDir(), "d")
	if _, err := s.Push(t.Context(), onlyName(t, s), "dir:"+dir, PushOptions{Shape: Shape{Compression: chunkedName}}); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Layers []struct {
			Digest      digest.Digest
			Annotations map[string]string
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err == nil {
		err = json.Unmarshal(raw, &doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range doc.Layers {
		blob, err := os.ReadFile(filepath.Join(dir, l.Digest.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		var at, packed, size, kind int
		if _, err := fmt.Sscanf(l.Annotations[chunkedPosition], "%d:%d:%d:%d", &at, &packed, &size, &kind); err != nil {
			t.Fatal(err)
		}
		if string(sha256Of(blob[at:at+packed])) != l.Annotations[chunkedChecksum] {
			t.Error("the table's digest is another")
		}
		var toc struct{ Entries []chunkedEntry }
		table := unzst(t, blob[at:at+packed])
		if err := json.Unmarshal(table, &toc); err != nil || len(table) != size || len(toc.Entries) == 0 {
			t.Fatal(err, len(table), size)
		}
		for _, e := range toc.Entries {
			if got := unzst(t, blob[e.Offset:e.EndOffset]); string(sha256Of(got)) != e.Digest || int64(len(got)) != e.Size {
				t.Errorf("%s: %d bytes", e.Name, len(got))
			}
		}
	}
	if _, err := newStore(t).Pull(t.Context(), "dir:"+dir, PullOptions{}); err != nil {
		t.Error(err)
	}
}

func unzst(t *testing.T, data []byte) []byte {
	t.Helper()
	r, _, err := decompress(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
