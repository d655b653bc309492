package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

const minShortID = 4

// Lookup finds an image of the store by name, by name@digest, or by image id,
// which may be shortened. A name without a registry means localhost/NAME
// before docker.io, as in podman. Errors: ErrNotFound, ErrAmbiguous,
// ErrInvalidReference.
func (s *Store) Lookup(name string) (*Image, error) {
	key, stamp := nameKey(name), s.indexStamp()
	if img := s.cached(key, stamp); img != nil {
		return img, nil
	}
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	desc, byName, err := s.find(idx, name)
	if err != nil {
		return s.lookupAdditional(name, err)
	}
	img, err := s.loadNamed(idx, desc)
	if err != nil {
		return nil, fail(nil, "read the image %s", quote(name)).because(err)
	}
	if byName {
		s.remember(key, stamp, img)
	}
	return img, nil
}

// find gives the descriptor that a user's word means.
func (s *Store) find(idx *index, name string) (_ ocispec.Descriptor, byName bool, _ error) {
	id := strings.TrimPrefix(name, "sha256:")
	if isHex(id, 64) {
		desc, err := s.findID(idx, id, name)
		return desc, false, err
	}
	ref, err := ParseReference(name)
	if err == nil && ref.Transport == Docker {
		for _, key := range candidates(ref) {
			if i := idx.find(key); i >= 0 {
				return idx.Manifests[i], true, nil
			}
		}
		if i := idx.findDigest(ref); i >= 0 {
			return idx.Manifests[i], true, nil
		}
		if i := idx.findAlias(ref); i >= 0 {
			return idx.Manifests[i], true, nil
		}
	}
	if i := idx.find(name); i >= 0 { // a word that only skopeo would take for a name
		return idx.Manifests[i], true, nil
	}
	if isHexDigits(id) && len(id) >= minShortID {
		desc, idErr := s.findID(idx, id, name)
		if idErr == nil || err == nil {
			return desc, false, idErr
		}
	}
	if err != nil {
		return ocispec.Descriptor{}, false, err
	}
	return ocispec.Descriptor{}, false, missing(name)
}

func missing(name string) error {
	return fail(ErrNotFound, "no such image in the store: %s", quote(name)).hint("coracle images lists what is there; coracle pull %s fetches it", name)
}

// candidates are the names that a reference may mean in the store.
func candidates(ref Reference) []string {
	if !ref.Short {
		return []string{ref.key()}
	}
	local := ref
	local.Domain, local.Path = localDomain, strings.TrimPrefix(ref.Path, officialRepo)
	return []string{local.key(), ref.key()}
}

// findDigest finds name@digest where the image has been pulled under a tag.
func (idx *index) findDigest(ref Reference) int {
	if ref.Digest == "" {
		return -1
	}
	return slices.IndexFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
		if d.Digest != ref.Digest && d.Annotations[annotationSource] != string(ref.Digest) && d.Annotations[annotationServed] != string(ref.Digest) {
			return false
		}
		have, err := ParseReference(nameOf(d))
		return err == nil && have.Name() == ref.Name()
	})
}

// findAlias finds a short name as registries.conf has it.
func (idx *index) findAlias(ref Reference) int {
	if !ref.Short {
		return -1
	}
	conf, err := readRegistries()
	if err != nil {
		return -1 // a pull will say what is wrong
	}
	list, _ := conf.full(ref)
	for _, r := range list {
		if i := idx.find(r.key()); i >= 0 {
			return i
		}
	}
	return -1
}

// findID finds the one image whose id begins with these digits.
func (s *Store) findID(idx *index, prefix, typed string) (ocispec.Descriptor, error) {
	var found ocispec.Descriptor
	ids := map[digest.Digest]bool{}
	for _, d := range idx.Manifests {
		id := digest.Digest(d.Annotations[annotationID])
		if checkDigest(string(id)) != "" {
			img, err := s.load(d) // another tool's entry
			if err != nil {
				continue
			}
			id = img.ID
		}
		if strings.HasPrefix(id.Encoded(), prefix) || d.Digest.Validate() == nil && strings.HasPrefix(d.Digest.Encoded(), prefix) {
			// Prefer the entry with a name, for what it knows besides.
			if len(ids) == 0 || nameOf(found) == "" {
				found = d
			}
			ids[id] = true
		}
	}
	switch len(ids) {
	case 0:
		return found, missing(typed)
	case 1:
		return found, nil
	}
	return found, fail(ErrAmbiguous, "%d images have an id that begins with %s", len(ids), quote(typed)).hint("give more digits; coracle images --no-trunc shows them")
}

// stamp is the identity of index.json as it is on the disk. What was read
// under one stamp holds as long as the stamp does.
type stamp struct {
	Dev, Ino uint64
	Size     int64
	MTime    int64 // nanoseconds
	CTime    int64
}

func (s *Store) indexStamp() stamp {
	var st unix.Stat_t
	if unix.Stat(s.indexPath(), &st) != nil {
		return stamp{}
	}
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()} //nolint:unconvert // 32 bits on some architectures
}

// record is what one name meant.
type record struct {
	Version int
	Key     string
	Stamp   stamp
	Image   *Image
}

const recordVersion = 1

func nameKey(name string) string {
	if ref, err := ParseReference(name); err == nil && ref.Transport == Docker {
		return strings.Join(candidates(ref), "|")
	}
	return name
}

func (s *Store) recordPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.namesDir(), hex.EncodeToString(sum[:16])+".json")
}

// cached keeps a run from reading an index.json of 500 images.
func (s *Store) cached(key string, now stamp) *Image {
	data, err := os.ReadFile(s.recordPath(key))
	if err != nil {
		return nil
	}
	var r record
	if json.Unmarshal(data, &r) != nil || r.Version != recordVersion || r.Key != key || r.Stamp != now || now == (stamp{}) {
		return nil
	}
	return r.Image
}

// remember is an optimisation: its failures (a store of others) are ignored.
func (s *Store) remember(key string, at stamp, img *Image) {
	// A change within the clock's tick could leave the stamp as it is.
	if at == (stamp{}) || time.Since(time.Unix(0, at.CTime)) < clockTick || s.indexStamp() != at {
		return
	}
	data, err := json.Marshal(record{recordVersion, key, at, img})
	if err != nil {
		return
	}
	s.cache(s.recordPath(key), data)
}

func (s *Store) namesDir() string { return filepath.Join(s.root, "cache", "names") }

// forgetNames removes what is remembered of names. The next look at one remembers it again.
func (s *Store) forgetNames() {
	entries, _ := os.ReadDir(s.namesDir()) // without it there is nothing to forget
	for _, e := range entries {
		os.Remove(filepath.Join(s.namesDir(), e.Name()))
	}
}
