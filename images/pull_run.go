package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// pull is one image on its way.
type pull struct {
	s    *Store
	src  source
	opts PullOptions
	want ocispec.Platform
	ref  Reference
	img  *Image // as far as it is known
}

// damaged says whether the pull failed because of a layer that the store
// already had.
func (p *pull) damaged(err error) bool {
	return p.img != nil && badLayer(err) && p.s.dropDamaged(p.img)
}

func (p *pull) run(ctx context.Context) (*Image, error) {
	c, err := resolve(ctx, p.src, p.want, p.ref.Digest)
	if err != nil {
		return nil, err
	}
	signed, err := allowFetched(ctx, p.src, p.ref, c.from, c.served)
	if err != nil {
		return nil, err
	}
	rawConfig, err := readAll(ctx, p.src, *c.doc.Config)
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(rawConfig, c.doc)
	if err != nil {
		return nil, err
	}
	img := newImage(c, config)
	if img.Healthcheck, err = parseHealthcheck(rawConfig); err != nil {
		return nil, err
	}
	img.Signed = signed
	p.img = img
	if c.platform == nil && config.Architecture != "" && fit(p.want, config.Platform) == 0 {
		return nil, otherPlatform(p.want, []string{formatPlatform(img.Platform())})
	}
	needs := imageDigests(img)
	var whole *wholeIndex
	if p.opts.AllPlatforms && c.root != nil {
		doc, err := parseDocument(c.root, "")
		if err != nil {
			return nil, err
		}
		whole = &wholeIndex{desc: ocispec.Descriptor{MediaType: doc.MediaType, Digest: c.from, Size: int64(len(c.root))}, seen: map[digest.Digest]bool{}}
		if err := whole.collect(ctx, p.src, c.root, 0); err != nil {
			return nil, err
		}
		needs = append(needs, whole.digests()...)
	}
	lease, err := p.s.lease(ctx, needs)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	if err := p.layers(ctx, img); err != nil {
		return nil, err
	}
	if whole != nil {
		if err := p.fetchAll(ctx, whole); err != nil {
			return nil, err
		}
		img.index = &whole.desc
	}
	for _, doc := range [][]byte{rawConfig, c.raw} {
		if err := p.s.putBytes(ctx, doc); err != nil {
			return nil, err
		}
	}
	return p.s.publish(ctx, img, p.src.names())
}

// layers fetches all layers, and unpacks them meanwhile when asked to.
func (p *pull) layers(ctx context.Context, img *Image) error {
	var u *unpacking
	unpack := p.opts.Stage != nil && !p.s.hasLayers(img, p.opts.Class)
	if unpack {
		if err := checkClass(p.opts.Class); err != nil {
			return err
		}
		st, err := p.opts.Stage()
		if err != nil {
			return fmt.Errorf("start the store process: %w", err)
		}
		if u, err = p.s.newUnpacking(img, p.opts.Class, st); err != nil {
			return err
		}
		defer u.end(ctx)
	}
	slots := newTurns(parallelBlobs)
	fetch := func(ctx context.Context, i int) (*blob, error) {
		if err := slots.take(ctx, img.Layers[i].Size); err != nil {
			return nil, err
		}
		defer slots.give()
		return p.fetch(ctx, img.Layers[i])
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range img.Layers {
		g.Go(func() error {
			if unpack {
				fetched := false
				err := u.layer(ctx, i, func(ctx context.Context, i int) (*blob, error) { fetched = true; return fetch(ctx, i) })
				if fetched || err != nil {
					return err
				}
			}
			b, err := fetch(ctx, i)
			if err != nil {
				return err
			}
			defer b.close()
			return b.finish()
		})
	}
	if err := g.Wait(); err != nil || !unpack {
		return err
	}
	return u.publish()
}

func (p *pull) fetch(ctx context.Context, d ocispec.Descriptor) (*blob, error) {
	seen, end := p.opts.Progress.watch(d)
	defer end()
	return p.s.putBlob(ctx, d.Digest, d.Size, p.origin(ctx, d), seen)
}

// origin says how a blob is had from the source.
func (p *pull) origin(ctx context.Context, d ocispec.Descriptor) origin {
	if reg, ok := p.src.(*registrySource); ok {
		if _, ok := placeOf(d); ok && d.Size >= minPartial {
			return p.chunked(ctx, reg, d)
		}
		return origin{resumes: true, open: func(at int64) (io.ReadCloser, error) { return reg.blobFrom(ctx, d, at) }}
	}
	return origin{open: func(int64) (io.ReadCloser, error) { return p.src.blob(ctx, d) }}
}

// putBytes keeps a small blob that has been checked.
func (s *Store) putBytes(ctx context.Context, data []byte) error {
	open := func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	if had, err := readBounded(s.blobPath(sha256Of(data)), int64(len(data))); err == nil && sha256Of(had) != sha256Of(data) {
		os.Remove(s.blobPath(sha256Of(data))) // damaged since it was stored
	}
	b, err := s.putBlob(ctx, sha256Of(data), int64(len(data)), origin{open: open}, func([]byte) {})
	if err != nil {
		return err
	}
	defer b.close()
	return b.finish()
}

// entry is the line of index.json for an image.
func (i *Image) entry() ocispec.Descriptor {
	d := i.Manifest
	d.Platform = i.For
	notes := map[string]string{annotationID: string(i.ID)}
	if i.index != nil { // it says the rest itself
		d = *i.index
	} else {
		if i.Served != i.Manifest.Digest {
			notes[annotationServed] = string(i.Served)
		}
		if i.Source != i.Served {
			notes[annotationSource] = string(i.Source)
		}
	}
	var signed []string
	for _, f := range i.Signed {
		signed = append(signed, string(f))
	}
	if len(signed) > 0 {
		notes[annotationSigned] = strings.Join(signed, " ")
	}
	d.Annotations = notes
	return d
}

// publish names an image whose blobs are all there: the last step.
func (s *Store) publish(ctx context.Context, img *Image, names []string) (*Image, error) {
	desc := img.entry()
	var out *Image
	err := s.update(ctx, func(idx *index) error {
		if len(names) == 0 {
			idx.put(desc, "")
		}
		for _, n := range names {
			idx.put(desc, n)
		}
		var err error
		out, err = s.loadNamed(idx, idx.Manifests[len(idx.Manifests)-1])
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RawConfig is the configuration as it came, for what Image.Config has no
// field for (healthcheck, shell, …).
func (s *Store) RawConfig(img *Image) (json.RawMessage, error) { return s.readBlob(img.ID, maxConfig) }

// RawManifest is the manifest as it came.
func (s *Store) RawManifest(img *Image) (json.RawMessage, error) {
	return s.readBlob(img.Manifest.Digest, maxManifest)
}
