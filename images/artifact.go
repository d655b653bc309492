package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An artifact is any files in a registry: a manifest whose layers are the files, each with its
// name in the annotation org.opencontainers.image.title (image-spec manifest.md, "Guidelines for
// Artifact Usage"; oras and podman artifact make and read the same).

// artifactType is that of an artifact whose maker names none, as oras has it.
const artifactType = "application/vnd.unknown.artifact.v1"

const fileType = "application/octet-stream"

// ArtifactOptions say how files are sent.
type ArtifactOptions struct {
	Access
	Type        string // "": unknown
	Annotations map[string]string
	Subject     string // a digest, tag or reference in the same repository that it is about; "": none
	Progress    Progress
}

// isMediaType: RFC 6838's, without parameters.
func isMediaType(s string) bool {
	kind, sub, ok := strings.Cut(s, "/")
	for _, name := range [...]string{kind, sub} {
		ok = ok && name != "" && len(name) <= 127 && !strings.ContainsAny(name[:1], "!#$&-^_.+") && !strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$&-^_.+", r)
		})
	}
	return ok
}

// splitFile takes FILE[:MEDIA/TYPE] apart.
func splitFile(word string) (path, mediaType string) {
	if i := strings.LastIndexByte(word, ':'); i > 0 && isMediaType(word[i+1:]) {
		if _, err := os.Lstat(word); err != nil { // a file may be called so
			return word[:i], word[i+1:]
		}
	}
	return word, fileType
}

// titleOf is the name that a file gets where it is pulled: that on the line, or where that leads
// anywhere else its last part.
func titleOf(path string) string {
	path = filepath.Clean(path)
	if filepath.IsLocal(path) {
		return path
	}
	return filepath.Base(path)
}

// PushArtifact sends files to a registry. Without a tag in dest, what has a subject has no
// tag there either.
func PushArtifact(ctx context.Context, dest string, files []string, o ArtifactOptions) (*Pushed, error) {
	to, err := ParseReference(dest)
	if err != nil {
		return nil, err
	}
	if to.Transport != Docker || to.Digest != "" {
		return nil, fail(ErrInvalidReference, "push the artifact %s: it goes to a registry: REGISTRY/NAME[:TAG]", quote(dest))
	}
	if o.Subject != "" && !strings.Contains(dest[strings.LastIndexByte(dest, '/')+1:], ":") {
		to.Tag = ""
	}
	out, err := pushArtifact(ctx, to, files, o)
	if err != nil {
		return nil, fmt.Errorf("push the artifact %s: %w", to, err)
	}
	return out, nil
}

func pushArtifact(ctx context.Context, to Reference, files []string, o ArtifactOptions) (*Pushed, error) {
	p, err := artifactParcel(ctx, files, o)
	if err != nil {
		return nil, err
	}
	k, err := newRegistrySink(ctx, to, o.Access, nil)
	if err != nil {
		return nil, err
	}
	defer k.s.close()
	m := p.artifact
	if o.Subject != "" {
		if m.Subject, err = k.s.subject(ctx, to, o.Subject); err != nil {
			return nil, fmt.Errorf("the subject %s: %w", quote(o.Subject), err)
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest: %w", err)
	}
	p.set(raw, ocispec.MediaTypeImageManifest)
	if err := p.send(ctx, k, o.Progress, true); err != nil {
		return nil, err
	}
	return &Pushed{Digest: p.desc.Digest, Sent: k.sent.Load(), Mounted: int(k.mounted.Load()), Skipped: int(k.skipped.Load())}, nil
}

type artifactParts struct {
	parcel
	artifact ocispec.Manifest
}

// artifactParcel reads the files once, for their digests.
func artifactParcel(ctx context.Context, files []string, o ArtifactOptions) (*artifactParts, error) {
	kind := o.Type
	if kind == "" {
		kind = artifactType
	}
	if !isMediaType(kind) {
		return nil, fail(nil, "the type %s is no media type", quote(kind)).hint("application/vnd.example.thing for example")
	}
	empty := ocispec.DescriptorEmptyJSON
	p := &artifactParts{artifact: ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: kind, Config: empty, Layers: []ocispec.Descriptor{}, Annotations: o.Annotations}}
	p.add(part{desc: empty, open: bytesOpener(empty.Data)})
	var titles []string
	for _, word := range files {
		path, mediaType := splitFile(word)
		x, err := filePart(ctx, path, mediaType)
		if err != nil {
			return nil, err
		}
		title := x.desc.Annotations[ocispec.AnnotationTitle]
		if slices.Contains(titles, title) {
			return nil, fail(nil, "two files are called %s there", quote(title))
		}
		titles = append(titles, title)
		p.artifact.Layers = append(p.artifact.Layers, x.desc)
		p.add(x)
	}
	if len(files) == 0 {
		p.artifact.Layers = append(p.artifact.Layers, empty) // registries want one
	}
	return p, nil
}

