package images

import (
	"context"
	"io"

	"coracle/internal/later/registries"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

// compressTo writes what r has, compressed, and checks that it is the layer
// that it should be. The same layer gives the same bytes each time: nothing but
// the level goes in. notes are the annotations of its descriptor.
func compressTo(ctx context.Context, w io.Writer, r io.Reader, diffID digest.Digest, sh Shape) (notes map[string]string, err error) {
	v := newVerifier(diffID, -1)
	in := io.TeeReader(r, v)
	if sh.Compression == chunkedName {
		notes, err = writeChunked(ctx, w, in, sh.Level)
	} else {
		var z io.WriteCloser
		if z, err = compressor(w, sh); err != nil {
			return nil, err
		}
		if _, err = copyContext(ctx, z, in); err == nil {
			err = z.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	return notes, v.check()
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }

func compressor(w io.Writer, sh Shape) (io.WriteCloser, error) {
	registries.Ready()
	switch sh.Compression {
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstdLevel(sh.Level)), zstd.WithEncoderConcurrency(1))
	case "none":
		return nopWriteCloser{w}, nil
	}
	level := sh.Level
	if level == 0 {
		level = gzip.DefaultCompression
	}
	return gzip.NewWriterLevel(w, level)
}

func zstdLevel(level int) zstd.EncoderLevel {
	if level == 0 {
		level = 3
	}
	return zstd.EncoderLevelFromZstd(level)
}
