package images

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// source is a place that images come from. What it gives is not trusted.
type source interface {
	// root gives the manifest or index that the reference names.
	root(ctx context.Context) (raw []byte, mediaType string, err error)
	// manifest gives one that an index lists.
	manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error)
	// blob streams a configuration or a layer.
	blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
	// names are those that the image gets in the store.
	names() []string
	// where is the place, as a policy speaks of it.
	where() Reference
	close() error
}

// chosen is the manifest that will be pulled.
type chosen struct {
	raw      []byte
	doc      *document
	desc     ocispec.Descriptor // of raw
	from     digest.Digest      // what the reference named: the manifest or an index
	served   digest.Digest      // of the manifest before it was converted
	platform *ocispec.Platform  // what the index says that it is for, if one does
	root     []byte             // what the reference named, where that is an index
}

const maxIndexNesting = 4

// resolve follows indexes to the manifest of one platform.
func resolve(ctx context.Context, src source, want ocispec.Platform, pinned digest.Digest) (*chosen, error) {
	raw, mediaType, err := src.root(ctx)
	if err != nil {
		return nil, err
	}
	from := sha256Of(raw)
	if pinned != "" && from != pinned {
		if err := wantSHA256(pinned); err != nil {
			return nil, err
		}
		return nil, fail(ErrCorrupt, "the manifest that was served has the digest %s, asked for was %s", from, pinned)
	}
	var platform *ocispec.Platform
	var root []byte
	seen := map[digest.Digest]bool{}
	for d := from; ; d = sha256Of(raw) {
		if seen[d] {
			return nil, fail(ErrCorrupt, "the index %s contains itself", d)
		}
		if seen[d] = true; len(seen) > maxIndexNesting {
			return nil, fail(ErrCorrupt, "indexes are nested more than %d deep", maxIndexNesting)
		}
		doc, err := parseDocument(raw, mediaType)
		if err != nil {
			return nil, err
		}
		if !doc.isIndex() {
			desc := ocispec.Descriptor{MediaType: doc.MediaType, Digest: d, Size: int64(len(raw))}
			c := &chosen{raw: raw, doc: doc, desc: desc, from: from, platform: platform, root: root}
			return c, c.toOCI()
		}
		if root == nil {
			root = raw
		}
		next, err := choosePlatform(*doc.Manifests, want)
		if err != nil {
			return nil, err
		}
		if seen[next.Digest] {
			return nil, fail(ErrCorrupt, "the index %s contains itself", next.Digest)
		}
		if raw, err = src.manifest(ctx, next); err != nil {
			return nil, err
		}
		if err := checkContent(raw, next); err != nil {
			return nil, err
		}
		mediaType = next.MediaType
		if next.Platform != nil {
			platform = next.Platform
		}
	}
}

func checkContent(raw []byte, d ocispec.Descriptor) error {
	v := newVerifier(d.Digest, d.Size)
	if _, err := v.Write(raw); err != nil {
		return err
	}
	return v.check()
}

// readAll reads a small blob, verified.
func readAll(ctx context.Context, src source, d ocispec.Descriptor) ([]byte, error) {
	r, err := src.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, err
	}
	return raw, checkContent(raw, d)
}
