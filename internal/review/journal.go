package review

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coracle/images/layer"
	"coracle/internal/plainfile"
	"coracle/internal/randid"

	"golang.org/x/sys/unix"
)

// journal is there while an apply has begun and not ended. What has been brought over
// is found by comparing, so all it has to say is where something of the apply's own
// may lie.
type journal struct {
	// Temp is the name, in each of Dirs, of a file before it takes its place and of what
	// it has replaced before that goes. It is random, and made after the sandbox has
	// ended: no file of the sandbox's has it.
	Temp      string     `json:"temp"`
	Dirs      [][]string `json:"dirs"` // by overlay
	KeepSetID bool       `json:"keepSetID,omitempty"`
}

func (s *Sandbox) journalPath() string { return filepath.Join(s.Dir, "apply.json") }

// readJournal gives nil where no apply was interrupted.
func (s *Sandbox) readJournal() (*journal, error) {
	data, err := plainfile.Read(s.journalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := &journal{}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.journalPath(), err)
	}
	if len(j.Temp) < 16 || filepath.Base(j.Temp) != j.Temp || len(j.Dirs) > len(s.Overlays) {
		return nil, fmt.Errorf("read %s: it is no journal of this sandbox", s.journalPath())
	}
	return j, nil
}

// Interrupted says whether an apply has begun and not ended.
func (s *Sandbox) Interrupted() bool {
	_, err := os.Lstat(s.journalPath())
	return err == nil
}

// begin writes the journal of an apply of these changes, once the rests of one before
// are gone.
func (s *Sandbox) begin(chosen []Change, keepSetID bool) (*journal, error) {
	if err := s.clean(); err != nil {
		return nil, err
	}
	j := &journal{Temp: ".coracle-" + randid.New(12), Dirs: make([][]string, len(s.Overlays)), KeepSetID: keepSetID}
	for _, ch := range chosen {
		dir, _ := split(ch.Path)
		if list := j.Dirs[ch.overlay]; len(list) == 0 || list[len(list)-1] != key(dir) {
			j.Dirs[ch.overlay] = append(list, key(dir))
		}
	}
	data, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	return j, replaceFile(s.journalPath(), data, true)
}

// clean removes what an apply that was killed has left beside the host's files. The
// journal itself stays, for the scan that follows.
func (s *Sandbox) clean() error {
	j, err := s.readJournal()
	if j == nil || err != nil {
		return err
	}
	for i, dirs := range j.Dirs {
		if len(dirs) == 0 {
			continue
		}
		root, err := openat(unix.AT_FDCWD, s.Overlays[i].Path, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return &fs.PathError{Op: "open", Path: s.Overlays[i].Path, Err: err}
		}
		err = cleanDirs(root, dirs, j.Temp)
		unix.Close(root)
		if err != nil {
			return err
		}
	}
	return nil
}

func cleanDirs(root int, dirs []string, temp string) error {
	for _, dir := range dirs {
		name, err := unkey(dir)
		if err != nil {
			return err
		}
		fd, err := beneath(root, name, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue // it was not made yet, or is something else now
		}
		err = layer.RemoveAll(fd, temp)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("clear up after an apply that was interrupted, in %s: %w", dir, err)
		}
	}
	return nil
}
