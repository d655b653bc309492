package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"coracle/internal/plainfile"
	"coracle/internal/plainjson"

	"golang.org/x/sys/unix"
)

// state.json is a line for each time the state was written, of which the last
// counts. A line comes about by one write(2), and files grow when what they grow by
// is there: a reader sees it or does not, and neither needs a second file, which
// some file systems write out before they give it the name of the first.

// appendState adds a line to a state file, or makes it with one.
func appendState(path string, line []byte) error {
	fd, err := plainfile.Retry(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if st.Mode&0o777 != 0o600 { // a umask that takes from the owner
		if err := unix.Fchmod(fd, 0o600); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	text := make([]byte, 0, len(line)+2)
	if st.Size > 0 {
		text = append(text, '\n') // the last writer may have been killed in its line
	}
	text = append(append(text, line...), '\n')
	n, err := plainfile.Retry(func() (int, error) { return unix.Write(fd, text) })
	if err == nil && n < len(text) {
		err = unix.ENOSPC
	}
	if err != nil {
		return errors.Join(&fs.PathError{Op: "write", Path: path, Err: err}, unix.Ftruncate(fd, st.Size))
	}
	return nil
}

// decodeState reads the last whole line of a state file; io.EOF without any.
func decodeState(data []byte) (record, error) {
	for {
		rest := bytes.TrimRight(data, "\n")
		whole := len(rest) < len(data)
		if len(rest) == 0 {
			return record{}, io.EOF
		}
		start := bytes.LastIndexByte(rest, '\n') + 1
		var r record
		err := plainjson.Decode(rest[start:], &r)
		if err == nil || whole || start == 0 {
			return r, err
		}
		data = rest[:start]
	}
}
