package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// CommitOptions say what an image is made of.
type CommitOptions struct {
	Name    string    // NAME[:TAG]; "" leaves it nameless; a short name belongs to localhost
	Base    *Image    // what it stands on; nil: nothing
	Squash  bool      // the layer has everything: only the base's configuration is taken
	Time    time.Time // of creation
	Author  string    // "": the base's
	Message string    // the comment in the image's history
	By      string    // what made the layer, for the history
	Changes []string  // as of ImportOptions, after Edit
	// Edit changes how the image is run; nil leaves that as the base has it.
	Edit     func(*Settings)
	Platform string // without a base; "" is that of this machine
	// Layer writes the new layer's archive and says how many entries it has:
	// without any there is no new layer. nil: there is none.
	Layer func(w *os.File) (entries int64, err error)
}

// Commit makes an image of another and a layer, which is stored as it is
// written: plain, so that its digest depends on no compressor.
func (s *Store) Commit(ctx context.Context, o CommitOptions) (*Image, error) {
	var names []string
	if o.Name != "" {
		name, err := localKey(o.Name)
		if err != nil {
			return nil, err
		}
		names = []string{name}
	}
	if o.Base != nil && o.Base.Store != "" && !o.Squash { // its layers become the new one's
		own, err := s.Own(ctx, o.Base, "", nil)
		if err != nil {
			return nil, err
		}
		o.Base = own
	}
	img, settings, raw, err := s.startFrom(o)
	if err != nil {
		return nil, err
	}
	if o.Edit != nil {
		o.Edit(&settings)
	}
	if err := applyChanges(&settings, o.Changes); err != nil {
		return nil, err
	}
	s.sweepTemp("tmp")
	if o.Base != nil { // its layers are not to go meanwhile
		lease, err := s.lease(ctx, imageDigests(o.Base))
		if err != nil {
			return nil, err
		}
		defer lease.Release()
	}
	in, err := s.writeLayer(ctx, o)
	if err != nil {
		return nil, explainWrite(err, s.root)
	}
	if in != nil {
		defer in.end(ctx)
	}
	out, err := s.commit(ctx, o, img, settings, raw, in, names)
	return out, explainWrite(err, s.root)
}

// startFrom gives the configuration that the new one is made of, and as it came.
func (s *Store) startFrom(o CommitOptions) (*ocispec.Image, Settings, json.RawMessage, error) {
	if o.Base == nil {
		platform, err := ParsePlatform(o.Platform)
		if err != nil {
			return nil, Settings{}, nil, err
		}
		if platform.OS == "" {
			platform = normalPlatform(s.opts.Platform)
		}
		return &ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers"}}, Settings{}, nil, nil
	}
	if len(o.Base.Layers) >= maxLayers && !o.Squash {
		return nil, Settings{}, nil, fail(ErrTooLarge, "the image has %d layers already, and overlay cannot stack more", len(o.Base.Layers)).hint("--squash makes one layer of all")
	}
	raw, err := s.RawConfig(o.Base)
	if err != nil {
		return nil, Settings{}, nil, err
	}
	img := o.Base.Config
	if err := json.Unmarshal(raw, &img); err != nil { // a copy of its own, maps and all
		return nil, Settings{}, nil, err
	}
	health, err := parseHealthcheck(raw)
	return &img, Settings{img.Config, health}, raw, err
}

// writeLayer has the layer written into the store; nil for none.
func (s *Store) writeLayer(ctx context.Context, o CommitOptions) (*intake, error) {
	if o.Layer == nil {
		return nil, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeSize) // the default is only slower
	type answer struct {
		n   int64
		err error
	}
	wrote := make(chan answer, 1)
	go func() {
		n, err := o.Layer(w)
		w.Close()
		wrote <- answer{n, err}
	}()
	in, err := s.takeLayer(ctx, r, ImportOptions{ours: true})
	r.Close() // a writer that goes on is told
	a := <-wrote
	if a.err != nil && (err == nil || !errors.Is(a.err, unix.EPIPE)) {
		err = a.err
	}
	switch {
	case err != nil && in != nil, a.n == 0 && in != nil:
		in.end(ctx)
		in = nil
	}
	return in, err
}

