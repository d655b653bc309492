package cli

import (
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"coracle/internal/say"
)

func visible(s string) string     { return say.Visible(s) }
func visibleText(s string) string { return say.VisibleText(s) }

// visibleJSON does the same for a JSON document, where control characters
// below 0x20 are escaped already: what is left stands inside strings.
func visibleJSON(doc []byte) []byte {
	var b []byte
	for i := 0; i < len(doc); {
		r, n := utf8.DecodeRune(doc[i:])
		switch {
		case r == utf8.RuneError && n == 1: // no UTF-8: to another terminal 0x9b begins an order
			b = append(b, `\ufffd`...)
		case r == '\n' || r == '\t' || strconv.IsPrint(r):
			b = append(b, doc[i:i+n]...)
		case r > 0xffff:
			hi, lo := surrogates(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		i += n
	}
	return b
}

// visibleWriter makes visible what is written in one piece, a text or a document.
type visibleWriter struct {
	w    io.Writer
	json bool
}

func (v visibleWriter) Write(p []byte) (int, error) {
	out := []byte(visibleText(string(p)))
	if v.json {
		out = visibleJSON(p)
	}
	if _, err := v.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
