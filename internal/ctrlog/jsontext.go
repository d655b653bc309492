package ctrlog

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// appendJSON appends p as the inside of a JSON string, byte for byte as docker
// does: what encoding/json escapes, and tabs in hexadecimal; what is not UTF-8
// becomes \ufffd.
func appendJSON(dst, p []byte) []byte {
	const hex = "0123456789abcdef"
	for {
		i := plain(p)
		dst = append(dst, p[:i]...)
		if p = p[i:]; len(p) == 0 {
			return dst
		}
		c, size := p[0], 1
		switch {
		case c == '\\' || c == '"':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c < utf8.RuneSelf:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			var r rune
			r, size = utf8.DecodeRune(p)
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, `\ufffd`...)
			case r == '\u2028' || r == '\u2029': // JavaScript took them for ends of lines
				dst = append(dst, `\u202`...)
				dst = append(dst, hex[r&15])
			default:
				dst = append(dst, p[:size]...)
			}
		}
		p = p[size:]
	}
}

// plain is the length of the beginning of p in which nothing is to be escaped
// or looked at: eight bytes at a time, as that is what the time goes into.
func plain(p []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		// Each term has the high bit of a byte set if the byte is less than a
		// space, one of " and &, one of < and >, or a backslash; the lowest such
		// bit is exact, what borrows from it stands above.
		quote := (x | ones*0x04) ^ ones*'&'
		angle := (x | ones*0x02) ^ ones*'>'
		slash := x ^ ones*'\\'
		found := (x - ones*' ') &^ x
		found |= (quote - ones) &^ quote
		found |= (angle - ones) &^ angle
		found |= (slash - ones) &^ slash
		if found = (found | x) & highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(p); i++ {
		switch c := p[i]; {
		case c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '&' || c == '<' || c == '>' || c == '\\':
			return i
		}
	}
	return i
}
