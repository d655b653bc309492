package ctrlog

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// maxLine is the longest line of a log file that is read; what our writer makes
// is a tenth of it. A longer one is no record.
const maxLine = 1 << 20

// source reads the records of one log, from its oldest file to its newest.
type source struct {
	*decoder
	path   string
	follow bool
	bad    int64 // lines that are no records

	files   []*os.File // the first is being read
	number  int        // of the first, in the row as it was opened
	from    [2]position
	all     bool  // from is behind us
	limit   int64 // of the last file; < 0: none
	off     int64 // up to where the first was read into buf
	buf     []byte
	start   int  // buf[start:] is not consumed
	skip    bool // the line is too long: drop what comes until its end
	drained bool // the file was read to its end after it had lost its name
}

// openSource opens a log for reading its last lines; tail < 0 is all. If it is
// not followed, the end is where it is now.
func openSource(driver, path string, tail int, follow bool) (*source, error) {
	files, err := openAll(path)
	if err != nil {
		return nil, err
	}
	s := &source{decoder: newDecoder(driver), path: path, follow: follow, files: files, limit: -1}
	if len(files) == 0 {
		return s, nil
	}
	st, err := files[len(files)-1].Stat()
	if err != nil {
		s.close()
		return nil, err
	}
	if tail >= 0 {
		if s.from, err = tailStart(files, st.Size(), tail, newDecoder(driver)); err != nil {
			s.close()
			return nil, err
		}
	}
	first := s.from[0]
	if s.from[1].before(first) {
		first = s.from[1]
	}
	closeAll(files[:first.file])
	s.files, s.number, s.off = files[first.file:], first.file, first.off
	if !follow {
		s.limit = st.Size()
	}
	return s, nil
}

func (s *source) close() {
	closeAll(s.files)
	s.files = nil
}

// next gives the next record. io.EOF: there is none; with follow, none yet.
func (s *source) next() (record, error) {
	for {
		line, err := s.line()
		if err != nil {
			return record{}, err
		}
		r, ok := s.parse(s.decoder, line)
		switch {
		case !ok:
			s.bad++
		case s.shows(r.stream, len(line)):
			return r, nil
		}
	}
}

// shows says whether the record that was just read, of a line of that length,
// is from where its stream is shown.
func (s *source) shows(stream Stream, length int) bool {
	if s.all {
		return true
	}
	at := position{s.number, s.off - int64(len(s.buf)-s.start) - int64(length) - 1}
	s.all = !at.before(s.from[0]) && !at.before(s.from[1])
	return !at.before(s.from[stream])
}

func (s *source) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(s.buf[s.start:], '\n'); i >= 0 {
			line := s.buf[s.start : s.start+i]
			s.start += i + 1
			if !s.skip {
				return line, nil
			}
			s.skip = false
			s.bad++
			continue
		}
		n, err := s.fill()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			continue
		}
		// What the writer has not finished is read again from its beginning: it may
		// turn out otherwise, after a full disk.
		s.off -= int64(len(s.buf) - s.start)
		s.buf, s.start = s.buf[:0], 0
		more, err := s.advance()
		if err != nil {
			return nil, err
		}
		if !more {
			return nil, io.EOF
		}
	}
}

// fill reads on in the present file; 0 is its end.
func (s *source) fill() (int, error) {
	if len(s.files) == 0 {
		return 0, nil
	}
	s.buf = append(s.buf[:0], s.buf[s.start:]...)
	s.start = 0
	if len(s.buf) > maxLine {
		s.buf, s.skip = s.buf[:0], true
	}
	if free := cap(s.buf) - len(s.buf); free < 16<<10 {
		s.buf = append(make([]byte, 0, max(64<<10, 2*cap(s.buf))), s.buf...)
	}
	room := s.buf[len(s.buf):cap(s.buf)]
	if s.limit >= 0 && len(s.files) == 1 {
		room = room[:min(int64(len(room)), max(s.limit-s.off, 0))]
	}
	if len(room) == 0 {
		return 0, nil
	}
	n, err := s.files[0].ReadAt(room, s.off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.off += int64(n)
	s.buf = s.buf[:len(s.buf)+n]
	return n, err
}

// advance is called at the end of a file and says whether there is more to read
// elsewhere.
func (s *source) advance() (bool, error) {
	if len(s.files) > 1 {
		s.files[0].Close()
		s.files = s.files[1:]
		all := s.all
		s.begin()
		s.all, s.number = all, s.number+1
		return true, nil
	}
	if !s.follow {
		return false, nil
	}
	if len(s.files) == 0 {
		f, err := openLog(s.path)
		if err != nil {
			return false, ignoreNotExist(err)
		}
		s.files = []*os.File{f}
		s.begin()
		return true, nil
	}
	st, err := s.files[0].Stat()
	if err != nil {
		return false, err
	}
	if st.Size() < s.off { // somebody has emptied it
		s.begin()
		return true, nil
	}
	return s.rotate()
}

// rotate goes on to the file that comes after one that has lost its name. The
// writer gives it up only after the last word: it is read to its end once more.
func (s *source) rotate() (bool, error) {
	if sameFile(s.files[0], s.path) {
		return false, nil
	}
	if _, err := os.Lstat(s.path); err != nil {
		return false, ignoreNotExist(err) // between two renames, or removed
	}
	if !s.drained {
		s.drained = true
		return true, nil
	}
	f, err := following(s.files[0], s.path)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, ignoreNotExist(err)
	}
	s.files[0].Close()
	s.files[0] = f
	s.begin()
	return true, nil
}

// begin is at the beginning of a file. What was not there when the log was
// opened is shown.
func (s *source) begin() {
	s.off, s.buf, s.start, s.skip, s.drained, s.all = 0, s.buf[:0], 0, false, false, true
}

func ignoreNotExist(err error) error {
	if isNotExist(err) {
		return nil
	}
	return err
}
