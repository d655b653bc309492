package ctrlog

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// tailBlock is how much is read at a time, from the end backwards.
const tailBlock = 64 << 10

// tailStart finds where the last n lines begin: in which file, and where in it.
// size is that of the last file. Pieces of a line of one stream count as one;
// the pieces from before the n-th line of a line that the other stream has
// finished later are left out.
func tailStart(files []*os.File, size int64, n int, d *decoder) (index int, off int64, err error) {
	lines, later := 0, [2]bool{} // whether the stream's line goes on after here
	for index = len(files) - 1; index >= 0; index-- {
		if index < len(files)-1 {
			st, err := files[index].Stat()
			if err != nil {
				return 0, 0, err
			}
			size = st.Size()
		}
		found := false
		err := backwards(files[index], size, func(at, end int64, line []byte) bool {
			r, ok := d.parse(d, line)
			if !ok {
				return true
			}
			if r.full || !later[r.stream] {
				if lines == n {
					off, found = end, true
					return false
				}
				lines++
			}
			later[r.stream] = true
			return true
		})
		if err != nil || found {
			return index, off, err
		}
	}
	return 0, 0, nil
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
