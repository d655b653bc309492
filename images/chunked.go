package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"coracle/internal/later/registries"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// zstd:chunked is a zstd layer whose files are frames of their own, with a table
// of contents behind them in frames that other readers skip (containers/storage,
// pkg/chunked). Every reader of zstd reads it as it is.

const (
	chunkedName     = "zstd:chunked"
	chunkedSum      = "zstd-chunked.manifest-checksum"
	chunkedAt       = "zstd-chunked.manifest-position"
	chunkedChecksum = "io.github.containers." + chunkedSum
	chunkedPosition = "io.github.containers." + chunkedAt
	chunkedMagic    = "GNUlInUx"
	chunkedCRFS     = 1 // the kind of table
	skippableMagic  = 0x184d2a50
	skippableHeader = 8
)

// chunkedEntry is a line of the table: a member of the archive, and where the
// frame with its content is.
type chunkedEntry struct {
	Type        string            `json:"type"`
	Name        string            `json:"name"`
	Linkname    string            `json:"linkName,omitempty"`
	Mode        int64             `json:"mode,omitempty"`
	Size        int64             `json:"size,omitempty"`
	UID         int               `json:"uid,omitempty"`
	GID         int               `json:"gid,omitempty"`
	ModTime     *time.Time        `json:"modtime,omitempty"`
	Devmajor    int64             `json:"devMajor,omitempty"`
	Devminor    int64             `json:"devMinor,omitempty"`
	Xattrs      map[string]string `json:"xattrs,omitempty"`
	Digest      string            `json:"digest,omitempty"`
	Offset      int64             `json:"offset,omitempty"`
	EndOffset   int64             `json:"endOffset,omitempty"`
	ChunkDigest string            `json:"chunkDigest,omitempty"`
}

// chunkedWriter compresses what its tar reader reads, frame by frame.
type chunkedWriter struct {
	out  *verifier // counts and hashes what goes out
	z    *zstd.Encoder
	used bool // the frame under way has something in it
}

func (c *chunkedWriter) Write(b []byte) (int, error) {
	c.used = c.used || len(b) > 0
	return c.z.Write(b)
}

// cut ends the frame, if there is one, and begins another.
func (c *chunkedWriter) cut(w io.Writer) error {
	if !c.used {
		return nil
	}
	if err := c.z.Close(); err != nil {
		return err
	}
	c.z.Reset(w)
	c.used = false
	return nil
}

// writeChunked compresses an archive, and gives the annotations that say where
// its table is.
func writeChunked(ctx context.Context, w io.Writer, r io.Reader, level int) (map[string]string, error) {
	registries.Ready()
	c := &chunkedWriter{out: newVerifier("", -1)}
	to := io.MultiWriter(w, c.out)
	var err error
	if c.z, err = zstd.NewWriter(to, zstd.WithEncoderLevel(zstdLevel(level)), zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, err
	}
	defer c.z.Close() //nolint:errcheck // a second time, after what counted
	// The reader takes header blocks one by one and looks at nothing else: what
	// it has read so far is what stands before the content of the member.
	raw := io.TeeReader(r, c)
	entries := []chunkedEntry{}
	for t := tar.NewReader(raw); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		e, err := entryOf(h)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg && h.Size > 0 {
			if err := c.content(to, t, &e); err != nil {
				return nil, err
			}
		}
		entries = append(entries, e)
	}
	if _, err := copyContext(ctx, io.Discard, raw); err != nil { // what stands behind the end
		return nil, err
	}
	if err := c.cut(to); err != nil {
		return nil, err
	}
	return writeTable(to, c.out.n, entries)
}

// content makes a frame of a file.
func (c *chunkedWriter) content(to io.Writer, t io.Reader, e *chunkedEntry) error {
	if err := c.cut(to); err != nil {
		return err
	}
	e.Offset = c.out.n
	sum := newVerifier("", -1)
	if _, err := io.Copy(sum, t); err != nil {
		return err
	}
	if err := c.cut(to); err != nil {
		return err
	}
	e.EndOffset = c.out.n
	e.Digest = string(digest.NewDigestFromBytes(digest.SHA256, sum.sum.Sum(nil)))
	e.ChunkDigest = e.Digest
	return nil
}

func entryOf(h *tar.Header) (chunkedEntry, error) {
	kinds := map[byte]string{tar.TypeReg: "reg", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink", tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo"}
	e := chunkedEntry{Type: kinds[h.Typeflag], Name: h.Name, Linkname: h.Linkname, Mode: h.Mode, Size: h.Size, UID: h.Uid, GID: h.Gid, Devmajor: h.Devmajor, Devminor: h.Devminor}
	sparse := h.Typeflag == tar.TypeGNUSparse
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[name] = base64.StdEncoding.EncodeToString([]byte(v))
		}
		sparse = sparse || strings.HasPrefix(k, "GNU.sparse.")
	}
	if e.Type == "" || sparse {
		return e, fail(ErrUnsupported, "zstd:chunked has no place for %s: its kind is %q", quote(h.Name), h.Typeflag).hint("use --compression zstd")
	}
	if !h.ModTime.IsZero() {
		at := h.ModTime.UTC()
		e.ModTime = &at
	}
	return e, nil
}

// writeTable appends the table and the footer that leads to it.
func writeTable(w io.Writer, at int64, entries []chunkedEntry) (map[string]string, error) {
	table, err := json.Marshal(struct {
		Version int            `json:"version"`
		Entries []chunkedEntry `json:"entries"`
	}{1, entries})
	if err != nil {
		return nil, fmt.Errorf("encode the table: %w", err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	defer z.Close() //nolint:errcheck // EncodeAll leaves nothing to close
	packed := z.EncodeAll(table, nil)
	numbers := []uint64{uint64(at + skippableHeader), uint64(len(packed)), uint64(len(table)), chunkedCRFS, 0, 0, 0} //nolint:gosec // sizes are not negative
	var footer bytes.Buffer
	for _, n := range numbers {
		footer.Write(binary.LittleEndian.AppendUint64(nil, n))
	}
	footer.WriteString(chunkedMagic)
	for _, frame := range [][]byte{packed, footer.Bytes()} {
		head := binary.LittleEndian.AppendUint32(nil, skippableMagic)
		head = binary.LittleEndian.AppendUint32(head, uint32(len(frame))) //nolint:gosec // bounded by the archive's entries
		if _, err := w.Write(append(head, frame...)); err != nil {
			return nil, err
		}
	}
	return map[string]string{
		chunkedChecksum: string(sha256Of(packed)),
		chunkedPosition: fmt.Sprintf("%d:%d:%d:%d", numbers[0], numbers[1], numbers[2], chunkedCRFS),
	}, nil
}
