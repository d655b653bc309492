package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Shape is the form that an image has when it leaves the store. The zero value
// is the form in which it came.
type Shape struct {
	Compression string // of layers: gzip, zstd, zstd:chunked, none; "" as they are
	Level       int    // 0: the usual one
	Force       bool   // also layers that are so compressed already
	Format      string // of the manifest: oci, docker; "" as it came
}

// Formats of manifests.
const (
	FormatOCI    = "oci"
	FormatDocker = "docker"
)

func (sh Shape) check() error {
	switch sh.Compression {
	case "", "gzip", "zstd", chunkedName, "none":
	default:
		return fail(nil, "unknown compression %s", quote(sh.Compression)).hint("use gzip, zstd, zstd:chunked or none")
	}
	switch {
	case sh.Level != 0 && sh.Compression == "":
		return fail(nil, "a level without a compression changes nothing").hint("add --compression gzip or zstd, and --force-compression for layers that are compressed so already")
	case sh.Compression == "gzip" && sh.Level != 0 && (sh.Level < 1 || sh.Level > 9):
		return fail(nil, "gzip has no level %d", sh.Level).hint("use 1 to 9")
	}
	switch sh.Format {
	case "", FormatOCI, FormatDocker:
	default:
		return fail(nil, "unknown manifest format %s", quote(sh.Format)).hint("use oci or docker")
	}
	if sh.Format == FormatDocker && strings.HasPrefix(sh.Compression, "zstd") {
		return fail(ErrUnsupported, "Docker's manifests know no layers compressed with zstd").hint("leave --format away, or add --compression gzip")
	}
	return nil
}

// part is a blob on its way out.
type part struct {
	desc ocispec.Descriptor
	open func() (io.ReadCloser, error)
}

// parcel is a manifest with all that it names, ready to be written somewhere.
type parcel struct {
	img   *Image
	raw   []byte
	desc  ocispec.Descriptor // of raw
	parts []part             // configuration and layers, each digest once
	temps []*tempFile
	mu    sync.Mutex
}

func (p *parcel) close() {
	for _, t := range p.temps {
		t.discard()
	}
}

// stored is a blob of the store as a part.
func (s *Store) stored(d ocispec.Descriptor) part {
	return part{desc: d, open: func() (io.ReadCloser, error) {
		f, err := os.Open(s.readPath(d.Digest))
		if os.IsNotExist(err) {
			return nil, fail(ErrCorrupt, "the blob %s is missing from the store", d.Digest).hint("pull the image again")
		}
		return f, err
	}}
}

