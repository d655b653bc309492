package images

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// toOCI gives a Docker schema 2 manifest the form that belongs into an OCI
// layout: skopeo and others find no Docker manifests in one. The configuration
// and the layers are the same blobs, so the image keeps its id; served keeps
// the digest that the registry knows. The result depends on nothing else: the
// same image gets the same digest each time.
func (c *chosen) toOCI() error {
	c.served = c.desc.Digest
	if c.doc.MediaType != dockerManifest {
		return nil
	}
	config := *c.doc.Config
	config.MediaType = ocispec.MediaTypeImageConfig
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{}}
	for _, l := range c.doc.Layers {
		l.MediaType = ociLayerType(l.MediaType)
		m.Layers = append(m.Layers, l)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("convert the manifest: %w", err)
	}
	if c.doc, err = parseDocument(raw, ocispec.MediaTypeImageManifest); err != nil {
		return fmt.Errorf("convert the manifest: %w", err)
	}
	c.raw = raw
	c.desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: sha256Of(raw), Size: int64(len(raw))}
	return nil
}

// ociLayerType is OCI's word for a layer's type.
func ociLayerType(t string) string {
	switch t {
	case dockerLayer:
		return ocispec.MediaTypeImageLayer
	case dockerLayerGzip:
		return ocispec.MediaTypeImageLayerGzip
	case dockerForeignLayer:
		return ocispec.MediaTypeImageLayerNonDistributableGzip //nolint:staticcheck // deprecated for makers: this one is somebody else's
	case dockerLayerZstd:
		return ocispec.MediaTypeImageLayerZstd
	}
	return t
}
