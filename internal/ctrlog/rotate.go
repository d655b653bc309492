package ctrlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// append writes whole records, into as many files as the limit asks for. It
// gives the length of the records that are in the log for good.
func (s *fileSink) append(records []byte) (int, error) {
	done := 0
	if err := s.present(); err != nil {
		return 0, err
	}
	for done < len(records) {
		part := records[done:]
		if s.MaxSize > 0 && s.size+int64(len(part)) > s.MaxSize {
			room := max(s.MaxSize-s.size, 0)
			fits := bytes.LastIndexByte(part[:room], '\n') + 1
			if fits == 0 && s.size > 0 {
				if err := s.rotate(); err != nil {
					return done, err
				}
				continue
			}
			if fits == 0 { // one record that is longer than the limit
				fits = bytes.IndexByte(part, '\n') + 1
			}
			part = part[:fits]
		}
		n, err := s.appendHere(part)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// present makes sure that what is written can be read by somebody: a file that
// was removed is made again, one that was truncated is as long as it is.
func (s *fileSink) present() error {
	if s.file != nil {
		var st unix.Stat_t
		if err := unix.Fstat(int(s.file.Fd()), &st); err != nil {
			return fmt.Errorf("stat %s: %w", s.Path, err)
		}
		if st.Nlink > 0 {
			if st.Size < s.size {
				s.torn = false // what was torn is gone; see openPath for what is not
			}
			s.size = st.Size
			return nil
		}
		s.file.Close()
		s.file = nil
	}
	return s.openPath()
}

// appendHere writes records to the present file. After a failure the file ends
// with the last record that is whole.
func (s *fileSink) appendHere(records []byte) (int, error) {
	if s.torn {
		if _, err := s.file.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		s.torn = false
		s.size++
	}
	n, err := s.file.Write(records)
	s.size += int64(n)
	if err == nil {
		return n, nil
	}
	whole := bytes.LastIndexByte(records[:n], '\n') + 1
	if whole < n {
		// Half a record would read as a line that says less than it did.
		if terr := s.file.Truncate(s.size - int64(n-whole)); terr != nil {
			s.torn = true
		} else {
			s.size -= int64(n - whole)
		}
	}
	return whole, err
}

// rotated is the name of the n-th file before the present one, as docker's.
func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// rotate begins a new file. The old ones move up by renames, the oldest of
// MaxFile goes first: on a full disk that makes the room. The new file is
// there before the present one gives up its name.
func (s *fileSink) rotate() error {
	last := s.MaxFile - 1
	if last > 0 {
		if err := os.Remove(rotated(s.Path, last)); err != nil && !isNotExist(err) {
			return fmt.Errorf("rotate the log: %w", err)
		}
	}
	// A new one, also in a directory where others can put files: not theirs.
	fresh := s.Path + ".new"
	_ = os.Remove(fresh)
	f, err := os.OpenFile(fresh, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("rotate the log: %w", err)
	}
	for n := last; n > 0; n-- {
		if err := os.Rename(rotated(s.Path, n-1), rotated(s.Path, n)); err != nil && !isNotExist(err) {
			f.Close()
			return fmt.Errorf("rotate the log: %w", err)
		}
	}
	if err := os.Rename(fresh, s.Path); err != nil {
		f.Close()
		return fmt.Errorf("rotate the log: %w", err)
	}
	s.file.Close()
	s.file, s.size, s.torn = f, 0, false
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
