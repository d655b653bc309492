package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// visible makes control characters, bidirectional overrides, invisible
// characters and invalid UTF-8 visible as \n, \x1b, \u202e. Whatever comes
// from an image, a registry, a file name or the user's own data goes through
// it before a terminal sees it.
func visible(s string) string { return escape(s, "") }

// visibleText is visible for text that may have lines and tabs.
func visibleText(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

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
