package ctrlog

import (
	"bufio"
	"io"
	"time"
)

// stampFormat is podman's.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

const resetColor = "\x1b[0m"

// maxHeld is how much of an unfinished line is held back so that lines of
// several logs do not run into each other.
const maxHeld = 1 << 20

// lineState is what is known of a stream's present line.
type lineState struct {
	open   bool   // it goes on after the last record that was read
	hidden bool   // it began before Since or after Until
	shown  bool   // its beginning has been written
	held   []byte // what is not written yet
	time   time.Time
}

// printer writes lines to the two outputs, in their order also where both are
// one: what is buffered for one goes out before the other is written to.
type printer struct {
	outs    [2]*bufio.Writer
	pending *bufio.Writer
	scratch []byte
}

func newPrinter(out, errw io.Writer) *printer {
	return &printer{outs: [2]*bufio.Writer{bufio.NewWriterSize(out, 64<<10), bufio.NewWriterSize(errw, 64<<10)}}
}

func (p *printer) flush() error {
	if p.pending == nil {
		return nil
	}
	return p.pending.Flush()
}

// to gives the output for a stream.
func (p *printer) to(s Stream) (*bufio.Writer, error) {
	if w := p.outs[s]; w != p.pending {
		if err := p.flush(); err != nil {
			return nil, err
		}
		p.pending = w
	}
	return p.pending, nil
}

// print writes the record that in has read. With several logs a line is written
// when it is whole.
func (p *printer) print(in *input, o ReadOptions, several bool) error {
	rec, line := in.head, &in.streams[in.head.stream]
	if several && !rec.full && len(line.held)+len(rec.text) <= maxHeld {
		if len(line.held) == 0 {
			line.time = in.time
		}
		line.held = append(line.held, rec.text...)
		return nil
	}
	w, err := p.to(rec.stream)
	if err != nil {
		return err
	}
	begun := in.time
	if len(line.held) > 0 {
		begun = line.time
	}
	p.begin(w, in, line, begun, o)
	_, _ = w.Write(line.held)
	_, err = w.Write(rec.text) // bufio keeps the error
	line.held = line.held[:0]
	if rec.full {
		err = p.end(w, in, line)
	}
	return err
}

// begin writes what stands before a line.
func (p *printer) begin(w *bufio.Writer, in *input, line *lineState, t time.Time, o ReadOptions) {
	if line.shown {
		return
	}
	line.shown = true
	b := append(p.scratch[:0], in.Color...)
	b = append(b, in.Prefix...)
	if o.Timestamps {
		b = append(t.AppendFormat(b, stampFormat), ' ')
	}
	p.scratch = b
	_, _ = w.Write(b)
}

func (p *printer) end(w *bufio.Writer, in *input, line *lineState) error {
	line.shown = false
	if in.Color != "" {
		_, _ = w.WriteString(resetColor)
	}
	return w.WriteByte('\n')
}

// finish writes what was held back of lines that never ended.
func (p *printer) finish(inputs []*input, o ReadOptions) error {
	for _, in := range inputs {
		for s := range in.streams {
			line := &in.streams[s]
			if len(line.held) == 0 && (!line.shown || in.Color == "") {
				continue
			}
			w, err := p.to(Stream(s))
			if err != nil {
				return err
			}
			p.begin(w, in, line, line.time, o)
			_, _ = w.Write(line.held)
			if len(inputs) > 1 {
				err = p.end(w, in, line)
			} else {
				_, err = w.WriteString(resetColor)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
