package denial

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Record is what is kept of one run, in ROOT/denials/ID.json.
type Record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // of its changes, where some are kept
	Command []string  `json:"command"`
	Cwd     string    `json:"cwd"`
	Started time.Time `json:"started"`
	// Recorded says what was: all, or network, where nobody asked for more.
	Recorded string   `json:"recorded"`
	Denials  []Denial `json:"denials"`
	// Further are those that the list has no room for.
	Further uint64 `json:"further"`
}

const (
	recordVersion = 1
	// keep and age bound the records.
	keep = 32
	age  = 30 * 24 * time.Hour
	// largest is what one may have.
	largest = 8 << 20
)

// ErrNone: nothing was recorded.
var ErrNone = errors.New("nothing was recorded")

func records(root string) string { return filepath.Join(root, "denials") }

// Save keeps a record, and drops the oldest.
func Save(root string, r Record) error {
	r.Version = recordVersion
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(records(root), 0o700); err != nil {
		return err
	}
	name := filepath.Join(records(root), r.ID+".json")
	// Not synced: after a power failure nobody asks what was refused before.
	if err := plainfile.Write(name+".new", data, 0o600, unix.O_TRUNC); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	sweep(root, time.Now())
	return nil
}

type file struct {
	name  string
	since time.Time
}

// list gives the records' files, the newest first.
func list(root string) ([]file, error) {
	entries, err := os.ReadDir(records(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			out = append(out, file{filepath.Join(records(root), e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(out, func(a, b file) int { return cmp.Or(b.since.Compare(a.since), strings.Compare(a.name, b.name)) })
	return out, err
}

// sweep drops what is old, and more than are kept.
func sweep(root string, now time.Time) {
	all, _ := list(root)
	for i, f := range all {
		if i >= keep || now.Sub(f.since) > age {
			os.Remove(f.name)
		}
	}
}

// Load gives the record whose id begins so; the last one for "".
func Load(root, id string) (Record, error) {
	all, err := list(root)
	if err != nil {
		return Record{}, err
	}
	var found []file
	for _, f := range all {
		base, is := strings.CutSuffix(filepath.Base(f.name), ".json")
		if is && strings.HasPrefix(base, id) {
			found = append(found, f)
		}
	}
	switch {
	case len(found) == 0:
		return Record{}, ErrNone
	case id != "" && len(found) > 1:
		return Record{}, fmt.Errorf("%d runs have ids that begin so", len(found))
	}
	return read(found[0].name)
}

func read(name string) (r Record, err error) {
	if st, err := os.Stat(name); err == nil && st.Size() > largest {
		return r, fmt.Errorf("read %s: it is too large", name)
	}
	data, err := plainfile.Read(name)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", name, err)
	}
	if r.Version != recordVersion {
		return r, fmt.Errorf("read %s: it is of version %d, this program knows %d", name, r.Version, recordVersion)
	}
	return r, nil
}

// Forget drops the record of an id; all for "".
func Forget(root, id string) {
	if id != "" {
		os.Remove(filepath.Join(records(root), filepath.Base(id)+".json"))
		return
	}
	all, _ := list(root)
	for _, f := range all {
		os.Remove(f.name)
	}
	os.Remove(records(root))
}
