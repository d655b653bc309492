package images

import (
	"cmp"
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

// Listed is what a list shows of an image.
type Listed struct {
	ID      digest.Digest // of the configuration
	Digest  digest.Digest // of the manifest
	Source  digest.Digest // what the tag pointed to when it was pulled
	Names   []string      // full names, sorted
	Created time.Time     // zero when the image does not say
	Size    int64         // bytes of manifest, configuration and layers as they are stored
	Labels  map[string]string
	Store   string `json:",omitempty"` // the additional store that it is in; "" for the store's own
}

func (i *Image) listed() Listed {
	return Listed{ID: i.ID, Digest: i.Manifest.Digest, Source: i.Source, Names: i.Names, Created: i.Created, Size: i.Size, Labels: i.Config.Config.Labels, Store: i.Store}
}

// calledEntry is an image of index.json with all its names.
type calledEntry struct {
	desc  ocispec.Descriptor
	names []string
}

// called gives each image of the index once. The names are read all at once: for each image
// anew they would be parsed as often as there are pairs.
func (idx *index) called() []calledEntry {
	at := map[digest.Digest]int{}
	var out []calledEntry
	for _, d := range idx.Manifests {
		i, seen := at[d.Digest]
		if !seen {
			i = len(out)
			at[d.Digest] = i
			out = append(out, calledEntry{desc: d})
		}
		if n := nameOf(d); n != "" {
			out[i].names = append(out[i].names, n)
		}
	}
	return out
}

// Images reads all images of the store, newest first. One that cannot be read
// is left out and named in the error, which comes with the rest. Those of additional
// stores come last.
func (s *Store) Images() ([]Image, error) {
	return s.withAdditional(s.ownImages())
}

func (s *Store) ownImages() ([]Image, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []Image
	var bad []string
	for _, e := range idx.called() {
		img, err := s.loadCalled(e.desc, e.names)
		if err != nil {
			bad = append(bad, badEntry(e, err))
			continue
		}
		out = append(out, *img)
	}
	slices.SortStableFunc(out, func(a, b Image) int { return b.Created.Compare(a.Created) })
	return out, badEntries(bad)
}

func badEntry(e calledEntry, err error) string {
	return cmp.Or(nameOf(e.desc), string(e.desc.Digest)) + ": " + err.Error()
}

func badEntries(bad []string) error {
	if len(bad) == 0 {
		return nil
	}
	return fail(ErrCorrupt, "read the store: %s", strings.Join(bad, "; ")).hint("remove such an image (coracle rmi --force) and pull it again")
}

// listRecord is the list as it was shown last. Nothing but lists is made of it: who uses an
// image reads it by its digest. It may be absent, old, damaged or another's.
type listRecord struct {
	Version  int
	Platform string // which images were taken from indexes
	Stamp    stamp  // of index.json
	Rows     []listRow
}

// listRow is an image with what it was read from.
type listRow struct {
	Listed
	Key   string // what index.json has of it besides names
	Files []fileStamp
}

// fileStamp is the identity of a blob's file: what was read of it holds as long as it does.
type fileStamp struct {
	Blob  digest.Digest
	Ino   uint64
	Size  int64
	CTime int64
}

const (
	listVersion = 1
	maxListFile = 64 << 20
	// clockTick: two changes within it may leave the same time on a file.
	clockTick = 50 * time.Millisecond
)

func (s *Store) listPath() string { return filepath.Join(s.root, "cache", "list.json") }

// List is Images for who only shows them: what was read the last time is read again only
// where its files have changed. It says nothing of damage that left a file's times alone.
func (s *Store) List() ([]Listed, error) {
	own, err := s.ownList()
	if len(s.additional) == 0 {
		return own, err
	}
	var ids []Image
	for _, l := range own {
		ids = append(ids, Image{ID: l.ID})
	}
	all, err := s.withAdditional(ids, err)
	for i := len(own); i < len(all); i++ {
		own = append(own, all[i].listed())
	}
	return own, err
}

func (s *Store) ownList() ([]Listed, error) {
	now := s.indexStamp()
	had := s.lastList()
	if had.Stamp == now && now != (stamp{}) && s.unchanged(had.Rows) {
		return listedOf(had.Rows), nil
	}
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	known := map[string]listRow{}
	for _, r := range had.Rows {
		known[r.Key] = r
	}
	var rows []listRow
	var bad []string
	for _, e := range idx.called() {
		r, ok := known[rowKey(e.desc)]
		if !ok || !s.unchanged([]listRow{r}) {
			if r, err = s.readRow(e); err != nil {
				bad = append(bad, badEntry(e, err))
				continue
			}
		}
		r.Names = sortedNames(e.names)
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b listRow) int { return b.Created.Compare(a.Created) })
	if len(bad) == 0 {
		s.rememberList(now, rows)
	}
	return listedOf(rows), badEntries(bad)
}

