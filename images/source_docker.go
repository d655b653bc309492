package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerSource reads an archive as docker save, podman save and skopeo's
// docker-archive: write it. Such an archive has no manifest with digests; the
// configuration's diffIDs are the digests of the layers, which are plain tars.
type dockerSource struct {
	files   files
	ref     Reference
	item    dockerItem
	members map[digest.Digest]string
	raw     []byte // the manifest that we made
	bare    bool   // without a name in the archive it gets none
}

// dockerItem is one image of manifest.json.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func newDockerSource(f files, ref Reference) (*dockerSource, error) {
	raw, err := readFile(f, "manifest.json", maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		e := fail(ErrCorrupt, "%s is not a docker archive: it has no manifest.json", quote(ref.File))
		if l, _, err := f.open(ocispec.ImageLayoutFile); err == nil {
			l.Close()
			return nil, e.hint("it is an OCI archive: use oci-archive:%s", ref.File)
		}
		return nil, e.hint("a plain root file system is taken in with coracle import")
	}
	if err != nil {
		return nil, err
	}
	var list []dockerItem
	if err := strictJSON(raw, &list); err != nil {
		return nil, fail(ErrCorrupt, "read manifest.json").because(err)
	}
	s := newDockerItem(f, ref, dockerItem{})
	if err := s.choose(list); err != nil {
		return nil, err
	}
	return s, s.makeManifest()
}

func newDockerItem(f files, ref Reference, item dockerItem) *dockerSource {
	return &dockerSource{files: f, ref: ref, item: item, members: map[digest.Digest]string{}}
}

func (s *dockerSource) choose(list []dockerItem) error {
	if s.ref.Member == "" && len(list) == 1 {
		s.item = list[0]
		return nil
	}
	if place, ok := s.place(); ok {
		return s.take(list, place)
	}
	var there []string
	for _, it := range list {
		for _, t := range it.RepoTags {
			if r, err := ParseReference(t); err == nil && r.Transport == Docker && r.key() == s.ref.Member {
				s.item = it
				s.item.RepoTags = []string{t}
				return nil
			}
			there = append(there, t)
		}
	}
	e := fail(ErrNotFound, "%s has no image named %s", quote(s.ref.File), quote(s.ref.Member))
	if s.ref.Member == "" {
		e = fail(ErrAmbiguous, "%s has %d images", quote(s.ref.File), len(list))
	}
	if len(there) == 0 && len(list) > 0 {
		return e.hint("say which: %s", s.places(list))
	}
	if len(there) > 0 {
		e.hint("name one: docker-archive:%s:%s", s.ref.File, strings.Trim(quote(strings.Join(there, " | ")), `"`))
	}
	return e
}

// place is the N of docker-archive:FILE:@N.
func (s *dockerSource) place() (string, bool) { return strings.CutPrefix(s.ref.Member, "@") }

func (s *dockerSource) take(list []dockerItem, place string) error {
	n, err := strconv.Atoi(place)
	if err != nil {
		return err
	}
	if n >= len(list) {
		e := fail(ErrNotFound, "%s has no image @%d: it has %d, counted from 0", quote(s.ref.File), n, len(list))
		if len(list) > 0 {
			e.hint("%s", s.places(list))
		}
		return e
	}
	s.item = list[n]
	return nil
}

// places says what can be typed for the images of an archive.
func (s *dockerSource) places(list []dockerItem) string {
	first := "docker-archive:" + s.ref.File + ":@0"
	if len(list) == 1 {
		return first + " is the only one"
	}
	return fmt.Sprintf("%s to :@%d", first, len(list)-1)
}

// makeManifest makes the OCI manifest that the image has in our store.
func (s *dockerSource) makeManifest() error {
	config, err := readFile(s.files, s.item.Config, maxConfig)
	if err != nil {
		return fail(ErrCorrupt, "read the configuration %s", quote(s.item.Config)).because(err)
	}
	var img struct {
		RootFS ocispec.RootFS `json:"rootfs"`
	}
	if err := strictJSON(config, &img); err != nil {
		return fail(ErrCorrupt, "read the configuration %s", quote(s.item.Config)).because(err)
	}
	if len(img.RootFS.DiffIDs) != len(s.item.Layers) {
		return fail(ErrCorrupt, "manifest.json has %d layers, the configuration %d diffIDs", len(s.item.Layers), len(img.RootFS.DiffIDs))
	}
	id := sha256Of(config)
	// The file is named after its digest by everybody but kaniko and bazel.
	if base := strings.TrimSuffix(s.item.Config, ".json"); isHex(base, 64) && base != id.Encoded() {
		return fail(ErrCorrupt, "the configuration %s has the digest %s", quote(s.item.Config), id)
	}
	s.members[id] = s.item.Config
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{},
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: id, Size: int64(len(config))}}
	for i, name := range s.item.Layers {
		d, err := s.describe(name, img.RootFS.DiffIDs[i])
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
		s.members[d.Digest] = name
	}
	s.raw, err = json.Marshal(m)
	return err
}

// describe finds the digest of a layer's file: the diffID where it is a plain
// tar, else by reading it.
func (s *dockerSource) describe(name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if err := wantSHA256(diffID); err != nil {
		return none, err
	}
	r, size, err := s.files.open(name)
	if err != nil {
		return none, fail(ErrCorrupt, "read the layer %s", quote(name)).because(err)
	}
	defer r.Close()
	head := make([]byte, min(size, 6))
	if _, err := io.ReadFull(r, head); err != nil {
		return none, fail(ErrCorrupt, "read the layer %s", quote(name)).because(err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}
	switch sniff(head) {
	case gzipped:
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case zstandard:
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	default:
		return d, nil
	}
	v := newVerifier("", size)
	if _, err := v.Write(head); err != nil {
		return none, err
	}
	if _, err := io.Copy(v, r); err != nil {
		return none, err
	}
	d.Digest = digest.NewDigestFromBytes(digest.SHA256, v.sum.Sum(nil))
	return d, nil
}

func (s *dockerSource) root(context.Context) ([]byte, string, error) {
	return s.raw, ocispec.MediaTypeImageManifest, nil
}

func (s *dockerSource) manifest(context.Context, ocispec.Descriptor) ([]byte, error) {
	return nil, fail(ErrCorrupt, "a docker archive has no index")
}

func (s *dockerSource) blob(_ context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	r, _, err := s.files.open(s.members[d.Digest])
	return r, err
}

func (s *dockerSource) names() []string {
	var out []string
	for _, t := range s.item.RepoTags {
		if r, err := ParseReference(t); err == nil && r.Transport == Docker {
			out = append(out, r.key())
		}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 && !s.bare {
		place, _ := s.place() // so that two of one archive do not take each other's name
		return []string{localName(s.ref.File, place)}
	}
	return out
}

func (s *dockerSource) close() error { return s.files.close() }

func (s *dockerSource) where() Reference { return s.ref }
