package ctrlog

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Writer keeps the output of one container. Its streams may be written from
// several goroutines.
type Writer struct {
	mu      sync.Mutex
	sink    sink // nil: driver none, or closed
	streams [2]StreamWriter
}

// sink is a driver's own part. All calls are made with the writer's lock held.
type sink interface {
	write(s *StreamWriter, p []byte) // everything of p, or counted as lost
	flush(s *StreamWriter)           // what is carried of an unfinished line
	close() error
}

// StreamWriter is one stream's end of a Writer.
type StreamWriter struct {
	w      *Writer
	stream Stream
	carry  []byte // json-file, journald: the beginning of an unfinished line
	open   bool   // the last record of this stream in the log is an unfinished line
}

// Open opens or makes the log. An existing one is continued.
func Open(o Options) (*Writer, error) {
	if o.Driver == "" {
		o.Driver = Default
	}
	if err := checkDriver(o.Driver); err != nil {
		return nil, err
	}
	w := &Writer{}
	for i := range w.streams {
		w.streams[i] = StreamWriter{w: w, stream: Stream(i)}
	}
	var err error
	switch o.Driver {
	case K8sFile:
		w.sink, err = openFile(o, newK8sFormat(), w)
	case JSONFile:
		w.sink, err = openFile(o, newJSONFormat(o), w)
	case Journald:
		w.sink, err = openJournal(o)
	}
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return w, nil
}

// Stream gives the end for one of the two streams.
func (w *Writer) Stream(s Stream) *StreamWriter { return &w.streams[s] }

// Write logs a chunk of the stream. It always takes all of p, keeps none of
// it, waits for nothing but the disk, and fails only after Close.
func (s *StreamWriter) Write(p []byte) (int, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.sink != nil {
		s.w.sink.write(s, p)
	}
	return len(p), nil
}

// Flush writes what is carried of an unfinished line, so that readers see it.
// Call it at the end of the stream, and where a prompt should be seen.
func (s *StreamWriter) Flush() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.sink != nil {
		s.w.sink.flush(s)
	}
}

// Flush flushes both streams.
func (w *Writer) Flush() {
	w.streams[Stdout].Flush()
	w.streams[Stderr].Flush()
}

// Close flushes and closes the log. Its error says that output was lost of
// which the log itself does not tell. What is written later is dropped.
func (w *Writer) Close() error {
	w.Flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sink == nil {
		return nil
	}
	err := w.sink.close()
	w.sink = nil
	return err
}

// now is a variable for tests only.
var now = time.Now

var errLost = errors.New("output was lost")
