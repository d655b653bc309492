package images

import (
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image of the store, read and checked.
type Image struct {
	ID       digest.Digest        // of the configuration, as docker and podman have it
	Manifest ocispec.Descriptor   // of the manifest, without annotations
	Served   digest.Digest        // of the manifest where it came from; another than Manifest's when that was Docker's
	Source   digest.Digest        // what the tag pointed to when it was pulled: the manifest or an index
	Names    []string             // full names, sorted; none for a nameless image
	Config   ocispec.Image        // the configuration
	Layers   []ocispec.Descriptor // bottom first; as many as ChainIDs and DiffIDs
	DiffIDs  []digest.Digest      // of the uncompressed layers
	ChainIDs []digest.Digest      // of the layer with all below it (image-spec config.md#layer-chainid)
	Size     int64                // bytes of manifest, configuration and layers as they are stored
	Created  time.Time            // zero when the image does not say
	For      *ocispec.Platform    // what an index said that it is for, or nil
	// Healthcheck is what the configuration says in docker's extension, or nil.
	Healthcheck *Healthcheck
	// Signed are the fingerprints of the policy's keys whose signatures were found
	// when it was pulled.
	Signed []digest.Digest `json:",omitempty"`

	Store string `json:",omitempty"` // the additional store that it is in; "" for the store's own

	index *ocispec.Descriptor // of the index that is kept with all that it lists, while it is pulled
}

// Platform is what the image runs on. An index knows better than the
// configuration, which careless builds leave at the builder's own.
func (i *Image) Platform() ocispec.Platform {
	if i.For != nil {
		return normalPlatform(*i.For)
	}
	return normalPlatform(i.Config.Platform)
}

// chainIDs follows image-spec config.md#layer-chainid.
func chainIDs(diffs []digest.Digest) []digest.Digest {
	out := slices.Clone(diffs)
	for i := 1; i < len(out); i++ {
		out[i] = sha256Of([]byte(string(out[i-1]) + " " + string(diffs[i])))
	}
	return out
}

// newImage makes an image of its parts.
func newImage(c *chosen, config *ocispec.Image) *Image {
	img := &Image{ID: c.doc.Config.Digest, Manifest: c.desc, Served: c.served, Source: c.from, For: c.platform, Config: *config, Layers: c.doc.Layers,
		DiffIDs: config.RootFS.DiffIDs, ChainIDs: chainIDs(config.RootFS.DiffIDs)}
	img.Size = c.desc.Size + c.doc.Config.Size
	for _, l := range c.doc.Layers {
		img.Size += l.Size
	}
	if config.Created != nil {
		img.Created = *config.Created
	}
	return img
}

// load reads the image of a descriptor of index.json. Entries that other
// tools wrote may be indexes: then it is the image for our platform.
func (s *Store) load(desc ocispec.Descriptor) (*Image, error) {
	want, from := s.opts.Platform, desc.Digest
	for range maxIndexNesting {
		raw, err := s.readBlob(desc.Digest, maxManifest)
		if err != nil {
			return nil, err
		}
		doc, err := parseDocument(raw, desc.MediaType)
		if err != nil {
			return nil, err
		}
		if doc.isIndex() {
			if desc, err = choosePlatform(*doc.Manifests, want); err != nil {
				return nil, err
			}
			continue
		}
		rawConfig, err := s.readBlob(doc.Config.Digest, maxConfig)
		if err != nil {
			return nil, err
		}
		config, err := parseConfig(rawConfig, doc)
		if err != nil {
			return nil, err
		}
		plainDesc := ocispec.Descriptor{MediaType: doc.MediaType, Digest: desc.Digest, Size: int64(len(raw))}
		img := newImage(&chosen{raw: raw, doc: doc, desc: plainDesc, from: from, served: desc.Digest, platform: desc.Platform}, config)
		img.Healthcheck, err = parseHealthcheck(rawConfig)
		return img, err
	}
	return nil, fail(ErrCorrupt, "indexes are nested more than %d deep", maxIndexNesting)
}

// loadNamed is load, with what index.json says about the image.
func (s *Store) loadNamed(idx *index, desc ocispec.Descriptor) (*Image, error) {
	var names []string
	for _, d := range idx.Manifests {
		if d.Digest != desc.Digest {
			continue
		}
		if n := nameOf(d); n != "" {
			names = append(names, n)
		}
	}
	return s.loadCalled(desc, names)
}

// loadCalled is loadNamed where the names are known.
func (s *Store) loadCalled(desc ocispec.Descriptor, names []string) (*Image, error) {
	img, err := s.load(desc)
	if err != nil {
		return nil, err
	}
	if d := digest.Digest(desc.Annotations[annotationServed]); d != "" {
		img.Served, img.Source = d, d
	}
	if d := digest.Digest(desc.Annotations[annotationSource]); d != "" {
		img.Source = d
	}
	for f := range strings.FieldsSeq(desc.Annotations[annotationSigned]) {
		img.Signed = append(img.Signed, digest.Digest(f))
	}
	img.Names = sortedNames(names)
	return img, nil
}

func sortedNames(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}
