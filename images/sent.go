package images

import (
	"encoding/json"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
)

// What was sent to a repository can be mounted from there into another one of the same
// registry. Names of images tell of some; cache/sent.json of the others: it may be lost,
// old or wrong, and a registry that does not mount what is asked for takes an upload.

const (
	sentVersion = 1
	maxSent     = 200     // repositories, the latest
	maxSentFile = 4 << 20 // bytes
)

type sentRecord struct {
	Version      int
	Repositories []sentTo // the latest first
}

// sentTo is a repository with the blobs of the image that went there last, in whatever
// compression they had.
type sentTo struct {
	Domain, Path string
	Blobs        []digest.Digest
}

func (s *Store) sentPath() string { return filepath.Join(s.root, "cache", "sent.json") }

func (s *Store) lastSent() []sentTo {
	var r sentRecord
	data, err := readBounded(s.sentPath(), maxSentFile)
	if err != nil || json.Unmarshal(data, &r) != nil || r.Version != sentVersion {
		return nil
	}
	return r.Repositories
}

// rememberSent notes where blobs are now.
func (s *Store) rememberSent(to Reference, blobs []digest.Digest) {
	all := slices.DeleteFunc(s.lastSent(), func(t sentTo) bool { return t.Domain == to.Domain && t.Path == to.Path })
	all = slices.Insert(all, 0, sentTo{to.Domain, to.Path, blobs})
	data, err := json.Marshal(sentRecord{sentVersion, all[:min(len(all), maxSent)]})
	if err == nil && len(data) <= maxSentFile {
		s.cache(s.sentPath(), data)
	}
}

// addSent adds the repositories that something of an image has been sent to, with all
// that went there: the configuration is the same, however the layers are compressed.
func (s *Store) addSent(froms map[digest.Digest][]string, wanted map[digest.Digest]bool, to Reference) {
	for _, t := range s.lastSent() {
		if t.Domain != to.Domain || t.Path == to.Path || !slices.ContainsFunc(t.Blobs, func(d digest.Digest) bool { return wanted[d] }) {
			continue
		}
		for _, d := range t.Blobs {
			if len(froms[d]) < maxNeighbours && !slices.Contains(froms[d], t.Path) {
				froms[d] = append(froms[d], t.Path)
			}
		}
	}
}
