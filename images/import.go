package images

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// ImportOptions describe the image that is made of a root file system.
type ImportOptions struct {
	Name     string   // NAME[:TAG]; "" leaves the image nameless; a short name belongs to localhost
	Changes  []string // instructions as of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
	Message  string   // the comment in the image's history
	Platform string   // "" is that of this machine

	// Class and Stage, when given, unpack the layer while it is read. Stage is
	// asked for once, and stays the caller's.
	Class string
	Stage func() (layer.Stage, error)

	Progress func(name string, size int64) io.WriteCloser

	ours bool // the archive was written by this program, plain
}

// ImportFile is Import of a file; "-" is standard input.
func (s *Store) ImportFile(ctx context.Context, path string, o ImportOptions) (*Image, error) {
	if path == "-" {
		return s.Import(ctx, os.Stdin, o)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("import: %w", sourceMissing(err))
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fail(nil, "import %s: it is a directory", quote(path)).
			hint("pack it: tar -C %s -c . | coracle import - NAME; or run it as it is: coracle run --rootfs %[1]s", path)
	}
	return s.Import(ctx, f, o)
}

// Import makes an image with one layer of a tar of a root file system, which
// may be compressed with gzip or zstd. The layer is stored as it came.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (*Image, error) {
	platform, err := ParsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	if platform.OS == "" {
		platform = normalPlatform(s.opts.Platform)
	}
	now := time.Now().UTC()
	img := ocispec.Image{Created: &now, Platform: platform}
	var settings Settings
	if err := applyChanges(&settings, o.Changes); err != nil {
		return nil, err
	}
	var names []string
	if o.Name != "" {
		name, err := localKey(o.Name)
		if err != nil {
			return nil, err
		}
		names = []string{name}
	}
	s.sweepTemp("tmp")
	out, err := s.importAs(ctx, r, &img, settings, o, names)
	if err != nil {
		return nil, explainWrite(err, s.root)
	}
	return out, nil
}

func (s *Store) importAs(ctx context.Context, r io.Reader, config *ocispec.Image, settings Settings, o ImportOptions, names []string) (*Image, error) {
	if o.Progress != nil {
		size := int64(-1)
		if f, ok := r.(*os.File); ok {
			if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
				size = st.Size()
			}
		}
		if bar := o.Progress("import", size); bar != nil {
			defer bar.Close()
			r = io.TeeReader(r, bar)
		}
	}
	in, err := s.takeLayer(ctx, r, o)
	if err != nil {
		return nil, err
	}
	defer in.end(ctx)
	message := o.Message
	if message == "" {
		message = "imported"
	}
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{in.diffID}}
	config.History = []ocispec.History{{Created: config.Created, Comment: message}}
	rawConfig, err := encodeConfig(nil, config, settings)
	if err != nil {
		return nil, err
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Layers: []ocispec.Descriptor{in.desc}}
	return s.assemble(ctx, rawConfig, manifest, in, names)
}

// assemble stores an image that was made here: its layer first, its name last.
func (s *Store) assemble(ctx context.Context, rawConfig []byte, manifest ocispec.Manifest, in *intake, names []string) (*Image, error) {
	manifest.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: sha256Of(rawConfig), Size: int64(len(rawConfig))}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(raw, "")
	if err != nil {
		return nil, err
	}
	config, err := parseConfig(rawConfig, doc)
	if err != nil {
		return nil, err
	}
	c := &chosen{raw: raw, doc: doc, desc: ocispec.Descriptor{MediaType: doc.MediaType, Digest: sha256Of(raw), Size: int64(len(raw))}, from: sha256Of(raw), served: sha256Of(raw)}
	img := newImage(c, config)
	lease, err := s.lease(ctx, imageDigests(img))
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	if in != nil {
		if err := in.publish(ctx); err != nil {
			return nil, err
		}
	}
	for _, b := range [][]byte{rawConfig, raw} {
		if err := s.putBytes(ctx, b); err != nil {
			return nil, err
		}
	}
	return s.publish(ctx, img, names)
}
