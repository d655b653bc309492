package cli

import (
	"fmt"
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
		case r == '\n' || strconv.IsPrint(r):
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

func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
