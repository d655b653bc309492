package ctrlog

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// jsonFormat makes docker's json-file objects, one a line:
//
//	{"log":"…\n","stream":"stdout","attrs":{"tag":"…"},"time":"2006-01-02T15:04:05.999999999Z"}
//
// An unfinished line is carried until its end, the end of the stream or 16 KiB
// have come, as docker does it; only a record that finishes a line ends with \n.
type jsonFormat struct {
	tails [2]struct {
		fixed int // length of what does not change with the time
		bytes []byte
	}
}

func newJSONFormat(o Options) *jsonFormat {
	f := &jsonFormat{}
	for i := range f.tails {
		b := []byte(`","stream":"` + Stream(i).String() + `",`)
		if o.Tag != "" {
			tag, _ := json.Marshal(map[string]string{"tag": o.Tag}) // strings cannot fail
			b = append(append(append(b, `"attrs":`...), tag...), ',')
		}
		b = append(b, `"time":"`...)
		f.tails[i].fixed, f.tails[i].bytes = len(b), b
	}
	return f
}

func (f *jsonFormat) stamp(t time.Time) {
	t = t.UTC()
	for i := range f.tails {
		tail := &f.tails[i]
		tail.bytes = append(t.AppendFormat(tail.bytes[:tail.fixed], time.RFC3339Nano), "\"}\n"...)
	}
}

const jsonHead = `{"log":"`

// room is the most that a record of n payload bytes takes: \u00XX for each.
func (f *jsonFormat) room(s *StreamWriter, n int) int {
	return len(jsonHead) + 6*n + len(`\n`) + len(f.tails[s.stream].bytes)
}

func (f *jsonFormat) need(s *StreamWriter, p []byte) int {
	return f.room(s, min(len(s.carry)+len(p), maxRecord)) + 2*len(p)
}

func (f *jsonFormat) records(dst []byte, s *StreamWriter, p []byte) (out, rest []byte) {
	for len(p) > 0 {
		piece := p[:min(len(p), maxRecord-len(s.carry)+1)]
		i := bytes.IndexByte(piece, '\n')
		if i < 0 && len(piece)+len(s.carry) <= maxRecord {
			s.carry = append(s.carry, piece...) // the end of p
			return dst, nil
		}
		if i >= 0 {
			piece = piece[:i]
		}
		if cap(dst)-len(dst) < f.room(s, len(s.carry)+len(piece)) {
			return dst, p
		}
		if i < 0 {
			var used int
			dst, used = f.split(dst, s, piece)
			p = p[used:]
			continue
		}
		dst = append(dst, jsonHead...)
		if len(s.carry) > 0 {
			// One piece: a character may begin in the carry and end here.
			s.carry = append(s.carry, piece...)
			dst = appendJSON(dst, s.carry)
			f.release(s)
		} else {
			dst = appendJSON(dst, piece)
		}
		dst = append(append(dst, `\n`...), f.tails[s.stream].bytes...)
		p, s.open = p[i+1:], false
	}
	return dst, nil
}

// split makes one record of what is carried and of as much of piece as goes in,
// and says how much that is. A character is not torn in two.
func (f *jsonFormat) split(dst []byte, s *StreamWriter, piece []byte) ([]byte, int) {
	carried := len(s.carry)
	s.carry = append(s.carry, piece...)[:maxRecord]
	line := s.carry[:wholeRunes(s.carry)]
	dst = append(appendJSON(append(dst, jsonHead...), line), f.tails[s.stream].bytes...)
	used := maxRecord - carried
	s.carry = append(s.carry[:0], s.carry[len(line):]...)
	s.open = true
	return dst, used
}

func (f *jsonFormat) carried(dst []byte, s *StreamWriter) []byte {
	dst = append(appendJSON(append(dst, jsonHead...), s.carry), f.tails[s.stream].bytes...)
	f.release(s)
	s.open = true
	return dst
}

// release empties the carry; a large one is given back.
func (f *jsonFormat) release(s *StreamWriter) {
	if s.carry = s.carry[:0]; cap(s.carry) > smallBuffer {
		s.carry = nil
	}
}

// wholeRunes is the length of p without a character that is cut off at the end.
func wholeRunes(p []byte) int {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return i
			}
			break
		}
	}
	return len(p)
}

// partial: a finished line has \n before the tail. In between there is no
// quotation mark but the one that ends the text.
func (f *jsonFormat) partial(r []byte) bool {
	text := jsonText(r)
	return !bytes.HasSuffix(text, []byte(`\n`))
}

func (f *jsonFormat) payload(r []byte) int {
	text, n := jsonText(r), 0
	for len(text) > 0 {
		switch {
		case text[0] != '\\':
			n, text = n+1, text[1:]
		case len(text) < 6 || text[1] != 'u':
			n, text = n+1, text[min(2, len(text)):]
		default: // \u00XX and \ufffd were one byte, \u2028 and \u2029 three
			if n++; text[2] == '2' {
				n += 2
			}
			text = text[6:]
		}
	}
	return n
}

// jsonText is what stands between the quotation marks of "log" in a record of
// ours.
func jsonText(r []byte) []byte {
	r = bytes.TrimPrefix(r, []byte(jsonHead))
	for i := 0; i < len(r); i++ {
		switch r[i] {
		case '\\':
			i++
		case '"':
			return r[:i]
		}
	}
	return r
}
