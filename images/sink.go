package images

import (
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// sink is a place that images go to. Blobs come first, several at once, then
// the manifests, one by one, those that an index lists before the index.
type sink interface {
	// blob keeps a blob, unless it is there. seen hears of the bytes that go.
	blob(ctx context.Context, x part, seen func([]byte)) error
	// manifest keeps a manifest; top says that it is what the name stands for.
	manifest(ctx context.Context, raw []byte, desc ocispec.Descriptor, top bool) error
}

// Progress gets the bytes of each blob as they go; nil: silent. It is called
// from several goroutines, what it returns from one at a time.
type Progress func(name string, size int64) io.WriteCloser

// watch makes what blob calls for each piece, and what ends it. The bar begins
// with the first byte: what is there already has none.
func (p Progress) watch(d ocispec.Descriptor) (seen func([]byte), end func()) {
	var bar io.WriteCloser
	seen = func(b []byte) {
		if p == nil {
			return
		}
		if bar == nil {
			bar = p(d.Digest.Encoded()[:12], d.Size)
		}
		if bar != nil {
			bar.Write(b) //nolint:errcheck // a bar that fails shows less
		}
	}
	return seen, func() {
		if bar != nil {
			bar.Close()
		}
	}
}

// send writes a parcel into a sink.
func (p *parcel) send(ctx context.Context, k sink, progress Progress, top bool) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelBlobs)
	for _, x := range p.parts {
		if isForeign(x.desc.MediaType) {
			continue // not to be distributed: its URLs go in the manifest
		}
		g.Go(func() error {
			seen, end := progress.watch(x.desc)
			defer end()
			return k.blob(gctx, x, seen)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := k.manifest(ctx, p.raw, p.desc, top); err != nil {
		return fmt.Errorf("write the manifest %s: %w", p.desc.Digest, err)
	}
	return nil
}

// copySeen copies a part, verified: the store may have been damaged.
func copySeen(ctx context.Context, w io.Writer, x part, seen func([]byte)) error {
	r, err := x.open()
	if err != nil {
		return err
	}
	defer r.Close()
	v := newVerifier(x.desc.Digest, x.desc.Size)
	if _, err := copyContext(ctx, io.MultiWriter(w, v, seenWriter(seen)), r); err != nil {
		return err
	}
	return v.check()
}

type seenWriter func([]byte)

func (s seenWriter) Write(b []byte) (int, error) { s(b); return len(b), nil }
