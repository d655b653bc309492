package ctrlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Log is one container's log to be read.
type Log struct {
	Driver, Path string

	// Prefix stands before each of its lines, such as a name. It is needed where
	// several logs go to one place.
	Prefix string
	// Color is the escape sequence that its lines are written in; "" for none.
	Color string
	// Over is closed when the container has ended and its log is closed. A
	// follower then reads what is left and ends; nil is never.
	Over <-chan struct{}
}

// ReadOptions say which lines are read and how they are shown.
type ReadOptions struct {
	Since, Until time.Time // inclusive; zero: no limit
	Tail         int       // the last lines only; < 0 is all
	Follow       bool
	Timestamps   bool

	// Warn is told of lines that are not in a log's format; nil is nobody.
	Warn func(string)
}

// Read writes logs to out and errw, each line to where it was said: the bytes
// as they were, or as the format could keep them. Lines of several logs come in
// the order of their times. A log of which there is no file is empty. With
// Follow it goes on until all are over, or ctx is done.
func Read(ctx context.Context, logs []Log, o ReadOptions, out, errw io.Writer) (err error) {
	r := &reader{ReadOptions: o, printer: newPrinter(out, errw)}
	defer func() { err = errors.Join(err, r.flush()) }()
	defer r.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Follow {
		if r.watch, err = newWatcher(); err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
		r.watch.until(ctx, nil)
	}
	for _, l := range logs {
		if o.Follow {
			// Before it is read: nothing is missed in between.
			r.watch.add(l.Path)
			if l.Over != nil {
				r.watch.until(ctx, l.Over)
			}
		}
		s, err := openSource(l.Driver, l.Path, o.Tail, o.Follow)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		r.inputs = append(r.inputs, &input{Log: l, source: s})
	}
	return r.run(ctx)
}

// reader brings several inputs into one order.
type reader struct {
	ReadOptions
	*printer
	inputs []*input
	watch  *watcher
}

// input is a log that is being read, and the record that is next in it.
type input struct {
	Log
	*source
	head    record
	time    time.Time // of head, where it is needed
	ready   bool      // there is a head
	done    bool
	streams [2]lineState
}

func (r *reader) close() {
	for _, in := range r.inputs {
		in.source.close()
		if in.bad > 0 && r.Warn != nil {
			r.Warn(fmt.Sprintf("%s: %d lines that are not in the format of %s were left out", in.Path, in.bad, in.Driver))
		}
	}
	if r.watch != nil {
		r.watch.close()
	}
}

func (r *reader) run(ctx context.Context) error {
	for ctx.Err() == nil {
		in, err := r.pick()
		if err != nil {
			return err
		}
		if in != nil {
			if err := r.print(in, r.ReadOptions, len(r.inputs) > 1); err != nil {
				return err
			}
			in.ready = false
			continue
		}
		if err := r.flush(); err != nil {
			return err
		}
		if r.allDone() {
			return r.finish(r.inputs, r.ReadOptions)
		}
		if err := r.watch.next(r.Until); err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
	}
	return ctx.Err()
}

func (r *reader) allDone() bool {
	for _, in := range r.inputs {
		if !in.done {
			return false
		}
	}
	return true
}

// pick gives the input whose record is to be shown next, nil if there is none
// now.
func (r *reader) pick() (*input, error) {
	var first *input
	for _, in := range r.inputs {
		for !in.ready && !in.done {
			if err := r.pull(in); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read the log: %w", err)
			}
		}
		if in.ready && (first == nil || in.time.Before(first.time)) {
			first = in
		}
	}
	return first, nil
}

// pull reads the next record of in that is to be shown. io.EOF: none for now.
func (r *reader) pull(in *input) error {
	last := !r.Follow || in.over() || !r.Until.IsZero() && now().After(r.Until)
	rec, err := in.next()
	if errors.Is(err, io.EOF) {
		in.done = last // it was the last before we looked: nothing came after
	}
	if err != nil {
		return err
	}
	if r.Timestamps || len(r.inputs) > 1 || !r.Since.IsZero() || !r.Until.IsZero() {
		t, ok := in.when(rec.stamp)
		if !ok {
			in.bad++
			return nil
		}
		in.time = t
	}
	// A line is as old as its beginning.
	line := &in.streams[rec.stream]
	if !line.open {
		line.hidden = !r.Since.IsZero() && in.time.Before(r.Since) || !r.Until.IsZero() && in.time.After(r.Until)
	}
	line.open = !rec.full
	in.head, in.ready = rec, !line.hidden
	return nil
}

func (in *input) over() bool {
	select {
	case <-in.Over:
		return true
	default:
		return false
	}
}
