package images

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of index.json's descriptors, besides image-spec's ref.name.
const (
	annotationName   = "io.containerd.image.name"
	annotationID     = "io.coracle.image.id"      // the digest of the configuration
	annotationServed = "io.coracle.served.digest" // of the manifest in its registry, where it has been converted
	annotationSigned = "io.coracle.signed.by"     // fingerprints of the keys that the policy asked for and found
	annotationSource = "io.coracle.source.digest" // what the tag pointed to: a manifest or an index
)

const maxIndexFile = 64 << 20

type index struct {
	specs.Versioned
	MediaType   string               `json:"mediaType,omitempty"`
	Manifests   []ocispec.Descriptor `json:"manifests"`
	Annotations map[string]string    `json:"annotations,omitempty"`
}

func (s *Store) indexPath() string { return filepath.Join(s.root, ocispec.ImageIndexFile) }

func (s *Store) readIndex() (*index, error) {
	data, err := readBounded(s.indexPath(), maxIndexFile)
	if os.IsNotExist(err) {
		return newIndex(), nil // a layout without images
	}
	var idx index
	if err == nil {
		err = json.Unmarshal(data, &idx)
	}
	if err != nil {
		return nil, unusable(s.root, "read index.json").because(err).hint("check %s, or choose another store with --root", s.indexPath())
	}
	return &idx, nil
}

func newIndex() *index {
	return &index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
}

// update changes index.json under the store lock. What change returns as an
// error is returned, and nothing is written.
func (s *Store) update(ctx context.Context, change func(*index) error) error {
	l, err := s.acquire(ctx, "store")
	if err != nil {
		return err
	}
	defer l.Release()
	return s.updateLocked(change)
}

func (s *Store) updateLocked(change func(*index) error) error {
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := change(idx); err != nil {
		return err
	}
	data, err := json.Marshal(idx)
	if err != nil {
		return fmt.Errorf("encode index.json: %w", err)
	}
	return s.replace(s.indexPath(), data)
}

// nameOf is the name a descriptor is kept under, normalised where it is a
// reference; skopeo may have written any other word.
func nameOf(d ocispec.Descriptor) string {
	for _, key := range [...]string{annotationName, ocispec.AnnotationRefName} {
		n := d.Annotations[key]
		if n == "" {
			continue
		}
		if r, err := ParseReference(n); err == nil && r.Transport == Docker {
			return r.key()
		}
		// It will be printed.
		if strings.ContainsFunc(n, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return ""
		}
		return n
	}
	return ""
}

// find gives the place of a name, -1 where there is none: what has no name is not called "".
func (idx *index) find(name string) int {
	if name == "" {
		return -1
	}
	return slices.IndexFunc(idx.Manifests, func(d ocispec.Descriptor) bool { return nameOf(d) == name })
}

func (idx *index) has(d digest.Digest) bool {
	return slices.ContainsFunc(idx.Manifests, func(m ocispec.Descriptor) bool { return m.Digest == d })
}

// put gives the image a name ("" keeps it nameless). The image that had the
// name stays, nameless, until it is removed or pruned, unless it is the same one
// in another form: with the layers compressed otherwise, or out of an index.
func (idx *index) put(desc ocispec.Descriptor, name string) {
	if name != "" {
		if i := idx.find(name); i >= 0 {
			old := idx.Manifests[i]
			idx.Manifests = slices.Delete(idx.Manifests, i, i+1)
			if old.Digest != desc.Digest && !(sameID(old, desc) && old.MediaType == ocispec.MediaTypeImageManifest) {
				idx.keepNameless(old)
			}
		}
	}
	if name == "" {
		idx.keepNameless(desc)
		return
	}
	// The nameless entry of the same image has served.
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
		return d.Digest == desc.Digest && nameOf(d) == ""
	})
	idx.Manifests = append(idx.Manifests, named(desc, name))
}

func sameID(a, b ocispec.Descriptor) bool {
	id := a.Annotations[annotationID]
	return id != "" && id == b.Annotations[annotationID]
}

func (idx *index) keepNameless(d ocispec.Descriptor) {
	if !idx.has(d.Digest) {
		idx.Manifests = append(idx.Manifests, named(d, ""))
	}
}

func named(d ocispec.Descriptor, name string) ocispec.Descriptor {
	annotations := map[string]string{}
	for k, v := range d.Annotations {
		if strings.HasPrefix(k, "io.coracle.") {
			annotations[k] = v
		}
	}
	if name != "" {
		annotations[ocispec.AnnotationRefName] = name
		annotations[annotationName] = name
	}
	d.Annotations = annotations
	return d
}
