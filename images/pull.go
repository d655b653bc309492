package images

import (
	"context"
	"errors"
	"fmt"

	"coracle/images/layer"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
	if err := allowAsked(ref); err != nil {
		return nil, fmt.Errorf("pull %s: %w", name, err)
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
