package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"coracle/internal/later/registries"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// table is a layer's table of contents.
type table struct {
	tablePlace
	entries []chunkedEntry
}

// tablePlace says where a layer's table is.
type tablePlace struct {
	end          int64 // of the frames: the head of the table's own stands there
	at           int64 // of the table
	packed, size int64 // of the table, as it stands there and unpacked
	sum          digest.Digest
}

// placeOf reads the annotations; ok is false for a layer that has no table that we know.
func placeOf(d ocispec.Descriptor) (p tablePlace, ok bool) {
	var kind int64
	for _, prefix := range [...]string{"io.github.containers.", "io.containers."} { // the second is that of 2021
		p.sum = digest.Digest(d.Annotations[prefix+chunkedSum])
		n, err := fmt.Sscanf(d.Annotations[prefix+chunkedAt], "%d:%d:%d:%d", &p.at, &p.packed, &p.size, &kind)
		if ok = err == nil && n == 4; ok {
			break
		}
	}
	p.end = p.at - skippableHeader
	return p, ok && kind == chunkedCRFS && wantSHA256(p.sum) == nil && p.end > 0 && p.packed > 0 && p.packed <= d.Size-p.at &&
		d.Size-p.end <= maxTail && p.size > 0 && p.size <= maxTable
}

// parseTable checks the table against the digest that the manifest has for it.
func parseTable(p tablePlace, packed []byte) (*table, error) {
	registries.Ready()
	if got := sha256Of(packed); got != p.sum {
		return nil, fail(ErrCorrupt, "the table of contents has the digest %s, not %s", got, p.sum)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxTable), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(packed, make([]byte, 0, p.size))
	if err != nil || int64(len(raw)) != p.size {
		return nil, fail(ErrCorrupt, "the table of contents is not of %d bytes", p.size).because(err)
	}
	var doc struct {
		Version int            `json:"version"`
		Entries []chunkedEntry `json:"entries"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil || doc.Version != 1 {
		return nil, fail(ErrCorrupt, "the table of contents has version %d", doc.Version).because(err)
	}
	return &table{p, doc.Entries}, nil
}

// segment is a stretch of a blob. Two with one key are alike, as far as can be known: frames
// by the digest of their content, what stands between them (the archive's headers, and
// the files without content) by what the tables say of it; both by their length, too.
type segment struct {
	at, n int64
	key   [sha256.Size]byte
}

// segments takes a blob apart, up to the table.
func (t *table) segments() ([]segment, error) {
	var out []segment
	var pos int64
	between := &bytes.Buffer{} // what is known of the stretch from pos on
	add := func(to int64, kind string, what []byte) error {
		if to < pos || to > t.end {
			return fail(ErrCorrupt, "the table of contents is not in order at byte %d", to)
		}
		if to > pos {
			out = append(out, segment{pos, to - pos, sha256.Sum256(fmt.Appendf(nil, "%s %d %s", kind, to-pos, what))})
		}
		pos = to
		return nil
	}
	for i := range t.entries {
		e := t.entries[i]
		end := t.frameEnd(i)
		if e.Type != "chunk" {
			plain := e
			plain.Offset, plain.EndOffset = 0, 0
			if err := json.NewEncoder(between).Encode(plain); err != nil {
				return nil, err
			}
		}
		if end <= e.Offset || e.Offset == 0 {
			continue
		}
		if err := add(e.Offset, "between", between.Bytes()); err != nil {
			return nil, err
		}
		content := e.ChunkDigest
		if content == "" {
			content = e.Digest
		}
		if err := add(end, "frame", []byte(content)); err != nil {
			return nil, err
		}
		between.Reset()
		fmt.Fprintf(between, "after %d\n", e.Size%512) // the padding
	}
	return out, add(t.end, "between", between.Bytes())
}

// frameEnd is where the frame of an entry ends: a file of several chunks has one entry for the
// file with its first chunk, and one for each other.
func (t *table) frameEnd(i int) int64 {
	if i+1 < len(t.entries) && t.entries[i+1].Type == "chunk" {
		return t.entries[i+1].Offset
	}
	for ; i > 0 && t.entries[i].Type == "chunk"; i-- {
	}
	return t.entries[i].EndOffset
}