func listedOf(rows []listRow) []Listed {
	out := make([]Listed, len(rows))
	for i, r := range rows {
		out[i] = r.Listed
	}
	return out
}

// rowKey is what an image's row is made of, besides its names.
func rowKey(d ocispec.Descriptor) string {
	return strings.Join([]string{string(d.Digest), d.Annotations[annotationServed], d.Annotations[annotationSource]}, " ")
}

func (s *Store) readRow(e calledEntry) (listRow, error) {
	img, err := s.loadCalled(e.desc, e.names)
	if err != nil {
		return listRow{}, err
	}
	r := listRow{Listed: img.listed(), Key: rowKey(e.desc)}
	// Also the index that led to the manifest, where one did.
	for _, d := range []digest.Digest{e.desc.Digest, img.Manifest.Digest, img.ID} {
		if len(r.Files) == 0 || r.Files[0].Blob != d {
			r.Files = append(r.Files, s.fileStamp(d))
		}
	}
	return r, nil
}

func (s *Store) fileStamp(d digest.Digest) fileStamp {
	var st unix.Stat_t
	if wantSHA256(d) != nil || unix.Lstat(s.root+"/blobs/sha256/"+d.Encoded(), &st) != nil {
		return fileStamp{Blob: d}
	}
	return fileStamp{Blob: d, Ino: st.Ino, Size: st.Size, CTime: st.Ctim.Nano()}
}

func (s *Store) unchanged(rows []listRow) bool {
	for _, r := range rows {
		for _, f := range r.Files {
			if f.Ino == 0 || s.fileStamp(f.Blob) != f {
				return false
			}
		}
	}
	return true
}

func (s *Store) lastList() listRecord {
	var r listRecord
	data, err := readBounded(s.listPath(), maxListFile)
	if err != nil || json.Unmarshal(data, &r) != nil || r.Version != listVersion || r.Platform != formatPlatform(s.opts.Platform) {
		return listRecord{}
	}
	return r
}

// rememberList is an optimisation, as remember is. A file that has just been written is not
// remembered: the next write could leave its times as they are.
func (s *Store) rememberList(at stamp, rows []listRow) {
	settled := time.Now().Add(-clockTick).UnixNano()
	if at == (stamp{}) || at.CTime > settled || s.indexStamp() != at {
		return
	}
	for _, r := range rows {
		if slices.ContainsFunc(r.Files, func(f fileStamp) bool { return f.CTime > settled }) {
			return
		}
	}
	data, err := json.Marshal(listRecord{Version: listVersion, Platform: formatPlatform(s.opts.Platform), Stamp: at, Rows: rows})
	if err == nil {
		s.cache(s.listPath(), data)
	}
}

// cache writes a file that may be lost. No fsync: a torn one is not valid JSON, and only
// costs a second look.
func (s *Store) cache(path string, data []byte) {
	t, err := s.newTemp()
	if err != nil {
		return
	}
	defer t.discard()
	if _, err := t.Write(data); err == nil && os.Rename(t.Name(), path) == nil {
		t.done = true
		t.Close()
	}
}
