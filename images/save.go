package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"coracle/internal/later/registries"

	"github.com/klauspost/compress/gzip"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kinds of what save writes.
const (
	SaveDockerArchive = "docker-archive"
	SaveOCIArchive    = "oci-archive"
	SaveOCIDir        = "oci-dir"
	SaveDockerDir     = "docker-dir"
)

// SaveOptions say what is written.
type SaveOptions struct {
	Kind     string // one of the above
	Shape           // of the images; docker archives have plain layers in any case
	Compress bool   // the whole archive, with gzip
	Progress Progress
}

// Save writes images, with the names that they were asked for by, into an
// archive. Errors: ErrNotFound, ErrCorrupt, ErrUnsupported.
func (s *Store) Save(ctx context.Context, w io.Writer, names []string, o SaveOptions) error {
	registries.Ready()
	list, err := s.chooseSaved(names)
	if err != nil {
		return err
	}
	lease, err := s.leaseSaved(ctx, list)
	if err != nil {
		return err
	}
	defer lease.Release()
	out := w
	var z *gzip.Writer
	if o.Compress {
		z = gzip.NewWriter(w)
		out = z
	}
	t := tar.NewWriter(out)
	switch o.Kind {
	case SaveOCIArchive:
		err = s.saveLayout(ctx, newLayoutSink(newTarLayout(t)), list, o)
	default:
		err = s.saveDocker(ctx, t, list, o)
	}
	if err == nil {
		err = t.Close()
	}
	if err == nil && z != nil {
		err = z.Close()
	}
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return nil
}

// SaveDir writes images into a directory: an OCI layout, or skopeo's dir: for one.
func (s *Store) SaveDir(ctx context.Context, dir string, names []string, o SaveOptions) error {
	list, err := s.chooseSaved(names)
	if err != nil {
		return err
	}
	lease, err := s.leaseSaved(ctx, list)
	if err != nil {
		return err
	}
	defer lease.Release()
	if o.Kind == SaveDockerDir {
		if len(list) != 1 {
			return fail(nil, "save: a %s holds one image, not %d", SaveDockerDir, len(list)).hint("use --format %s", SaveOCIDir)
		}
		k, err := openDirSink(ctx, dir)
		if err != nil {
			return fmt.Errorf("save: %w", err)
		}
		defer k.close()
		if o.Format == "" {
			o.Format = FormatDocker
		}
		err = s.sendOne(ctx, k, list[0].img, o)
		if e := (*Error)(nil); errors.Is(err, ErrUnsupported) && errors.As(err, &e) {
			e.hint("coracle push --format docker --compression gzip %s dir:%s, or --format %s", names[0], dir, SaveOCIDir)
		}
		if err != nil {
			err = fmt.Errorf("save: %w", err)
		}
		return err
	}
	l, place, err := openLayout(ctx, dir)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	defer place.close()
	if err := s.saveLayout(ctx, l, list, o); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return syncDir(dir)
}

// saved is one image of a save, with the names that go along.
type saved struct {
	img   *Image
	names []string // those that were asked for; none when it was by id
}

// chooseSaved finds the images; one that is named twice comes once.
func (s *Store) chooseSaved(names []string) ([]saved, error) {
	var out []saved
	at := map[string]int{}
	for _, n := range names {
		idx, desc, byName, err := s.findAny(n)
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", n, err)
		}
		img, err := s.loadNamed(idx, desc)
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", n, err)
		}
		i, ok := at[string(img.Manifest.Digest)]
		if !ok {
			i = len(out)
			at[string(img.Manifest.Digest)] = i
			out = append(out, saved{img: img})
		}
		if byName && nameOf(desc) != "" {
			out[i].names = append(out[i].names, nameOf(desc))
		}
	}
	return out, nil
}

// leaseSaved keeps what is being read from being collected.
func (s *Store) leaseSaved(ctx context.Context, list []saved) (*Lock, error) {
	needs := imageDigests(list[0].img)
	for _, x := range list[1:] {
		needs = append(needs, imageDigests(x.img)...)
	}
	return s.lease(ctx, needs)
}

