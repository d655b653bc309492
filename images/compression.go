package images

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"coracle/internal/later/registries"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression is how a stream is packed, told by its first bytes.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
	otherwise // bzip2, xz, lz4: known to be not what we read
)

func sniff(head []byte) compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzipped
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return zstandard
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(head, []byte{0x04, 0x22, 0x4d, 0x18}):
		return otherwise
	}
	return plain
}

// zstdWindow bounds what one zstd frame may ask us to keep in memory.
const zstdWindow = 128 << 20

// decompress gives the content of a stream, whatever it is packed with.
func decompress(r io.Reader) (io.ReadCloser, compression, error) {
	registries.Ready()
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, plain, err
	}
	switch kind := sniff(head); kind {
	case gzipped:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, kind, fail(ErrCorrupt, "read gzip").because(err)
		}
		return z, kind, nil
	case zstandard:
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, kind, fail(ErrCorrupt, "read zstd").because(err)
		}
		return z.IOReadCloser(), kind, nil
	case otherwise:
		return nil, kind, otherCompression()
	}
	return io.NopCloser(b), plain, nil
}

func otherCompression() *Error {
	return fail(ErrUnsupported, "the archive is compressed with something else than gzip or zstd").hint("unpack it first, for example with xz -dc or bzip2 -dc")
}

// copyContext copies until the end or until ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var total int64
	for ctx.Err() == nil {
		n, rerr := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if rerr == io.EOF {
			return total, nil
		}
		if rerr != nil {
			return total, rerr
		}
	}
	return total, context.Cause(ctx)
}
