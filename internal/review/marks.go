package review

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// marks are what the file system of the store could not hold of a layer that Carry has
// brought to it: which names delete the host's (whiteouts), and which directories hide
// what the host has in them (opaque ones). An overlay takes no whiteout, for it would be
// its own, and NFS no device. In the layer stands an empty file, or the directory
// without its attribute. The file N/marks has w or o and the path of each, with a zero
// byte behind it.
type marks struct{ whiteout, opaque map[string]bool }

func (m marks) isWhiteout(path string, dir int, name string, st *unix.Stat_t) bool {
	return m.whiteout[path] || layer.IsWhiteout(dir, name, st)
}

func (m marks) isOpaque(path string, fd int) bool { return m.opaque[path] || layer.IsOpaque(fd) }

func (s *Sandbox) marksFile(i int) string {
	return filepath.Join(s.Dir, filepath.Dir(s.Overlays[i].Upper), "marks")
}

func (s *Sandbox) readMarks(i int) (marks, error) {
	m := marks{map[string]bool{}, map[string]bool{}}
	file := s.marksFile(i)
	data, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return m, err
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
		path, whiteout := strings.CutPrefix(string(line), "w")
		if whiteout {
			m.whiteout[path] = true
			continue
		}
		path, opaque := strings.CutPrefix(string(line), "o")
		if !opaque {
			return m, fmt.Errorf("%s: there is something else in it", file)
		}
		m.opaque[path] = true
	}
	return m, nil
}

// writeMarks is for the first time, before the record: synced with it.
func (s *Sandbox) writeMarks(i int, m marks) error {
	var b bytes.Buffer
	for path := range m.whiteout {
		b.WriteString("w" + path + "\x00")
	}
	for path := range m.opaque {
		b.WriteString("o" + path + "\x00")
	}
	if b.Len() == 0 {
		return nil
	}
	return os.WriteFile(s.marksFile(i), b.Bytes(), 0o600)
}

// notHeld says that a file system refuses something as such, and not for want of room.
func notHeld(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES)
}
