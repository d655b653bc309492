package plainjson

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// digits reads a number in JSON's grammar.
func (d *decoder) digits(want string, c byte) (string, error) {
	start := d.pos
	if c == '-' {
		d.pos++
	}
	run := func() bool {
		from := d.pos
		for d.pos < len(d.data) && d.data[d.pos] >= '0' && d.data[d.pos] <= '9' {
			d.pos++
		}
		return d.pos > from
	}
	first := d.pos
	if !run() {
		return "", d.wrongNumber(want, c, start)
	}
	if d.data[first] == '0' && d.pos > first+1 {
		d.pos = first + 1
		return "", d.syntax("a number begins with 0")
	}
	if d.pos < len(d.data) && d.data[d.pos] == '.' {
		d.pos++
		if !run() {
			return "", d.syntax("want a digit")
		}
	}
	if d.pos < len(d.data) && (d.data[d.pos] == 'e' || d.data[d.pos] == 'E') {
		d.pos++
		if d.pos < len(d.data) && (d.data[d.pos] == '+' || d.data[d.pos] == '-') {
			d.pos++
		}
		if !run() {
			return "", d.syntax("want a digit")
		}
	}
	return string(d.data[start:d.pos]), nil
}

func (d *decoder) wrongNumber(want string, c byte, start int) error {
	if c == '-' {
		return d.syntax("want a digit")
	}
	d.pos = start
	return d.wrong(want, c)
}

func (d *decoder) float(c byte, v reflect.Value) error {
	s, err := d.digits("a number", c)
	if err != nil {
		return err
	}
	n, err := strconv.ParseFloat(s, v.Type().Bits())
	if err != nil {
		return d.fail("%s is no number that can be had", shorten(s))
	}
	v.SetFloat(n)
	return nil
}

// number reads an integer of v's size.
func (d *decoder) number(c byte, v reflect.Value) error {
	s, err := d.digits("an integer", c)
	if err != nil {
		return err
	}
	if strings.ContainsAny(s, ".eE") {
		return d.fail("want an integer, found %s", shorten(s))
	}
	if v.CanUint() {
		if s[0] == '-' {
			return d.fail("want a number that is not negative, found %s", shorten(s))
		}
		n, err := strconv.ParseUint(s, 10, v.Type().Bits())
		if errors.Is(err, strconv.ErrRange) {
			return d.fail("%s is more than %d", shorten(s), ^uint64(0)>>(64-v.Type().Bits()))
		}
		v.SetUint(n)
		return nil
	}
	n, err := strconv.ParseInt(s, 10, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		most := int64(^uint64(0) >> (65 - v.Type().Bits()))
		return d.fail("%s is not between %d and %d", shorten(s), -most-1, most)
	}
	v.SetInt(n)
	return nil
}

func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// text reads a string, whose quote is at pos.
func (d *decoder) text() (string, error) {
	d.pos++
	start := d.pos
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; {
		case c == '"':
			s := string(d.data[start:d.pos])
			d.pos++
			return s, nil
		case c == '\\' || c >= utf8.RuneSelf:
			return d.longText(start)
		case c < ' ':
			return "", d.syntax("a control character in a string")
		}
		d.pos++
	}
	return "", d.syntax("")
}

// longText is text with escapes or beyond ASCII, well so far.
func (d *decoder) longText(start int) (string, error) {
	b := append([]byte(nil), d.data[start:d.pos]...)
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; {
		case c == '"':
			d.pos++
			return string(b), nil
		case c == '\\':
			r, err := d.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		case c < ' ':
			return "", d.syntax("a control character in a string")
		default:
			r, n := utf8.DecodeRune(d.data[d.pos:])
			if r == utf8.RuneError && n == 1 {
				return "", d.syntax("a string that is not UTF-8")
			}
			b = append(b, d.data[d.pos:d.pos+n]...)
			d.pos += n
		}
	}
	return "", d.syntax("")
}

// escape reads what a backslash begins.
func (d *decoder) escape() (rune, error) {
	if d.pos+1 >= len(d.data) {
		d.pos = len(d.data)
		return 0, d.syntax("")
	}
	c := d.data[d.pos+1]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		d.pos += 2
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return 0, d.syntax("an unknown escape in a string")
	}
	r, err := d.unit()
	if err != nil {
		return 0, err
	}
	if utf16.IsSurrogate(r) {
		second := rune(0)
		if d.pos+1 < len(d.data) && d.data[d.pos] == '\\' && d.data[d.pos+1] == 'u' {
			if second, err = d.unit(); err != nil {
				return 0, err
			}
		}
		if r = utf16.DecodeRune(r, second); r == utf8.RuneError {
			return 0, d.syntax("half a character (a lone surrogate) in a string")
		}
	}
	if r == 0 {
		return 0, d.fail("a NUL character, where the kernel would cut the text off")
	}
	return r, nil
}

// unit reads \uXXXX.
func (d *decoder) unit() (rune, error) {
	if d.pos+6 > len(d.data) {
		d.pos = len(d.data)
		return 0, d.syntax("")
	}
	n, err := strconv.ParseUint(string(d.data[d.pos+2:d.pos+6]), 16, 16)
	if err != nil {
		return 0, d.syntax("want four hexadecimal digits after \\u")
	}
	d.pos += 6
	return rune(n), nil
}
