package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PushOptions say how an image leaves the store.
type PushOptions struct {
	Access
	Shape
	All      bool // an index with all that it lists, not this platform's image
	Progress Progress
}

// Pushed says what a push did.
type Pushed struct {
	Digest  digest.Digest // of the manifest or index
	Sent    int64         // bytes of blobs
	Mounted int           // blobs that were taken from another repository there
	Skipped int           // blobs that were there
}

// Push sends an image of the store to a registry, or to oci:, oci-archive:,
// docker-archive: or dir:. dest "" is the image's own name. Errors: ErrNotFound,
// ErrInvalidReference, ErrUnsupported, ErrCorrupt.
func (s *Store) Push(ctx context.Context, name, dest string, o PushOptions) (*Pushed, error) {
	idx, desc, _, err := s.findAny(name)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", name, err)
	}
	to, err := destination(desc, dest)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", name, err)
	}
	needs, err := s.needsOf(desc)
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", name, err)
	}
	lease, err := s.lease(ctx, needs)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	out, err := s.pushTo(ctx, idx, desc, to, o)
	if err != nil {
		return nil, fmt.Errorf("push %s to %s: %w", name, to, err)
	}
	return out, nil
}

// needsOf is all that a descriptor of the store reaches.
func (s *Store) needsOf(desc ocispec.Descriptor) ([]digest.Digest, error) {
	reached := map[digest.Digest]bool{}
	if err := s.reach(reached, desc, 0); err != nil {
		return nil, err
	}
	var out []digest.Digest
	for d := range reached {
		out = append(out, d)
	}
	return out, nil
}

// destination is where an image goes.
func destination(desc ocispec.Descriptor, dest string) (Reference, error) {
	own := dest == ""
	if own {
		if dest = nameOf(desc); dest == "" {
			return Reference{}, fail(nil, "it has no name that says where to").hint("name the place: coracle push IMAGE REGISTRY/NAME:TAG")
		}
	}
	ref, err := ParseReference(dest)
	if err != nil {
		return ref, pushedElsewhere(dest, err)
	}
	if own && ref.Domain == localDomain {
		return ref, fail(nil, "it is called %s, and localhost is no registry", dest).hint("name the place: coracle push IMAGE REGISTRY/NAME:TAG")
	}
	if ref.Transport == DockerArchive && strings.HasPrefix(ref.Member, "@") {
		return ref, fail(ErrInvalidReference, "%s says which image of an archive to read: a new archive takes a name", ref.Member).hint("docker-archive:%s:NAME", ref.File)
	}
	if ref.Transport == Docker && ref.Digest != "" {
		return ref, fail(ErrInvalidReference, "the digest comes of the image: the destination is NAME[:TAG]")
	}
	return ref, nil
}

// pushedElsewhere says what brings an image into the store of another program, where an error
// of the name is that it is there.
func pushedElsewhere(dest string, err error) error {
	e := (*Error)(nil)
	before, _, _ := strings.Cut(dest, ":")
	if load := map[string]string{"docker-daemon": "docker", "containers-storage": "podman"}[before]; load != "" && errors.As(err, &e) {
		e.Help = "coracle save IMAGE | " + load + " load"
	}
	return err
}

func (s *Store) pushTo(ctx context.Context, idx *index, desc ocispec.Descriptor, to Reference, o PushOptions) (*Pushed, error) {
	if to.Transport == OCI || to.Transport == OCIArchive {
		switch {
		case o.Format == FormatDocker, o.All && desc.MediaType == dockerIndex: // skopeo, buildah and umoci find none there
			return nil, fail(ErrUnsupported, "an OCI layout holds no Docker manifests").hint("dir:DIR does; without --all and --format this platform's image goes, with OCI's manifest")
		case !o.All || desc.MediaType != ocispec.MediaTypeImageIndex:
			o.Format = FormatOCI
		}
	}
	switch to.Transport {
	case Docker:
		return s.pushRegistry(ctx, idx, desc, to, o)
	case OCI:
		l, dir, err := openLayout(ctx, to.File)
		if err != nil {
			return nil, err
		}
		defer dir.close()
		l.name = to.Member
		out, err := s.sendTo(ctx, l, desc, o)
		if err == nil {
			err = l.finish()
		}
		return out, err
	case Dir:
		k, err := openDirSink(ctx, to.File)
		if err != nil {
			return nil, err
		}
		defer k.close()
		return s.sendTo(ctx, k, desc, o)
	}
	return s.pushArchive(ctx, desc, to, o)
}

func (s *Store) pushArchive(ctx context.Context, desc ocispec.Descriptor, to Reference, o PushOptions) (*Pushed, error) {
	if o.All && to.Transport == DockerArchive {
		if err := s.wantOne(desc, to); err != nil {
			return nil, err
		}
	}
	var out *Pushed
	err := WriteWhole(to.File, false, func(f *os.File) (err error) {
		out, err = s.writeArchive(ctx, f, desc, to, o)
		return err
	})
	if errors.Is(err, os.ErrExist) {
		return nil, fail(nil, "%s is there already", quote(to.File)).hint("remove it; coracle save -o replaces files")
	}
	return out, err
}

