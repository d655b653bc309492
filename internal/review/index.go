package review

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unicode/utf8"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Print tells a file of the host's from what it becomes later. The device number is
// not in it: it is another one after the next boot.
type Print struct {
	Ino   uint64 `json:"ino"`
	Mode  uint32 `json:"mode"` // with the type
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // nanoseconds
	Ctime int64  `json:"ctime"`
	Links uint32 `json:"links,omitempty"` // 0: not known
}

func printOf(st *unix.Stat_t, links uint32) Print {
	return Print{Ino: st.Ino, Mode: st.Mode, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Links: links}
}

// changed is whether the file has become another one. That another name of it has gone,
// which changes its ctime, does not count: an apply does that.
func (p Print) changed(now Print) bool {
	if p.Links == 0 {
		now.Links = 0
	}
	return p != now && (now.Links >= p.Links || p.moved(now))
}

// moved is whether a file that was renamed, which changes its ctime, is another one.
func (p Print) moved(q Print) bool {
	p.Ctime, q.Ctime, p.Links, q.Links = 0, 0, 0, 0
	return p != q
}

// sameDirectory ignores what changes with the names in it.
func (p Print) sameDirectory(q Print) bool { return p.Ino == q.Ino && p.Mode == q.Mode }

// Index is what the host had in the places that the sandbox has changed, when the
// sandbox ended. A path that is not there had nothing.
type Index struct {
	Version  int            `json:"version"`
	Overlays []IndexOverlay `json:"overlays"`
}

// IndexOverlay is that of one overlay.
type IndexOverlay struct {
	Was map[string]Print `json:"was"`
	// Done are the changes that were applied. They are no changes any more, whatever
	// the host has there later.
	Done map[string]bool `json:"done,omitempty"`
}

func (s *Sandbox) indexPath() string { return filepath.Join(s.Dir, "index.json") }

// readIndex gives nil where the sandbox was killed before it was written.
func (s *Sandbox) readIndex() (*Index, error) {
	data, err := plainfile.Read(s.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var x Index
	if err := json.Unmarshal(data, &x); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.indexPath(), err)
	}
	if x.Version != Version || len(x.Overlays) != len(s.Overlays) {
		return nil, fmt.Errorf("read %s: it is of version %d with %d overlays, and no index of this sandbox", s.indexPath(), x.Version, len(x.Overlays))
	}
	return &x, nil
}

// key is a path as JSON can have it: one that is no UTF-8 as a NUL and hexadecimal digits.
func key(path string) string {
	if utf8.ValidString(path) {
		return path
	}
	return "\x00" + hex.EncodeToString([]byte(path))
}

func unkey(k string) (string, error) {
	if k == "" || k[0] != 0 {
		return k, nil
	}
	b, err := hex.DecodeString(k[1:])
	return string(b), err
}

// writeIndex replaces it; with sync it is on the disk afterwards.
func (s *Sandbox) writeIndex(x *Index, sync bool) error {
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return replaceFile(s.indexPath(), data, sync)
}
