package ctrlog

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// record is one entry of a log: a line, or a piece of one. Its slices are
// valid until the next one is read.
type record struct {
	stamp  []byte // as it stands in the log
	stream Stream
	text   []byte // without the newline
	full   bool   // the line ends here
}

// decoder reads the lines of one log file.
type decoder struct {
	parse func(d *decoder, line []byte) (record, bool)
	text  []byte // json-file: the text without escapes

	stamp []byte // the last stamp that was read, and its time
	time  time.Time
}

func newDecoder(driver string) *decoder {
	if driver == JSONFile {
		return &decoder{parse: (*decoder).parseJSON}
	}
	return &decoder{parse: (*decoder).parseK8s}
}

// when reads a stamp. Records that were written together have the same.
func (d *decoder) when(stamp []byte) (time.Time, bool) {
	if len(stamp) > 0 && bytes.Equal(stamp, d.stamp) {
		return d.time, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return t, false
	}
	d.stamp, d.time = append(d.stamp[:0], stamp...), t
	return t, true
}

// parseK8s reads "TIME STREAM TAG[:TAG…] TEXT", as the CRI has it.
func (d *decoder) parseK8s(line []byte) (r record, ok bool) {
	var stream, tag []byte
	if r.stamp, line, ok = bytes.Cut(line, []byte{' '}); !ok {
		return r, false
	}
	if stream, line, ok = bytes.Cut(line, []byte{' '}); !ok || !r.setStream(stream) {
		return r, false
	}
	tag, r.text, _ = bytes.Cut(line, []byte{' '})
	tag, _, _ = bytes.Cut(tag, []byte{':'})
	r.full = len(tag) == 1 && tag[0] == 'F'
	return r, looksLikeStamp(r.stamp) && len(tag) == 1 && (r.full || tag[0] == 'P')
}

func (r *record) setStream(name []byte) bool {
	r.stream = Stdout
	if string(name) == "stderr" {
		r.stream = Stderr
		return true
	}
	return string(name) == "stdout"
}

// looksLikeStamp is what is asked of a stamp that nobody needs the time of.
func looksLikeStamp(s []byte) bool {
	return len(s) >= len("2006-01-02T15:04:05Z") && s[4] == '-' && s[7] == '-' && s[10] == 'T' && s[13] == ':'
}

// parseJSON reads what docker writes. What has that shape to the byte, as our
// own records have, is read without reflection.
func (d *decoder) parseJSON(line []byte) (record, bool) {
	if r, ok := d.parseOwn(line); ok {
		return r, true
	}
	var entry struct {
		Log, Stream string
		Time        json.RawMessage
	}
	var r record
	if err := json.Unmarshal(line, &entry); err != nil || !r.setStream([]byte(entry.Stream)) || len(entry.Time) < 2 {
		return record{}, false
	}
	d.text = append(d.text[:0], entry.Log...)
	r.stamp = bytes.Trim(entry.Time, `"`)
	r.finish(d.text)
	return r, looksLikeStamp(r.stamp)
}

// finish takes the newline off that says that the line is whole.
func (r *record) finish(text []byte) {
	r.text, r.full = bytes.CutSuffix(text, []byte{'\n'})
}

func (d *decoder) parseOwn(line []byte) (r record, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(jsonHead))
	if !ok {
		return r, false
	}
	if rest, ok = d.unescape(rest); !ok {
		return r, false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`","stream":"std`)); !ok || len(rest) < 3 {
		return r, false
	}
	switch string(rest[:3]) {
	case "out":
	case "err":
		r.stream = Stderr
	default:
		return r, false
	}
	if r.stamp, ok = bytes.CutPrefix(rest[3:], []byte(`","time":"`)); !ok {
		return r, false // with attributes, for instance
	}
	if r.stamp, ok = bytes.CutSuffix(r.stamp, []byte(`"}`)); !ok || plain(r.stamp) < len(r.stamp) {
		return r, false
	}
	r.finish(d.text)
	return r, looksLikeStamp(r.stamp)
}

// unescape puts the inside of a JSON string into d.text, up to the quotation
// mark that ends it, which the rest begins with.
func (d *decoder) unescape(p []byte) (rest []byte, ok bool) {
	d.text = d.text[:0]
	for len(p) > 0 {
		i := plain(p)
		d.text = append(d.text, p[:i]...)
		if p = p[i:]; len(p) == 0 {
			break
		}
		switch c := p[0]; {
		case c == '"':
			return p, true
		case c < ' ':
			return nil, false // JSON has no controls in strings
		case c == '\\':
			var used int
			if d.text, used = appendUnescaped(d.text, p); used == 0 {
				return nil, false
			}
			p = p[used:]
		case c < utf8.RuneSelf:
			d.text, p = append(d.text, c), p[1:]
		default:
			r, size := utf8.DecodeRune(p)
			d.text, p = utf8.AppendRune(d.text, r), p[size:]
		}
	}
	return nil, false
}

// appendUnescaped appends what the escape at the beginning of p stands for, and
// gives its length; 0 for none.
func appendUnescaped(dst, p []byte) ([]byte, int) {
	if len(p) < 2 {
		return dst, 0
	}
	if p[1] != 'u' {
		i := bytes.IndexByte([]byte(`"\/bfnrt`), p[1])
		if i < 0 {
			return dst, 0
		}
		return append(dst, "\"\\/\b\f\n\r\t"[i]), 2
	}
	r := hex4(p[2:])
	if r < 0 {
		return dst, 0
	}
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(dst, r), 6
	}
	if len(p) >= 12 && p[6] == '\\' && p[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(p[8:])); pair != utf8.RuneError {
			return utf8.AppendRune(dst, pair), 12
		}
	}
	return utf8.AppendRune(dst, utf8.RuneError), 6
}

// hex4 reads four hexadecimal digits; -1 if they are not there.
func hex4(p []byte) (r rune) {
	if len(p) < 4 {
		return -1
	}
	for _, c := range p[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