// pack gives an image of the store the form that is asked for.
func (s *Store) pack(ctx context.Context, img *Image, sh Shape) (_ *parcel, err error) {
	if err := sh.check(); err != nil {
		return nil, err
	}
	raw, err := s.RawManifest(img)
	if err != nil {
		return nil, err
	}
	p := &parcel{img: img, raw: raw, desc: img.Manifest}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if sh.Format == FormatOCI || sh.Format == "" && sh.Compression != "" { // out of an index that is kept whole it may be Docker's
		if err := p.toOCI(); err != nil {
			return nil, err
		}
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(p.raw, &m); err != nil {
		return nil, fmt.Errorf("read the manifest of %s: %w", img.ID, err)
	}
	p.add(s.stored(m.Config))
	layers := m.Layers
	if sh.Compression != "" {
		if m.Layers, err = p.recompress(ctx, s, layers, sh); err != nil {
			return nil, err
		}
	} else {
		for _, l := range layers {
			p.add(s.stored(l))
		}
	}
	return p, p.manifest(m, sh, sameLayers(layers, m.Layers))
}

func sameLayers(a, b []ocispec.Descriptor) bool {
	for i := range a {
		if a[i].Digest != b[i].Digest || a[i].MediaType != b[i].MediaType {
			return false
		}
	}
	return true
}

func (p *parcel) add(x part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, have := range p.parts {
		if have.desc.Digest == x.desc.Digest {
			return
		}
	}
	p.parts = append(p.parts, x)
}

// manifest writes the parcel's own; same says that the layers are as they were.
func (p *parcel) manifest(m ocispec.Manifest, sh Shape, same bool) error {
	switch {
	case sh.Format == FormatDocker, sh.Format == "" && same && p.img.Served != p.img.Manifest.Digest:
		forms, err := dockerForms(m)
		if err != nil {
			if sh.Format == "" {
				return nil
			}
			return err
		}
		// The one whose digest is known: it is what the registry had.
		for _, raw := range forms {
			if sha256Of(raw) == p.img.Served {
				p.set(raw, dockerManifest)
				return nil
			}
		}
		if sh.Format == FormatDocker {
			p.set(forms[0], dockerManifest)
		}
		return nil
	case same:
		return nil
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	p.set(raw, ocispec.MediaTypeImageManifest)
	return nil
}

// toOCI gives a parcel OCI's manifest, as an image gets it that is pulled.
func (p *parcel) toOCI() error {
	doc, err := parseDocument(p.raw, p.desc.MediaType)
	if err != nil {
		return err
	}
	c := &chosen{raw: p.raw, doc: doc, desc: p.desc}
	if err := c.toOCI(); err != nil {
		return err
	}
	p.raw, p.desc = c.raw, c.desc
	return nil
}

func (p *parcel) set(raw []byte, mediaType string) {
	p.raw = raw
	p.desc = ocispec.Descriptor{MediaType: mediaType, Digest: sha256Of(raw), Size: int64(len(raw))}
}

// dockerDescriptor has the order of keys that docker and containers/image write.
type dockerDescriptor struct {
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	Digest    digest.Digest `json:"digest"`
	URLs      []string      `json:"urls,omitempty"`
}

// dockerForms are Docker's schema 2 manifests for the image, as docker and as
// containers/image spell them.
func dockerForms(m ocispec.Manifest) ([][]byte, error) {
	if m.Subject != nil || m.ArtifactType != "" {
		return nil, fail(ErrUnsupported, "Docker's manifests know neither artifacts nor subjects").hint("use --format oci")
	}
	doc := struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Config        dockerDescriptor   `json:"config"`
		Layers        []dockerDescriptor `json:"layers"`
	}{2, dockerManifest, dockerDescriptor{dockerConfig, m.Config.Size, m.Config.Digest, nil}, []dockerDescriptor{}}
	for _, l := range m.Layers {
		t := ""
		switch l.MediaType {
		case ocispec.MediaTypeImageLayer, dockerLayer:
			t = dockerLayer
		case ocispec.MediaTypeImageLayerGzip, dockerLayerGzip:
			t = dockerLayerGzip
		case ocispec.MediaTypeImageLayerNonDistributableGzip, dockerForeignLayer: //nolint:staticcheck // deprecated for makers, still met
			t = dockerForeignLayer
		default:
			return nil, fail(ErrUnsupported, "Docker's manifests know no layers of the type %s", quote(l.MediaType)).hint("use --format oci, or add --compression gzip")
		}
		doc.Layers = append(doc.Layers, dockerDescriptor{t, l.Size, l.Digest, l.URLs})
	}
	compact, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	indented, err := json.MarshalIndent(doc, "", "   ")
	return [][]byte{compact, indented}, err
}

// isForeign says whether a layer is to stay where its URLs say.
func isForeign(mediaType string) bool {
	return mediaType == dockerForeignLayer || strings.Contains(mediaType, ".nondistributable.")
}

// recompress gives each layer the compression that is asked for, side by side.
func (p *parcel) recompress(ctx context.Context, s *Store, layers []ocispec.Descriptor, sh Shape) ([]ocispec.Descriptor, error) {
	out := make([]ocispec.Descriptor, len(layers))
	parts := make([]part, len(layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelBlobs)
	for i, l := range layers {
		g.Go(func() error {
			var err error
			parts[i], err = p.recompressOne(ctx, s, l, p.img.DiffIDs[i], sh)
			out[i] = parts[i].desc
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, x := range parts {
		p.add(x)
	}
	return out, nil
}

func (p *parcel) recompressOne(ctx context.Context, s *Store, l ocispec.Descriptor, diffID digest.Digest, sh Shape) (part, error) {
	had := s.stored(l)
	if isForeign(l.MediaType) {
		return had, nil
	}
	f, err := had.open()
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	r, kind, err := decompress(f)
	if err != nil {
		return part{}, fmt.Errorf("read the layer %s: %w", l.Digest, err)
	}
	defer r.Close()
	want, mediaType := layerTypeOf(sh.Compression)
	if kind == want && !sh.Force && (sh.Compression != chunkedName || l.Annotations[chunkedChecksum] != "") {
		return had, nil
	}
	t, err := s.newTemp()
	if err != nil {
		return part{}, err
	}
	p.mu.Lock()
	p.temps = append(p.temps, t)
	p.mu.Unlock()
	sum := newVerifier("", -1)
	notes, err := compressTo(ctx, io.MultiWriter(t, sum), r, diffID, sh)
	if err != nil {
		return part{}, explainWrite(fmt.Errorf("compress the layer %s: %w", l.Digest, err), s.root)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigestFromBytes(digest.SHA256, sum.sum.Sum(nil)), Size: sum.n, Annotations: notes}
	return part{desc: d, open: func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(t.File, 0, d.Size)), nil }}, nil
}

func layerTypeOf(name string) (compression, string) {
	switch name {
	case "none":
		return plain, ocispec.MediaTypeImageLayer
	case "zstd", chunkedName:
		return zstandard, ocispec.MediaTypeImageLayerZstd
	}
	return gzipped, ocispec.MediaTypeImageLayerGzip
}