func (s *Store) commit(ctx context.Context, o CommitOptions, img *ocispec.Image, settings Settings, raw json.RawMessage, in *intake, names []string) (*Image, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	if o.Base != nil {
		manifest.Annotations = baseAnnotations(o.Base)
	}
	at := o.Time.UTC()
	img.Created, img.Author = &at, cmp.Or(o.Author, img.Author)
	entry := ocispec.History{Created: &at, CreatedBy: o.By, Author: o.Author, Comment: o.Message, EmptyLayer: in == nil}
	if o.Squash || o.Base == nil {
		img.RootFS, img.History = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}, []ocispec.History{entry}
	} else {
		manifest.Layers = append(manifest.Layers, plainTypes(o.Base.Layers)...)
		img.History = append(completeHistory(img), entry)
	}
	if in != nil {
		manifest.Layers = append(manifest.Layers, in.desc)
		img.RootFS.DiffIDs = append(slices.Clone(img.RootFS.DiffIDs), in.diffID)
	}
	rawConfig, err := encodeConfig(raw, img, settings)
	if err != nil {
		return nil, err
	}
	return s.assemble(ctx, rawConfig, manifest, in, names)
}

// plainTypes are descriptors of layers without what only their manifest meant. In an index that
// is kept whole that may be Docker's, and the types with it.
func plainTypes(layers []ocispec.Descriptor) []ocispec.Descriptor {
	out := make([]ocispec.Descriptor, len(layers))
	for i, l := range layers {
		out[i] = ocispec.Descriptor{MediaType: ociLayerType(l.MediaType), Digest: l.Digest, Size: l.Size, URLs: l.URLs, Annotations: l.Annotations}
	}
	return out
}

// baseAnnotations say what an image stands on. Source: image-spec annotations.md,
// org.opencontainers.image.base.digest and .name.
func baseAnnotations(base *Image) map[string]string {
	a := map[string]string{ocispec.AnnotationBaseImageDigest: string(base.Served)}
	for _, n := range base.Names {
		if ref, err := ParseReference(n); err == nil && ref.Transport == Docker && ref.Digest == "" {
			a[ocispec.AnnotationBaseImageName] = n
			break
		}
	}
	return a
}

// completeHistory makes the history have an entry for each layer: readers that
// pair them (docker) refuse an image that falls short.
func completeHistory(img *ocispec.Image) []ocispec.History {
	out := slices.Clone(img.History)
	have := 0
	for _, h := range out {
		if !h.EmptyLayer {
			have++
		}
	}
	for ; have < len(img.RootFS.DiffIDs); have++ {
		out = append(out, ocispec.History{})
	}
	return out
}

// encodeConfig puts img and settings into the configuration that raw is, if
// any. What this program knows nothing of stays; what docker writes of the
// container that an image was made of goes. The same input gives the same bytes.
func encodeConfig(raw json.RawMessage, img *ocispec.Image, settings Settings) ([]byte, error) {
	all, config := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if raw != nil {
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, err
		}
		if c := all["config"]; c != nil {
			if err := json.Unmarshal(c, &config); err != nil {
				return nil, err
			}
		}
	}
	if config == nil { // it was null
		config = map[string]json.RawMessage{}
	}
	for _, k := range []string{"container", "container_config", "id", "parent", "parent_id", "throwaway", "author", "history"} {
		delete(all, k)
	}
	for _, k := range []string{"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck", "Image", "Hostname", "Domainname"} {
		delete(config, k)
	}
	if err := merge(config, settings.ImageConfig); err != nil {
		return nil, err
	}
	if settings.Healthcheck != nil {
		h, err := json.Marshal(settings.Healthcheck)
		if err != nil {
			return nil, err
		}
		config["Healthcheck"] = h
	}
	if err := merge(all, img); err != nil {
		return nil, err
	}
	c, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	all["config"] = c
	out, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode the configuration: %w", err)
	}
	return out, nil
}

// merge sets the keys of v's JSON object in all.
func merge(all map[string]json.RawMessage, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	maps.Copy(all, keys)
	return nil
}
