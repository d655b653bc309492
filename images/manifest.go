package images

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types (distribution's manifest/schema2 and manifestlist).
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex        = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1Sig   = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	dockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerLayerZstd    = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	dockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

const (
	maxLayers      = 500 // OVL_MAX_STACK of fs/overlayfs/super.c: more cannot be mounted
	maxIndexImages = 4096
)

// document is a manifest or an index before it is known which: the union of
// their keys, so that a document that is both is seen.
type document struct {
	SchemaVersion int                   `json:"schemaVersion"`
	MediaType     string                `json:"mediaType"`
	ArtifactType  string                `json:"artifactType"`
	Config        *ocispec.Descriptor   `json:"config"`
	Layers        []ocispec.Descriptor  `json:"layers"`
	Manifests     *[]ocispec.Descriptor `json:"manifests"`
	FSLayers      any                   `json:"fsLayers"`
	Signatures    any                   `json:"signatures"`
}

func (d *document) isIndex() bool { return d.Manifests != nil }

// parseDocument reads a manifest or an index. announced is the media type
// that the registry or the descriptor gave, "" when there was none.
func parseDocument(raw []byte, announced string) (*document, error) {
	if len(raw) > maxManifest {
		return nil, fail(ErrTooLarge, "the manifest has %d bytes, more than 4 MiB", len(raw))
	}
	var d document
	if err := strictJSON(raw, &d); err != nil {
		return nil, fmt.Errorf("the manifest: %w", err)
	}
	announced, _, _ = strings.Cut(announced, ";")
	announced = strings.TrimSpace(announced)
	if err := d.refuseOld(announced); err != nil {
		return nil, err
	}
	if err := d.settleType(announced); err != nil {
		return nil, err
	}
	if d.isIndex() {
		return &d, d.checkIndex()
	}
	return &d, d.checkManifest()
}

func (d *document) refuseOld(announced string) error {
	if announced == dockerSchema1 || announced == dockerSchema1Sig || d.FSLayers != nil || d.SchemaVersion == 1 ||
		d.MediaType == dockerSchema1 || d.MediaType == dockerSchema1Sig {
		return fail(ErrUnsupported, "the image has a Docker schema 1 manifest, which docker and podman no longer read either").
			hint("push it again with a newer docker, podman or skopeo")
	}
	if d.SchemaVersion != 2 {
		return fail(ErrUnsupported, "the manifest has schemaVersion %d, known is 2", d.SchemaVersion)
	}
	return nil
}

// settleType makes sure that content, mediaType and what was announced agree
// (CVE-2021-41190: a document that is a manifest to one and an index to another).
func (d *document) settleType(announced string) error {
	if d.isIndex() && (d.Config != nil || d.Layers != nil) {
		return fail(ErrCorrupt, "the document is a manifest and an index at once")
	}
	for _, t := range [...]string{d.MediaType, announced} {
		switch t {
		case "", "application/json", "application/octet-stream", "text/plain":
		case ocispec.MediaTypeImageManifest, dockerManifest:
			if d.isIndex() {
				return fail(ErrCorrupt, "the media type %s says manifest, the content is an index", quote(t))
			}
		case ocispec.MediaTypeImageIndex, dockerIndex:
			if !d.isIndex() {
				return fail(ErrCorrupt, "the media type %s says index, the content is a manifest", quote(t))
			}
		default:
			return fail(ErrUnsupported, "the manifest has the unknown media type %s", quote(t))
		}
	}
	if isManifestType(announced) && d.MediaType != "" && d.MediaType != announced {
		return fail(ErrCorrupt, "the manifest says that it is %s, it was announced as %s", quote(d.MediaType), quote(announced))
	}
	if d.MediaType == "" {
		d.MediaType = announced
	}
	if !isManifestType(d.MediaType) {
		d.MediaType = ocispec.MediaTypeImageManifest
		if d.isIndex() {
			d.MediaType = ocispec.MediaTypeImageIndex
		}
	}
	return nil
}

func isManifestType(t string) bool {
	switch t {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, dockerManifest, dockerIndex:
		return true
	}
	return false
}

func (d *document) checkIndex() error {
	if len(*d.Manifests) > maxIndexImages {
		return fail(ErrTooLarge, "the index lists %d images, more than %d", len(*d.Manifests), maxIndexImages)
	}
	for _, m := range *d.Manifests {
		if err := checkDescriptor(m, maxManifest); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) checkManifest() error {
	if d.Config == nil || d.Config.Digest == "" {
		return fail(ErrCorrupt, "the manifest names no configuration")
	}
	switch d.Config.MediaType {
	case ocispec.MediaTypeImageConfig, dockerConfig:
	default:
		kind := d.Config.MediaType
		if d.ArtifactType != "" {
			kind = d.ArtifactType
		}
		return fail(ErrUnsupported, "it is not a container image: its configuration has the media type %s", quote(kind)).
			hint("if it is an artifact, coracle pull --artifact fetches its files")
	}
	if err := checkDescriptor(*d.Config, maxConfig); err != nil {
		return err
	}
	if len(d.Layers) > maxLayers {
		return fail(ErrTooLarge, "the image has %d layers, more than the %d that overlay can stack", len(d.Layers), maxLayers)
	}
	for _, l := range d.Layers {
		if !isLayerType(l.MediaType) {
			return fail(ErrUnsupported, "a layer has the unknown media type %s", quote(l.MediaType))
		}
		if err := checkDescriptor(l, 1<<50); err != nil {
			return err
		}
	}
	return nil
}

func isLayerType(t string) bool {
	switch t {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		ocispec.MediaTypeImageLayerNonDistributable, ocispec.MediaTypeImageLayerNonDistributableGzip, ocispec.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // deprecated for makers, still met
		dockerLayer, dockerLayerGzip, dockerLayerZstd, dockerForeignLayer:
		return true
	}
	return false
}

func checkDescriptor(d ocispec.Descriptor, most int64) error {
	if err := wantSHA256(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return fail(ErrCorrupt, "the descriptor of %s has the size %d", d.Digest, d.Size)
	}
	if d.Size > most {
		return fail(ErrTooLarge, "%s has %d bytes, more than the %d that are allowed", d.Digest, d.Size, most)
	}
	return nil
}

// parseConfig reads an image configuration and checks it against its manifest.
func parseConfig(raw []byte, m *document) (*ocispec.Image, error) {
	if len(raw) > maxConfig {
		return nil, fail(ErrTooLarge, "the configuration has %d bytes, more than 8 MiB", len(raw))
	}
	var img ocispec.Image
	if err := strictJSON(raw, &img); err != nil {
		return nil, fail(ErrCorrupt, "the configuration").because(err)
	}
	if img.OS == "" && img.Architecture == "" && len(img.RootFS.DiffIDs) == 0 && len(m.Layers) > 0 {
		return nil, fail(ErrCorrupt, "the configuration is not that of an image")
	}
	if len(img.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fail(ErrCorrupt, "the manifest has %d layers, the configuration %d diffIDs", len(m.Layers), len(img.RootFS.DiffIDs))
	}
	for _, d := range img.RootFS.DiffIDs {
		if err := wantSHA256(d); err != nil {
			return nil, err
		}
	}
	return &img, nil
}
