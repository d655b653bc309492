package images

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutSource reads an OCI image layout: oci:PATH[:TAG] and oci-archive:FILE[:TAG].
type layoutSource struct {
	files files
	ref   Reference
	desc  ocispec.Descriptor
}

func newLayoutSource(f files, ref Reference) (*layoutSource, error) {
	list, err := readLayoutIndex(f, ref)
	if err != nil {
		return nil, err
	}
	s := &layoutSource{files: f, ref: ref}
	s.desc, err = s.choose(list)
	return s, err
}

// readLayoutIndex reads what a layout's index.json lists.
func readLayoutIndex(f files, ref Reference) ([]ocispec.Descriptor, error) {
	var layout ocispec.ImageLayout
	raw, err := readFile(f, ocispec.ImageLayoutFile, 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(ErrCorrupt, "%s is not an OCI image layout: it has no %s", quote(ref.File), ocispec.ImageLayoutFile).hint("%s", layoutHint(f, ref))
	}
	if err != nil {
		return nil, err
	}
	if err := strictJSON(raw, &layout); err != nil {
		return nil, fail(ErrCorrupt, "read oci-layout").because(err)
	}
	if layout.Version != ocispec.ImageLayoutVersion {
		return nil, fail(ErrUnsupported, "the OCI image layout has version %s, known is %s", quote(layout.Version), ocispec.ImageLayoutVersion)
	}
	raw, err = readFile(f, ocispec.ImageIndexFile, maxManifest)
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(raw, ocispec.MediaTypeImageIndex)
	if err != nil {
		return nil, fail(nil, "read index.json").because(err)
	}
	return *doc.Manifests, nil
}

func layoutHint(f files, ref Reference) string {
	r, _, err := f.open("manifest.json")
	if err != nil {
		return "check the path"
	}
	r.Close()
	if ref.Transport == OCIArchive {
		return "use docker-archive:" + ref.File
	}
	return "use dir:" + ref.File
}

// choose finds the descriptor that the tag names; without a tag there must be
// only one.
func (s *layoutSource) choose(list []ocispec.Descriptor) (ocispec.Descriptor, error) {
	var there []string
	for _, d := range list {
		name := d.Annotations[ocispec.AnnotationRefName]
		if s.ref.Member != "" && (name == s.ref.Member || d.Annotations[annotationName] == s.ref.Member) {
			return d, nil
		}
		if name != "" {
			there = append(there, name)
		}
	}
	if s.ref.Member == "" && len(list) == 1 {
		return list[0], nil
	}
	e := fail(ErrNotFound, "%s has no image named %s", quote(s.ref.File), quote(s.ref.Member))
	switch {
	case len(list) == 0:
		e.Text = quote(s.ref.File) + " has no image in it"
	case s.ref.Member == "":
		e = fail(ErrAmbiguous, "%s has %d images", quote(s.ref.File), len(list))
	}
	if len(there) > 0 {
		e.hint("name one: %s:%s:%s", s.ref.Transport, s.ref.File, strings.Trim(quote(strings.Join(there, " | ")), `"`))
	}
	return ocispec.Descriptor{}, e
}

func (s *layoutSource) root(ctx context.Context) ([]byte, string, error) {
	raw, err := s.manifest(ctx, s.desc)
	if err != nil {
		return nil, "", err
	}
	return raw, s.desc.MediaType, checkContent(raw, s.desc)
}

func (s *layoutSource) manifest(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
	if err := checkDescriptor(d, maxManifest); err != nil {
		return nil, err
	}
	return readFile(s.files, blobName(d), maxManifest)
}

func blobName(d ocispec.Descriptor) string {
	return path.Join("blobs", string(d.Digest.Algorithm()), d.Digest.Encoded())
}

func (s *layoutSource) blob(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	r, _, err := s.files.open(blobName(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(ErrCorrupt, "%s lacks the blob %s", quote(s.ref.File), d.Digest)
	}
	return r, err
}

func (s *layoutSource) names() []string {
	for _, n := range [...]string{s.desc.Annotations[annotationName], s.desc.Annotations[ocispec.AnnotationRefName]} {
		// A bare tag ("latest") is not a name of its own.
		if r, err := ParseReference(n); err == nil && r.Transport == Docker && strings.ContainsAny(n, "/:") {
			return []string{r.key()}
		}
	}
	return []string{localName(s.ref.File, s.desc.Annotations[ocispec.AnnotationRefName])}
}

func (s *layoutSource) close() error { return s.files.close() }

// localName makes localhost/NAME:TAG of a path and a tag, as podman does for
// images that bring no name.
func localName(file, tag string) string {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	base := strings.ToLower(path.Base(file))
	for _, ext := range [...]string{".gz", ".zst", ".tar"} {
		base = strings.TrimSuffix(base, ext)
	}
	base = strings.Map(func(r rune) rune {
		if r < 128 && (isLowerAlnum(byte(r)) || r == '.' || r == '_' || r == '-') {
			return r
		}
		return '-'
	}, base)
	base = strings.Trim(base, "._-")
	if checkComponent(base) != "" || len(base) > 200 {
		base = "image"
	}
	if checkTag(tag) != "" {
		tag = "latest"
	}
	return localDomain + "/" + base + ":" + tag
}

// dirSource reads what skopeo's dir: transport writes: manifest.json, and
// blobs named by their hexadecimal digest.
type dirSource struct {
	files files
	ref   Reference
}

func newDirSource(f files, ref Reference) (*dirSource, error) {
	r, _, err := f.open("manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		e := fail(ErrCorrupt, "%s is not an image directory: it has no manifest.json", quote(ref.File))
		if l, _, err := f.open(ocispec.ImageLayoutFile); err == nil {
			l.Close()
			e.hint("it is an OCI image layout: use oci:%s", ref.File)
		}
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	return &dirSource{f, ref}, r.Close()
}

func (s *dirSource) root(context.Context) ([]byte, string, error) {
	raw, err := readFile(s.files, "manifest.json", maxManifest)
	if err == nil {
		// docker save's manifest.json is a list.
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil {
			return nil, "", fail(ErrCorrupt, "%s is an unpacked docker archive", quote(s.ref.File)).hint("pack it with tar, and use docker-archive:FILE")
		}
	}
	return raw, "", err
}

func (s *dirSource) manifest(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
	return readFile(s.files, d.Digest.Encoded()+".manifest.json", maxManifest)
}

func (s *dirSource) blob(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	r, _, err := s.files.open(d.Digest.Encoded())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(ErrCorrupt, "%s lacks the blob %s", quote(s.ref.File), d.Digest)
	}
	return r, err
}

func (s *dirSource) names() []string { return []string{localName(s.ref.File, "")} }
func (s *dirSource) close() error    { return s.files.close() }

func (s *layoutSource) where() Reference { return s.ref }
func (s *dirSource) where() Reference    { return s.ref }
