package ctrlog

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// tailBlock is how much is read at a time, from the end backwards.
const tailBlock = 64 << 10

// position is a place in a row of files.
type position struct {
	file int
	off  int64
}

func (p position) before(q position) bool {
	return p.file < q.file || p.file == q.file && p.off < q.off
}

// tail looks for the last n lines. A piece of a line is no line of its own: of
// a line that the other stream's lines have come in between, the beginning may
// stand before lines that are not wanted. So each stream has its own place from
// which on it is shown.
type tail struct {
	n      int
	d      *decoder
	lines  int
	from   [2]position // of each stream
	inLine [2]bool     // the line that begins last of those found may begin earlier
	cut    bool        // all lines are found; now for the beginnings only
	extra  int64       // bytes that were looked at for those
}

// record takes the record before those it knows, and says whether to go on.
func (t *tail) record(at, end position, line []byte) bool {
	r, ok := t.d.parse(t.d, line)
	if !ok {
		return true
	}
	s := r.stream
	begins := r.full || !t.inLine[s] // it is the last of its line, as far as there is one
	switch {
	case t.cut && r.full:
		t.inLine[s] = false
	case t.cut && t.inLine[s]:
		t.from[s] = at
	case !t.cut && begins && t.lines == t.n:
		t.cut = true
		for i := range t.from {
			if !t.inLine[i] {
				t.from[i] = end
			}
		}
		if r.full {
			t.inLine[s] = false
		}
	case !t.cut:
		if begins {
			t.lines++
		}
		t.inLine[s], t.from[s] = true, at
	}
	if t.cut {
		t.extra += end.off - at.off
	}
	return !t.cut || (t.inLine[0] || t.inLine[1]) && t.extra <= maxLine
}

// tailStart finds where the last n lines begin, for each stream. size is that
// of the last file.
func tailStart(files []*os.File, size int64, n int, d *decoder) ([2]position, error) {
	t := tail{n: n, d: d}
	more := true
	for i := len(files) - 1; i >= 0 && more; i-- {
		if i < len(files)-1 {
			st, err := files[i].Stat()
			if err != nil {
				return t.from, err
			}
			size = st.Size()
		}
		err := backwards(files[i], size, func(at, end int64, line []byte) bool {
			more = t.record(position{i, at}, position{i, end}, line)
			return more
		})
		if err != nil {
			return t.from, err
		}
	}
	if !t.cut {
		t.from = [2]position{}
	}
	return t.from, nil
}

// backwards calls fn with each line of f's first size bytes, the last one
// first: where it begins, where the next one does, and its text, nil if it is
// too long to be a record. What follows the last newline is no line yet.
func backwards(f *os.File, size int64, fn func(at, end int64, line []byte) bool) error {
	var line []byte // what is known of the line that ends at end-1
	end, known := int64(0), false
	long := false
	block := make([]byte, tailBlock)
	for pos := size; pos > 0; {
		n := min(pos, tailBlock)
		pos -= n
		if _, err := f.ReadAt(block[:n], pos); errors.Is(err, io.EOF) {
			return nil // emptied meanwhile
		} else if err != nil {
			return err
		}
		rest := block[:n]
		for {
			i := bytes.LastIndexByte(rest, '\n')
			if i < 0 {
				break
			}
			if known {
				text := rest[i+1:]
				if len(line) > 0 {
					text = append(bytes.Clone(text), line...)
				}
				if long {
					text = nil
				}
				if !fn(pos+int64(i)+1, end, text) {
					return nil
				}
			}
			end, known, long = pos+int64(i)+1, true, false
			rest, line = rest[:i], line[:0]
		}
		if long = long || len(line)+len(rest) > maxLine; long {
			line = line[:0]
		} else {
			line = append(bytes.Clone(rest), line...)
		}
	}
	if known {
		if long {
			line = nil
		}
		fn(0, end, line)
	}
	return nil
}
