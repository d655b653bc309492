package images

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
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
	Progress func(name string, size int64) io.WriteCloser
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
// may be compressed with gzip or zstd. The layer is stored as it came, and
// with gzip when it was plain.
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
	if err := applyChanges(&img.Config, o.Changes); err != nil {
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
	out, err := s.importAs(ctx, r, &img, o, names)
	if err != nil {
		return nil, explainWrite(err, s.root)
	}
	return out, nil
}

func (s *Store) importAs(ctx context.Context, r io.Reader, config *ocispec.Image, o ImportOptions, names []string) (*Image, error) {
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
	t, desc, diffID, err := s.takeLayer(ctx, r)
	if err != nil {
		return nil, err
	}
	defer t.discard()
	message := o.Message
	if message == "" {
		message = "imported"
	}
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	config.History = []ocispec.History{{Created: config.Created, Comment: message}}
	rawConfig, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: sha256Of(rawConfig), Size: int64(len(rawConfig))},
		Layers: []ocispec.Descriptor{desc}}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(raw, "")
	if err != nil {
		return nil, err
	}
	c := &chosen{raw: raw, doc: doc, desc: ocispec.Descriptor{MediaType: doc.MediaType, Digest: sha256Of(raw), Size: int64(len(raw))}, from: sha256Of(raw), served: sha256Of(raw)}
	img := newImage(c, config)
	lease, err := s.lease(ctx, imageDigests(img))
	if err != nil {
		return nil, err
	}
	defer lease.release()
	if !s.hasBlob(desc.Digest, desc.Size) {
		if err := t.keep(s.blobPath(desc.Digest)); err != nil {
			return nil, err
		}
		t.Close()
	}
	for _, b := range [][]byte{rawConfig, raw} {
		if err := s.putBytes(ctx, b); err != nil {
			return nil, err
		}
	}
	return s.publish(ctx, img, names)
}

// takeLayer writes the layer into a temporary file while it computes both
// digests, and looks whether it is a tar at all.
func (s *Store) takeLayer(ctx context.Context, r io.Reader) (_ *tempFile, _ ocispec.Descriptor, diffID digest.Digest, err error) {
	t, err := s.newTemp()
	if err != nil {
		return nil, ocispec.Descriptor{}, "", err
	}
	defer func() {
		if err != nil {
			t.discard()
		}
	}()
	v := newVerifier("", -1) // counts and hashes what is stored
	stored := io.MultiWriter(t, v)
	content := sha256.New()
	in := bufio.NewReaderSize(r, 256<<10)
	head, _ := in.Peek(6)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip}
	if kind := sniff(head); kind == plain {
		err = compressTo(ctx, stored, content, in)
	} else {
		if kind == zstandard {
			desc.MediaType = ocispec.MediaTypeImageLayerZstd
		}
		err = hashUnpacked(ctx, io.TeeReader(in, stored), content)
	}
	if err != nil {
		return nil, desc, "", err
	}
	desc.Digest, desc.Size = digest.NewDigestFromBytes(digest.SHA256, v.sum.Sum(nil)), v.n
	return t, desc, digest.NewDigestFromBytes(digest.SHA256, content.Sum(nil)), nil
}

func compressTo(ctx context.Context, stored, content io.Writer, in io.Reader) error {
	z, err := gzip.NewWriterLevel(stored, gzip.BestSpeed)
	if err != nil {
		return err
	}
	check := &tarCheck{}
	if _, err := copyContext(ctx, io.MultiWriter(check, content, z), in); err != nil {
		return err
	}
	if err := check.err(); err != nil {
		return err
	}
	return z.Close()
}

// hashUnpacked reads what in has, to its very end, and hashes it uncompressed.
func hashUnpacked(ctx context.Context, in io.Reader, content io.Writer) error {
	u, _, err := decompress(in)
	if err != nil {
		return err
	}
	defer u.Close()
	check := &tarCheck{}
	if _, err := copyContext(ctx, io.MultiWriter(check, content), u); err != nil {
		return fail(ErrCorrupt, "uncompress the archive").because(err)
	}
	if _, err := copyContext(ctx, io.Discard, in); err != nil {
		return err
	}
	return check.err()
}

// tarCheck looks at the first block of what should be a tar.
type tarCheck struct{ head []byte }

func (c *tarCheck) Write(p []byte) (int, error) {
	if need := 512 - len(c.head); need > 0 {
		c.head = append(c.head, p[:min(need, len(p))]...)
	}
	return len(p), nil
}

// err checks the header's sum, as POSIX pax defines it: the bytes of the
// block, with spaces where the sum stands.
func (c *tarCheck) err() error {
	bad := fail(ErrCorrupt, "it is not a tar archive").hint("import takes the tar of a root file system, plain or compressed with gzip or zstd")
	if len(c.head) < 512 {
		return bad
	}
	var sum, signed, want int64
	for i, b := range c.head {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum, signed = sum+int64(b), signed+int64(int8(b)) //nolint:gosec // old tars add signed bytes
	}
	for _, b := range c.head[148:156] {
		if b >= '0' && b <= '7' {
			want = want*8 + int64(b-'0')
		}
	}
	if want != sum && want != signed {
		return bad
	}
	return nil
}
