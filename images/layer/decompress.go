package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"coracle/internal/later/registries"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what one zstd stream may make us allocate. zstd's own
// command line goes to 8 MiB unless --ultra or --long is given, and to 128 MiB
// with them.
const maxWindow = 128 << 20

// compressionOf reads the compression from a layer's media type: "gzip",
// "zstd", or "" for none.
func compressionOf(mediaType string) (string, error) {
	switch base := mediaType; {
	case strings.HasSuffix(base, "+gzip"), strings.HasSuffix(base, ".gzip"):
		return "gzip", nil
	case strings.HasSuffix(base, "+zstd"), strings.HasSuffix(base, ".zstd"):
		return "zstd", nil
	case strings.HasSuffix(base, ".tar"), strings.HasSuffix(base, "diff+x-gtar"):
		return "", nil
	}
	return "", fmt.Errorf("%w: %q is not the type of a layer that can be unpacked", ErrMediaType, mediaType)
}

// sniff names the compression that the first bytes of a blob show.
func sniff(head []byte) string {
	magics := []struct{ magic, name string }{
		{"\x1f\x8b", "gzip"}, {"\x28\xb5\x2f\xfd", "zstd"},
		{"BZh", "bzip2"}, {"\xfd7zXZ\x00", "xz"}, {"\x04\x22\x4d\x18", "lz4"},
	}
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.name
		}
	}
	// A skippable frame may come first: zstd:chunked puts its index into one.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")) {
		return "zstd"
	}
	return ""
}

// decompress opens the archive in a blob, as its media type says and as its
// first bytes confirm.
func decompress(r *bufio.Reader, mediaType string) (io.ReadCloser, error) {
	registries.Ready()
	head, err := r.Peek(512)
	if err != nil && err != io.EOF {
		return nil, err
	}
	is := sniff(head)
	if mediaType != "" {
		says, err := compressionOf(mediaType)
		if err != nil {
			return nil, err
		}
		if says != is {
			return nil, fmt.Errorf("%w: %s, but its bytes are %s", ErrMediaType, mediaType, called(is))
		}
	}
	switch is {
	case "gzip":
		z, err := gzip.NewReader(r)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		return z, nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case "":
		return io.NopCloser(r), plainTar(head)
	default:
		return nil, fmt.Errorf("%w: layers compressed with %s are not supported", ErrMediaType, is)
	}
}

func called(compression string) string {
	if compression == "" {
		return "not compressed"
	}
	return compression
}

// plainTar refuses what is not an archive at all, before anything is made.
func plainTar(head []byte) error {
	if len(head) == 0 || len(head) == blockSize && (isZero(head) || checksumOK((*block)(head))) {
		return nil
	}
	if len(head) < blockSize {
		return fmt.Errorf("%w: it has only %d bytes", ErrTruncated, len(head))
	}
	return fmt.Errorf("%w: it is neither gzip nor zstd nor a tar archive", ErrMediaType)
}

// explain turns what a decompressor says into one of our errors, unless the
// blob itself could not be read.
func (b *blobReader) explain(err error) error {
	switch {
	case b.err != nil:
		return b.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: its compressed data stops at byte %d", ErrTruncated, b.off)
	case errors.Is(err, ErrMediaType), errors.Is(err, ErrTruncated), errors.Is(err, ErrCorrupt):
		return err
	}
	return fmt.Errorf("%w: before byte %d: %w", ErrCorrupt, b.off, err)
}
