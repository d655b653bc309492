package ctrlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Records are gathered up to so many bytes for one write(2). A container that
// says little gets the small buffer only: its monitor is to be small, too.
const (
	smallBuffer = 20 << 10
	largeBuffer = 1 << 20
)

// retryAfter is how long a log that cannot be written is left alone: on a full
// disk some file systems take milliseconds to say so.
const retryAfter = 100 * time.Millisecond

// fileSink is the part that both file drivers share: the file, its rotation,
// and what is lost.
type fileSink struct {
	format
	Options
	w    *Writer
	file *os.File // nil: gone, and could not be made again
	size int64
	torn bool   // the file may end within a record
	buf  []byte // records of one stream, empty between calls
	loss loss

	// While away is not nil, file, size and torn are its goroutine's.
	away  *batch
	spare []byte // the other buffer of a log that has had a batch
}

// batch is a full buffer that is being written while the next one is filled:
// making records takes as long as writing them. settle ends it.
type batch struct {
	records []byte
	st      *StreamWriter
	wasOpen bool // what st.open was before them
	done    chan struct{}
	n       int // of records, that are in the log
	err     error
}

// enough is what a batch is made for; a variable for tests only.
var enough = 256 << 10

// loss counts what could not be written since the log last said so.
type loss struct {
	bytes, lines int64
	err          error
	retry        time.Time
}

func openFile(o Options, f format, w *Writer) (*fileSink, error) {
	s := &fileSink{format: f, Options: o, w: w}
	if s.MaxFile < 1 {
		s.MaxFile = 1
	}
	if err := s.openPath(); err != nil {
		return nil, err
	}
	return s, nil
}

// openPath opens what is at the path, or makes it.
func (s *fileSink) openPath() error {
	// O_NONBLOCK: a named pipe that nobody reads must not hold us up.
	f, err := os.OpenFile(s.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", s.Path)
	}
	if err != nil {
		f.Close()
		return err
	}
	s.file, s.size, s.torn = f, st.Size(), false
	if s.size > 0 {
		// A machine that went down, or a full disk, can have left half a record.
		var last [1]byte
		_, err := f.ReadAt(last[:], s.size-1)
		s.torn = err != nil || last[0] != '\n'
	}
	return nil
}

func (s *fileSink) write(st *StreamWriter, p []byte) {
	if s.left() {
		// With what is carried: a line with a hole in it would look whole.
		s.loss.bytes += int64(len(st.carry) + len(p))
		s.loss.lines += int64(bytes.Count(p, []byte{'\n'}))
		st.carry = st.carry[:0]
		return
	}
	s.stamp(now())
	s.reserve(s.need(st, p))
	for len(p) > 0 {
		was := st.open
		s.buf, p = s.records(s.buf, st, p)
		s.put(st, was)
	}
}

// left says that the log is left alone.
func (s *fileSink) left() bool { return s.loss.err != nil && now().Before(s.loss.retry) }

func (s *fileSink) flush(st *StreamWriter) {
	s.settle()
	if len(st.carry) == 0 {
		return
	}
	was := st.open
	s.stamp(now())
	s.reserve(s.need(st, nil))
	s.buf = s.carried(s.buf, st)
	s.put(st, was)
}

func (s *fileSink) reserve(n int) {
	if cap(s.buf) < n && cap(s.buf) < largeBuffer {
		size := smallBuffer
		for size < n && size < largeBuffer {
			size *= 2
		}
		s.buf = make([]byte, 0, size)
	}
}

// put writes the gathered records. wasOpen is what st.open was before them.
func (s *fileSink) put(st *StreamWriter, wasOpen bool) {
	if len(s.buf) == 0 {
		return
	}
	isOpen := st.open
	st.open = wasOpen // until they are written
	s.settle()        // if that failed, it may be otherwise
	b := &batch{records: s.buf, st: st, wasOpen: st.open}
	if s.left() {
		b.err = s.loss.err
	} else {
		b.err = s.sayLost()
	}
	if b.err != nil || len(b.records) < enough {
		if b.err == nil {
			b.n, b.err = s.append(b.records)
		}
		st.open = isOpen
		s.buf = s.buf[:0]
		s.written(b)
		return
	}
	st.open = isOpen
	b.done, s.away = make(chan struct{}), b
	s.buf, s.spare = s.spare[:0], nil
	s.reserve(cap(b.records))
	go func() {
		b.n, b.err = s.append(b.records)
		close(b.done)
	}()
}

// settle waits for what is being written, and draws the conclusions.
func (s *fileSink) settle() {
	b := s.away
	if b == nil {
		return
	}
	<-b.done
	s.away, s.spare = nil, b.records
	s.written(b)
}

// written counts what of a batch could not be written.
func (s *fileSink) written(b *batch) {
	if b.err == nil {
		return
	}
	b.st.open = b.wasOpen
	if b.n > 0 {
		b.st.open = s.partial(b.records[bytes.LastIndexByte(b.records[:b.n-1], '\n')+1 : b.n])
	}
	s.lose(b.records[b.n:], b.err)
}

// lose counts records that could not be written.
func (s *fileSink) lose(records []byte, err error) {
	for len(records) > 0 {
		i := bytes.IndexByte(records, '\n') + 1
		s.loss.bytes += int64(s.payload(records[:i]))
		if !s.partial(records[:i]) {
			s.loss.lines++
		}
		records = records[i:]
	}
	if s.loss.err == nil && s.Warn != nil {
		s.Warn(fmt.Sprintf("write the log %s: %v: output is lost until there is room", s.Path, reason(err)))
	}
	s.loss.err, s.loss.retry = err, now().Add(retryAfter)
}

// reason is an error without the path in it.
func reason(err error) error {
	var inPath *fs.PathError
	if errors.As(err, &inPath) {
		return inPath.Err
	}
	return err
}

// sayLost writes into the log what has been lost since, if anything.
func (s *fileSink) sayLost() error {
	if s.loss.err == nil {
		return nil
	}
	for i := range s.w.streams {
		// Whatever comes next is not the rest of the line that was cut off.
		if st := &s.w.streams[i]; st.open {
			if err := s.say(st.stream, "\n"); err != nil {
				return err
			}
			st.open = false
		}
	}
	text := fmt.Sprintf("coracle: %d bytes (%d lines) of output are missing here: %v\n", s.loss.bytes, s.loss.lines, reason(s.loss.err))
	if err := s.say(Stderr, text); err != nil {
		return err
	}
	if s.Warn != nil {
		s.Warn(fmt.Sprintf("the log is written again: %d bytes (%d lines) are missing in it", s.loss.bytes, s.loss.lines))
	}
	s.loss = loss{}
	return nil
}

// say writes a line of ours.
func (s *fileSink) say(stream Stream, text string) error {
	st := StreamWriter{stream: stream}
	s.stamp(now())
	rec, _ := s.records(make([]byte, 0, s.need(&st, []byte(text))), &st, []byte(text))
	_, err := s.append(rec)
	if err != nil {
		s.loss.retry = now().Add(retryAfter)
	}
	return err
}

func (s *fileSink) close() error {
	s.settle()
	err := s.sayLost()
	if err != nil {
		err = fmt.Errorf("write the log: %w: %d bytes (%d lines): %w", errLost, s.loss.bytes, s.loss.lines, err)
	}
	if s.file != nil {
		if cerr := s.file.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close the log: %w", cerr)
		}
	}
	return err
}