func (s *Store) writeArchive(ctx context.Context, f *os.File, desc ocispec.Descriptor, to Reference, o PushOptions) (out *Pushed, err error) {
	t := tar.NewWriter(f)
	if to.Transport == OCIArchive {
		l := newLayoutSink(newTarLayout(t))
		l.name = to.Member
		if out, err = s.sendTo(ctx, l, desc, o); err == nil {
			err = l.finish()
		}
	} else {
		var img *Image
		if img, err = s.load(desc); err == nil {
			out = &Pushed{Digest: img.Manifest.Digest}
			x := saved{img: img}
			if to.Member != "" {
				x.names = []string{to.Member}
			}
			err = s.saveDocker(ctx, t, []saved{x}, SaveOptions{Progress: o.Progress})
		}
	}
	if err == nil {
		err = t.Close()
	}
	return out, err
}

// wantOne refuses an index of several: a docker archive has images, and no index
// that says which is for what platform.
func (s *Store) wantOne(desc ocispec.Descriptor, to Reference) error {
	raw, err := s.readBlob(desc.Digest, maxManifest)
	if err != nil {
		return err
	}
	doc, err := parseDocument(raw, desc.MediaType)
	if err != nil || !doc.isIndex() || len(*doc.Manifests) < 2 {
		return err
	}
	return fail(ErrUnsupported, "a docker archive holds one platform's image, and the index lists %d", len(*doc.Manifests)).
		hint("coracle push --all IMAGE oci-archive:%s has all; without --all this platform's image goes", to.File)
}

// sendTo writes what the descriptor names into a sink: the image for this
// platform, or with All everything.
func (s *Store) sendTo(ctx context.Context, k sink, desc ocispec.Descriptor, o PushOptions) (*Pushed, error) {
	if o.All {
		raw, err := s.readBlob(desc.Digest, maxManifest)
		if err != nil {
			return nil, err
		}
		doc, err := parseDocument(raw, desc.MediaType)
		if err == nil && doc.isIndex() {
			return s.sendIndex(ctx, k, raw, desc, o, true, 0)
		}
	}
	img, err := s.load(desc)
	if err != nil {
		return nil, err
	}
	if d := digest.Digest(desc.Annotations[annotationServed]); d != "" {
		img.Served = d
	}
	p, err := s.pack(ctx, img, o.Shape)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return &Pushed{Digest: p.desc.Digest}, p.send(ctx, k, o.Progress, true)
}

// sendIndex sends an index as it is, behind all that it lists.
func (s *Store) sendIndex(ctx context.Context, k sink, raw []byte, desc ocispec.Descriptor, o PushOptions, top bool, depth int) (*Pushed, error) {
	if o.Compression != "" || o.Format != "" {
		return nil, fail(ErrUnsupported, "an index goes as it is: its digests say what is in it").hint("leave --compression and --format away, or push one platform's image")
	}
	if depth > maxIndexNesting {
		return nil, fail(ErrCorrupt, "indexes are nested more than %d deep", maxIndexNesting)
	}
	doc, err := parseDocument(raw, desc.MediaType)
	if err != nil {
		return nil, err
	}
	for _, m := range *doc.Manifests {
		sub, err := s.readBlob(m.Digest, maxManifest)
		if err != nil {
			return nil, fmt.Errorf("%w (the index lists it; coracle pull --all-platforms fetches all)", err)
		}
		subDoc, err := parseLenient(sub)
		if err != nil {
			return nil, err
		}
		if subDoc.Manifests != nil {
			if _, err := s.sendIndex(ctx, k, sub, m, o, false, depth+1); err != nil {
				return nil, err
			}
			continue
		}
		p := &parcel{raw: sub, desc: ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}}
		for _, d := range append([]ocispec.Descriptor{subDoc.Config}, subDoc.Layers...) {
			p.add(s.stored(d))
		}
		if err := p.send(ctx, k, o.Progress, false); err != nil {
			return nil, err
		}
	}
	plain := ocispec.Descriptor{MediaType: doc.MediaType, Digest: desc.Digest, Size: int64(len(raw))}
	return &Pushed{Digest: desc.Digest}, k.manifest(ctx, raw, plain, top)
}

// lenient is a manifest or an index of any kind: also artifacts, and the
// attestations that builders put beside images.
type lenient struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       ocispec.Descriptor   `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

func parseLenient(raw []byte) (*lenient, error) {
	if len(raw) > maxManifest {
		return nil, fail(ErrTooLarge, "the manifest has %d bytes, more than 4 MiB", len(raw))
	}
	var l lenient
	if err := strictJSON(raw, &l); err != nil {
		return nil, err
	}
	for _, d := range slices.Concat(l.Layers, l.Manifests) {
		if err := checkDescriptor(d, 1<<50); err != nil {
			return nil, err
		}
	}
	if l.Manifests == nil {
		if err := checkDescriptor(l.Config, maxConfig); err != nil {
			return nil, err
		}
	}
	return &l, nil
}
