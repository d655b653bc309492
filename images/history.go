package images

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Step is a line of an image's history.
type Step struct {
	Created   time.Time // zero where it does not say
	CreatedBy string
	Comment   string
	Size      int64         // of its layer as it is stored; 0 where it has none
	Layer     digest.Digest // of its layer, or ""
	Empty     bool          // it changed no files
}

// History is how an image came to be, the newest step first. Layers that the
// history does not speak of come last, so that all are in it.
func (i *Image) History() []Step {
	var out []Step
	next := 0
	for _, h := range i.Config.History {
		s := Step{CreatedBy: h.CreatedBy, Comment: h.Comment, Empty: h.EmptyLayer}
		if h.Created != nil {
			s.Created = *h.Created
		}
		if !h.EmptyLayer && next < len(i.Layers) {
			s.Size, s.Layer = i.Layers[next].Size, i.Layers[next].Digest
			next++
		}
		out = append([]Step{s}, out...)
	}
	for ; next < len(i.Layers); next++ {
		out = append([]Step{{Size: i.Layers[next].Size, Layer: i.Layers[next].Digest}}, out...)
	}
	return out
}

// Variant is an image of an index.
type Variant struct {
	Platform string // os/arch[/variant]; "" for what is no image: an attestation
	Digest   digest.Digest
	Size     int64 // of what is in the store
	Here     bool  // it is in the store
}

// Variants lists what the index has that an image came from, where the store keeps
// it; else the image alone.
func (s *Store) Variants(img *Image) ([]Variant, error) {
	own := Variant{formatPlatform(img.Platform()), img.Manifest.Digest, img.Size, true}
	if img.Source == img.Manifest.Digest || !s.hasSomeBlob(img.Source) {
		return []Variant{own}, nil
	}
	raw, err := s.readBlob(img.Source, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read the index of %s: %w", img.ID, err)
	}
	doc, err := parseDocument(raw, "")
	if err != nil || !doc.isIndex() {
		return []Variant{own}, err
	}
	var out []Variant
	for _, m := range *doc.Manifests {
		v := Variant{Digest: m.Digest}
		if m.Platform != nil && m.Platform.OS != "unknown" {
			v.Platform = formatPlatform(normalPlatform(*m.Platform))
		}
		v.Size, v.Here = s.sizeOf(m, map[digest.Digest]bool{})
		out = append(out, v)
	}
	return out, nil
}

// hasSomeBlob says whether there is a blob of that name, of whatever size.
func (s *Store) hasSomeBlob(d digest.Digest) bool {
	if wantSHA256(d) != nil {
		return false
	}
	_, err := readBounded(s.readPath(d), maxManifest)
	return err == nil
}

// sizeOf is what a manifest's image takes in the store, or all images of an index, and
// whether all of that is there.
func (s *Store) sizeOf(m ocispec.Descriptor, seen map[digest.Digest]bool) (int64, bool) {
	if seen[m.Digest] {
		return 0, true
	}
	seen[m.Digest] = true
	raw, err := s.readBlob(m.Digest, maxManifest)
	if err != nil {
		return 0, false
	}
	doc, err := parseLenient(raw)
	if err != nil {
		return 0, false
	}
	size, here := m.Size, true
	for _, sub := range doc.Manifests {
		n, ok := s.sizeOf(sub, seen)
		size, here = size+n, here && ok
	}
	if doc.Manifests != nil {
		return size, here
	}
	for _, d := range append(doc.Layers, doc.Config) {
		if !s.hasBlob(d.Digest, d.Size) {
			return size, false
		}
		size += d.Size
	}
	return size, true
}

// Raw is what a name stands for as it is kept: the manifest, or the index with
// all platforms.
func (s *Store) Raw(name string) ([]byte, error) {
	_, desc, _, err := s.findAny(name)
	if err != nil {
		return nil, err
	}
	return s.readBlob(desc.Digest, maxManifest)
}
