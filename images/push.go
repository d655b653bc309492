package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
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
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	desc, _, err := s.find(idx, name)
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
		return ref, err
	}
	if own && ref.Domain == localDomain {
		return ref, fail(nil, "it is called %s, and localhost is no registry", dest).hint("name the place: coracle push IMAGE REGISTRY/NAME:TAG")
	}
	if ref.Transport == Docker && ref.Digest != "" {
		return ref, fail(ErrInvalidReference, "the digest comes of the image: the destination is NAME[:TAG]")
	}
	return ref, nil
}

func (s *Store) pushTo(ctx context.Context, idx *index, desc ocispec.Descriptor, to Reference, o PushOptions) (*Pushed, error) {
	switch to.Transport {
	case Docker:
		return s.pushRegistry(ctx, idx, desc, to, o)
	case OCI:
		l, root, err := openLayout(to.File)
		if err != nil {
			return nil, err
		}
		defer root.Close() //nolint:errcheck // what counts has been synced
		l.name = to.Member
		out, err := s.sendTo(ctx, l, desc, o)
		if err == nil {
			err = l.finish()
		}
		return out, err
	case Dir:
		k, err := openDirSink(to.File)
		if err != nil {
			return nil, err
		}
		defer k.root.Close() //nolint:errcheck // what counts has been synced
		return s.sendTo(ctx, k, desc, o)
	}
	return s.pushArchive(ctx, desc, to, o)
}

func (s *Store) pushArchive(ctx context.Context, desc ocispec.Descriptor, to Reference, o PushOptions) (_ *Pushed, err error) {
	f, err := os.OpenFile(to.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the caller's umask decides, as for any file
	if errors.Is(err, os.ErrExist) {
		return nil, fail(nil, "%s is there already", quote(to.File)).hint("remove it; coracle save -o replaces files")
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(to.File)
		}
	}()
	t := tar.NewWriter(f)
	var out *Pushed
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

// registrySink pushes to a registry.
type registrySink struct {
	s       *registrySource
	froms   map[digest.Digest][]string // repositories there that have a blob
	sent    atomic.Int64
	mounted atomic.Int32
	skipped atomic.Int32
}

func (s *Store) pushRegistry(ctx context.Context, idx *index, desc ocispec.Descriptor, to Reference, o PushOptions) (*Pushed, error) {
	froms := s.neighbours(idx, desc, to)
	k, err := newRegistrySink(ctx, to, o.Access, froms)
	if err != nil {
		return nil, err
	}
	defer k.s.close()
	out, err := s.sendTo(ctx, k, desc, o)
	if err != nil {
		return nil, err
	}
	out.Sent, out.Mounted, out.Skipped = k.sent.Load(), int(k.mounted.Load()), int(k.skipped.Load())
	return out, nil
}

func newRegistrySink(ctx context.Context, to Reference, a Access, froms map[digest.Digest][]string) (*registrySink, error) {
	scopes := []string{"repository:" + to.Path + ":" + transport.PushScope}
	for _, list := range froms {
		for _, from := range list {
			if scope := "repository:" + from + ":" + transport.PullScope; !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	src, err := connect(ctx, to, a, scopes)
	if err != nil {
		return nil, err
	}
	return &registrySink{s: src, froms: froms}, nil
}

// maxNeighbours bounds how many repositories are tried for a blob.
const maxNeighbours = 3

// neighbours finds repositories of the same registry that have blobs of the image:
// those of other images of the store that came from there.
func (s *Store) neighbours(idx *index, desc ocispec.Descriptor, to Reference) map[digest.Digest][]string {
	wanted := map[digest.Digest]bool{}
	if s.reach(wanted, desc, 0) != nil {
		return nil
	}
	out := map[digest.Digest][]string{}
	for _, other := range idx.Manifests {
		ref, err := ParseReference(nameOf(other))
		if err != nil || ref.Domain != to.Domain || ref.Path == to.Path {
			continue
		}
		has := map[digest.Digest]bool{}
		if s.reach(has, other, 0) != nil {
			continue
		}
		for d := range has {
			if wanted[d] && len(out[d]) < maxNeighbours && !slices.Contains(out[d], ref.Path) {
				out[d] = append(out[d], ref.Path)
			}
		}
	}
	return out
}

func (k *registrySink) blob(ctx context.Context, x part, seen func([]byte)) error {
	there, err := k.has(ctx, "/blobs/"+string(x.desc.Digest))
	if err != nil {
		return err
	}
	if there {
		k.skipped.Add(1)
		return nil
	}
	var n int64
	u := &uploading{s: k.s, x: x, froms: k.froms[x.desc.Digest], chunk: chunkSize, seen: func(b []byte) {
		n += int64(len(b))
		seen(b)
	}}
	if err := u.send(ctx); err != nil {
		return fmt.Errorf("send the blob %s: %w", x.desc.Digest, err)
	}
	k.sent.Add(n)
	if n == 0 && x.desc.Size > 0 {
		k.mounted.Add(1)
	}
	return nil
}

// has asks whether the registry has something.
func (k *registrySink) has(ctx context.Context, path string) (there bool, err error) {
	err = k.s.retry(ctx, func() error {
		resp, err := k.s.ask(ctx, http.MethodHead, k.s.base+path, http.Header{"Accept": {acceptManifests}}, nil, http.StatusOK, http.StatusNotFound)
		if err == nil {
			resp.Body.Close()
			there = resp.StatusCode == http.StatusOK
		}
		return err
	})
	return there, err
}

func (k *registrySink) manifest(ctx context.Context, raw []byte, d ocispec.Descriptor, top bool) error {
	what := string(d.Digest)
	if top && k.s.ref.Tag != "" {
		what = k.s.ref.Tag
	}
	resp, err := k.putManifest(ctx, what, raw, d.MediaType)
	if err != nil {
		return err
	}
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != string(d.Digest) {
		return fail(ErrCorrupt, "the registry took the manifest %s for %s", d.Digest, quote(got))
	}
	var m struct {
		Subject *ocispec.Descriptor `json:"subject"`
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Subject == nil || resp.Header.Get("OCI-Subject") != "" {
		return err
	}
	return k.refer(ctx, *m.Subject, raw, d)
}

func (k *registrySink) putManifest(ctx context.Context, what string, raw []byte, mediaType string) (resp *http.Response, err error) {
	body := &upload{open: bytesOpener(raw), size: int64(len(raw)), seen: func([]byte) {}, stall: k.s.stall, stop: func(error) {}}
	err = k.s.retry(ctx, func() error {
		resp, err = k.s.askManifest(ctx, what, mediaType, body)
		return err
	})
	return resp, err
}
