package plainjson

import (
	"fmt"
	"strconv"
	"strings"
)

// Error says what is wrong with a document, and where.
type Error struct {
	Path string // for example mounts[3].destination; empty: the document
	Msg  string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Msg
	}
	return e.Path + ": " + e.Msg
}

func (d *decoder) fail(format string, args ...any) error {
	return &Error{d.where(), fmt.Sprintf(format, args...)}
}

// syntax complains about the text at pos itself.
func (d *decoder) syntax(msg string) error {
	if d.pos >= len(d.data) {
		return d.fail("the file ends in the middle of it: it is cut off")
	}
	before := d.data[:d.pos]
	line := 1 + strings.Count(string(before), "\n")
	column := d.pos - strings.LastIndexByte(string(before), '\n')
	return d.fail("not JSON: %s (line %d, column %d)", msg, line, column)
}

// where is the JSON path of the value at hand.
func (d *decoder) where() string {
	var b strings.Builder
	for _, s := range d.at {
		switch {
		case s.key:
			b.WriteString("[" + Quote(s.name) + "]")
		case s.name != "":
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
		default:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		}
	}
	return b.String()
}

// Quote shortens what a file says to what fits into a message.
func Quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