func (s *Store) saveLayout(ctx context.Context, l *layoutSink, list []saved, o SaveOptions) error {
	if o.Format == FormatDocker {
		return fail(ErrUnsupported, "an OCI layout holds no Docker manifests").hint("use --format docker-archive or docker-dir")
	}
	o.Format = FormatOCI
	for _, x := range list {
		names := x.names
		if len(names) == 0 {
			names = []string{""}
		}
		for _, n := range names {
			l.name, l.full = n, n
			if err := s.sendOne(ctx, l, x.img, o); err != nil {
				return err
			}
		}
	}
	return l.finish()
}

func (s *Store) sendOne(ctx context.Context, k sink, img *Image, o SaveOptions) error {
	p, err := s.pack(ctx, img, o.Shape)
	if err != nil {
		return err
	}
	defer p.close()
	return p.send(ctx, k, o.Progress, true)
}

// saveDocker writes what docker load, podman load and skopeo read: plain layers
// named by their digests, configurations, and manifest.json, which names them.
func (s *Store) saveDocker(ctx context.Context, t *tar.Writer, list []saved, o SaveOptions) error {
	to := newTarLayout(t)
	have := map[string]bool{}
	var items []dockerItem
	for _, x := range list {
		item := dockerItem{Config: x.img.ID.Encoded() + ".json", RepoTags: []string{}, Layers: []string{}}
		for _, n := range x.names {
			if ref, err := ParseReference(n); err == nil && ref.Tag != "" {
				item.RepoTags = append(item.RepoTags, ref.dockerTag())
			}
		}
		for i, l := range x.img.Layers {
			name := x.img.DiffIDs[i].Encoded() + ".tar"
			item.Layers = append(item.Layers, name)
			if have[name] {
				continue
			}
			have[name] = true
			if err := s.putPlain(ctx, to, name, x.img, i, l, o.Progress); err != nil {
				return err
			}
		}
		if !have[item.Config] {
			have[item.Config] = true
			raw, err := s.RawConfig(x.img)
			if err != nil {
				return err
			}
			if err := to.put(item.Config, int64(len(raw)), func(w io.Writer) error { _, err := w.Write(raw); return err }); err != nil {
				return err
			}
		}
		items = append(items, item)
	}
	raw, err := json.Marshal(items)
	if err != nil {
		return fmt.Errorf("encode manifest.json: %w", err)
	}
	return to.put("manifest.json", int64(len(raw)), func(w io.Writer) error { _, err := w.Write(raw); return err })
}

// dockerTag is a name as docker writes it into archives.
func (r Reference) dockerTag() string {
	r.Digest = ""
	return r.Familiar()
}

// putPlain writes a layer uncompressed. Its size must be known first: from the
// record of the unpacked layer, or by reading it twice.
func (s *Store) putPlain(ctx context.Context, to tarLayout, name string, img *Image, i int, l ocispec.Descriptor, progress Progress) error {
	size, err := s.plainSize(ctx, img, i, l)
	if err != nil {
		return err
	}
	plainDesc := ocispec.Descriptor{Digest: img.DiffIDs[i], Size: size}
	seen, end := progress.watch(plainDesc)
	defer end()
	return to.put(name, size, func(w io.Writer) error {
		return copySeen(ctx, w, part{plainDesc, func() (io.ReadCloser, error) { return s.openPlain(l) }}, seen)
	})
}

func (s *Store) plainSize(ctx context.Context, img *Image, i int, l ocispec.Descriptor) (int64, error) {
	records, _ := filepath.Glob(filepath.Join(s.root, "layers", img.ChainIDs[i].Encoded(), "*", recordFile))
	for _, path := range records {
		var rec LayerRecord
		data, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(data, &rec) == nil && rec.Bytes > 0 && rec.DiffID == img.DiffIDs[i] {
			return rec.Bytes, nil
		}
	}
	r, err := s.openPlain(l)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return copyContext(ctx, io.Discard, r)
}

// openPlain reads a layer uncompressed.
func (s *Store) openPlain(l ocispec.Descriptor) (io.ReadCloser, error) {
	f, err := s.stored(l).open()
	if err != nil {
		return nil, err
	}
	r, _, err := decompress(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read the layer %s: %w", l.Digest, err)
	}
	return closeBoth{r, f}, nil
}

// closeBoth closes what is read and what that reads.
type closeBoth struct {
	io.ReadCloser
	below io.Closer
}

func (c closeBoth) Close() error {
	c.ReadCloser.Close()
	return c.below.Close()
}