func filePart(ctx context.Context, path, mediaType string) (part, error) {
	f, err := os.Open(path)
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return part{}, fail(nil, "%s is no regular file", quote(path)).because(err).hint("pack a directory first: tar -czf DIR.tar.gz DIR")
	}
	sum := newVerifier("", -1)
	if _, err := copyContext(ctx, sum, f); err != nil {
		return part{}, fmt.Errorf("read %s: %w", path, err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: sum.digest(), Size: sum.n, Annotations: map[string]string{ocispec.AnnotationTitle: titleOf(path)}}
	return part{desc: d, open: func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}

// subject asks the registry for what an artifact is about.
func (s *registrySource) subject(ctx context.Context, to Reference, word string) (*ocispec.Descriptor, error) {
	what := word
	if checkDigest(word) != "" && checkTag(word) != "" {
		ref, err := ParseReference(word)
		if err != nil {
			return nil, err
		}
		if ref.Transport != Docker || ref.Name() != to.Name() {
			return nil, fail(ErrInvalidReference, "it is in another repository than %s", to.Name()).hint("a subject and what refers to it stand in one repository")
		}
		if what = ref.Tag; ref.Digest != "" {
			what = string(ref.Digest)
		}
	}
	raw, mediaType, err := s.fetchManifest(ctx, what)
	if err != nil {
		return nil, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: sha256Of(raw), Size: int64(len(raw))}
	if checkDigest(what) == "" && what != string(d.Digest) {
		return nil, fail(ErrCorrupt, "the registry serves %s", d.Digest)
	}
	return &d, nil
}

// PulledArtifact says what has been fetched.
type PulledArtifact struct {
	Type   string
	Digest string
	Files  []string // in the order of the manifest, relative to the directory
}

// PullArtifact fetches the files of an artifact into a directory. What a file is called there is the
// maker's word: it leads nowhere else. Files of these names are replaced, each at once.
func PullArtifact(ctx context.Context, name, dir string, a Access, progress Progress) (*PulledArtifact, error) {
	refs, err := meanings(name)
	if err != nil {
		return nil, err
	}
	if refs[0].Transport != Docker {
		return nil, fail(ErrUnsupported, "pull the artifact %s: artifacts are kept in registries", quote(name))
	}
	out, err := pullArtifact(ctx, refs[0], dir, a, progress)
	if err != nil {
		return nil, fmt.Errorf("pull the artifact %s: %w", name, err)
	}
	return out, nil
}

func pullArtifact(ctx context.Context, ref Reference, dir string, a Access, progress Progress) (*PulledArtifact, error) {
	src, err := openRegistry(ctx, ref, a)
	if err != nil {
		return nil, err
	}
	defer src.close()
	raw, _, err := src.root(ctx)
	if err != nil {
		return nil, err
	}
	d := sha256Of(raw)
	if ref.Digest != "" && ref.Digest != d {
		return nil, fail(ErrCorrupt, "the registry serves %s", d)
	}
	if _, err := allowFetched(ctx, src, ref, d); err != nil {
		return nil, err
	}
	m, err := parseLenient(raw)
	if err != nil {
		return nil, err
	}
	if m.Manifests != nil {
		return nil, fail(ErrUnsupported, "it is an index").hint("name one of its manifests: NAME@sha256:…")
	}
	out := &PulledArtifact{Type: m.ArtifactType, Digest: string(d)}
	if out.Type == "" {
		out.Type = m.Config.MediaType
	}
	layers, names, err := artifactNames(m.Layers)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil { //nolint:gosec // the caller's umask decides
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // a directory
	for i, l := range layers {
		if err := fetchFile(ctx, src, root, names[i], l, progress); err != nil {
			return nil, fmt.Errorf("the file %s: %w", quote(names[i]), err)
		}
	}
	out.Files = names
	return out, nil
}

// artifactNames gives each layer the name of a file, or refuses all of them.
func artifactNames(layers []ocispec.Descriptor) ([]ocispec.Descriptor, []string, error) {
	var out []ocispec.Descriptor
	var names []string
	for _, l := range layers {
		if l.MediaType == ocispec.MediaTypeEmptyJSON {
			continue
		}
		title, has := l.Annotations[ocispec.AnnotationTitle]
		if !has {
			title = strings.Replace(string(l.Digest), ":", "-", 1)
		}
		if why := badTitle(title); why != "" {
			return nil, nil, fail(ErrCorrupt, "it wants a file to be called %s: %s", quote(title), why)
		}
		if slices.Contains(names, title) {
			return nil, nil, fail(ErrCorrupt, "two of its files are called %s", quote(title))
		}
		out, names = append(out, l), append(names, title)
	}
	return out, names, nil
}

func badTitle(title string) string {
	switch {
	case title == "" || title == "." || strings.HasSuffix(title, "/"):
		return "that is no file's name"
	case !filepath.IsLocal(title) || filepath.Clean(title) != title:
		return "that leads out of the directory, or goes round about"
	case strings.ContainsFunc(title, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return "that has a control character or a backslash"
	}
	return ""
}

// fetchFile puts a file in its place once all of it is there and right.
func fetchFile(ctx context.Context, src source, root *os.Root, name string, d ocispec.Descriptor, progress Progress) (err error) {
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	temp := filepath.Join(filepath.Dir(name), ".coracle-"+d.Digest.Encoded()[:16])
	root.Remove(temp) //nolint:errcheck // of a pull that died
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	seen, end := progress.watch(d)
	defer end()
	x := part{desc: d, open: func() (io.ReadCloser, error) { return src.blob(ctx, d) }}
	if err = errors.Join(copySeen(ctx, f, x, seen), f.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		root.Remove(temp) //nolint:errcheck // what went wrong is said
	}
	return err
}
