package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// parallelBlobs bounds the downloads of one pull (docker has 3).
const parallelBlobs = 4

// Policy says when a registry is asked.
type Policy string

// The policies of --pull. PullNewer asks, and is content with what is there
// when the registry cannot be reached.
const (
	PullAlways  Policy = "always"
	PullMissing Policy = "missing" // the default
	PullNever   Policy = "never"
	PullNewer   Policy = "newer"
)

// PullOptions say how an image is fetched.
type PullOptions struct {
	Policy   Policy
	Platform string // os/arch[/variant]; "" is that of the store
	Access
	AllPlatforms bool // an index with all that it lists; this platform's image is unpacked

	// Class and Stage, when given, unpack each layer as soon as it has arrived.
	// Stage is asked for once, and only when it is needed; it stays the caller's.
	Class string
	Stage func() (layer.Stage, error)

	// Progress gets the bytes of each blob as they come; nil: silent. It is
	// called from several goroutines, what it returns from one at a time.
	Progress Progress
}

// Pull fetches an image, from a registry or from oci:, oci-archive:,
// docker-archive: or dir:, and gives it its names. When it fails the store is
// as before. Errors: ErrInvalidReference, ErrNotFound, ErrPlatform,
// ErrCorrupt, ErrUnsupported, ErrTooLarge and those of the unpacker.
func (s *Store) Pull(ctx context.Context, name string, o PullOptions) (*Image, error) {
	want, err := ParsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	if want.OS == "" {
		want = s.opts.Platform
	}
	img, done, err := s.local(name, o.Policy, want)
	if done || err != nil {
		return img, err
	}
	refs, err := meanings(name)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, ref := range refs {
		got, err := s.pullFrom(ctx, name, ref, img, want, o)
		if err == nil || ctx.Err() != nil || len(refs) == 1 {
			return got, err
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// meanings are the images that a name may stand for: several for a short name,
// where registries.conf says so.
func meanings(name string) ([]Reference, error) {
	ref, err := ParseReference(name)
	if err != nil || ref.Transport != Docker || !ref.Short {
		return []Reference{ref}, err
	}
	conf, err := readRegistries()
	if err != nil {
		return nil, err
	}
	return conf.full(ref)
}

// pullFrom fetches what a reference names. img is what the store has under that name, or nil.
func (s *Store) pullFrom(ctx context.Context, name string, ref Reference, img *Image, want ocispec.Platform, o PullOptions) (*Image, error) {
	if img != nil && o.Policy == PullNewer {
		if fresh, err := s.upToDate(ctx, ref, img, o); fresh || err != nil {
			return img, err
		}
	}
	src, err := s.openSource(ctx, ref, o)
	if err != nil {
		if img != nil && o.Policy == PullNewer && !errors.Is(err, ErrNotFound) {
			return img, nil
		}
		return nil, fmt.Errorf("pull %s: %w", name, err)
	}
	defer src.close()
	s.sweepTemp("tmp")
	p := &pull{s: s, src: src, opts: o, want: want, ref: ref}
	img, err = p.run(ctx)
	if p.damaged(err) {
		img, err = p.run(ctx) // what the store had was bad, and is gone now
	}
	if err != nil {
		// The lease has ended: what came is no longer needed. A failure here
		// leaves garbage that the next collection finds.
		s.Collect(context.WithoutCancel(ctx), o.Stage) //nolint:errcheck // the pull's own error is what matters
		return nil, fmt.Errorf("pull %s: %w", name, explainWrite(err, s.root))
	}
	return img, nil
}

// local answers from the store where the policy allows it; done says that no
// source is to be asked.
func (s *Store) local(name string, p Policy, want ocispec.Platform) (_ *Image, done bool, _ error) {
	ref, err := ParseReference(name)
	if err == nil && ref.Transport != Docker {
		return nil, false, nil // looking into a file costs nothing, and it may have changed
	}
	switch p {
	case "", PullMissing, PullNever, PullNewer:
	case PullAlways:
		return nil, false, nil
	default:
		return nil, false, fail(nil, "unknown pull policy %s", quote(string(p))).hint("use always, missing, never or newer")
	}
	img, err := s.Lookup(name)
	if err == nil && fit(want, img.Platform()) == 0 {
		err = otherPlatform(want, []string{formatPlatform(img.Platform())})
		if p != PullNever {
			return nil, false, nil
		}
	}
	if err == nil {
		if err := allowStored(img, name); err != nil {
			if p == PullNever || errors.Is(err, ErrUnsupported) {
				return nil, true, fmt.Errorf("use %s: %w", name, err)
			}
			return nil, false, nil // a pull looks for the signature, or says that it is refused
		}
		return img, p != PullNewer, nil
	}
	if p == PullNever || !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
		return nil, true, err
	}
	return nil, false, nil
}

// upToDate asks what the tag points to now.
func (s *Store) upToDate(ctx context.Context, ref Reference, img *Image, o PullOptions) (bool, error) {
	if ref.Digest != "" {
		return true, nil // a digest does not become newer
	}
	src, err := openRegistry(ctx, ref, o.Access)
	if err != nil {
		return ctx.Err() == nil, context.Cause(ctx)
	}
	defer src.close()
	now, err := src.headDigest(ctx)
	if err != nil {
		return ctx.Err() == nil, context.Cause(ctx)
	}
	return now == string(img.Source) || now == string(img.Served), nil
}

func (s *Store) openSource(ctx context.Context, ref Reference, o PullOptions) (_ source, err error) {
	if ref.Transport == Docker {
		return openRegistry(ctx, ref, o.Access)
	}
	var f files
	switch ref.Transport {
	case OCIArchive, DockerArchive:
		f, err = s.openTar(ctx, ref.File)
	default:
		f, err = openDir(ref.File)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ref, err)
	}
	var src source
	switch ref.Transport {
	case DockerArchive:
		src, err = newDockerSource(f, ref)
	case Dir:
		src, err = newDirSource(f, ref)
	default:
		src, err = newLayoutSource(f, ref)
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("open %s: %w", ref, err)
	}
	return src, nil
}

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
	slots := make(chan struct{}, parallelBlobs)
	fetch := func(ctx context.Context, i int) (*blob, error) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
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
	return p.s.putBlob(ctx, d.Digest, d.Size, func() (io.ReadCloser, error) { return p.src.blob(ctx, d) }, seen)
}

// putBytes keeps a small blob that has been checked.
func (s *Store) putBytes(ctx context.Context, data []byte) error {
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	if had, err := readBounded(s.blobPath(sha256Of(data)), int64(len(data))); err == nil && sha256Of(had) != sha256Of(data) {
		os.Remove(s.blobPath(sha256Of(data))) // damaged since it was stored
	}
	b, err := s.putBlob(ctx, sha256Of(data), int64(len(data)), open, func([]byte) {})
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
