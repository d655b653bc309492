package foreground

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// escapes lets through, of what goes to a terminal, text and what moves the cursor,
// colours or erases, and nothing else: no title, clipboard, link, mode, query or answer.
// What passes is made anew from what was understood, one sequence at a time, so that no
// half of one is ever written. The terminal is taken for one of UTF-8.
//
// charmbracelet/x/ansi has a parser, too. It keeps one private mark and one intermediate
// of a sequence, where a second decides, lets numbers overflow into its own marks, and
// takes an ESC in a broken character for a part of it.
type escapes struct {
	state  escapeState
	seq    []byte // of a CSI: parameters and intermediates
	spoilt bool   // of a CSI: it does not pass, whatever comes
	line   bool   // of a string: it ends with the line at last
	rune   []byte // the beginning of a character
	styled bool   // text has other attributes than the terminal's own
	out    []byte
}

type escapeState uint8

const (
	ground escapeState = iota
	escaped
	intermediate // ESC, and 0x20 to 0x2f
	control      // CSI
	text         // OSC, DCS, SOS, PM, APC
	textEscaped  // ESC in such a one
)

const (
	esc = 0x1b
	bel = 0x07
	// longestControl bounds what is kept of a CSI: 16 colours have room in it.
	longestControl = 128
	resetStyle     = "\x1b[0m"
)

// filter gives what of p passes, with what was held back before; until the next call.
func (e *escapes) filter(p []byte) []byte {
	e.out = e.out[:0]
	for _, b := range p {
		e.next(b)
	}
	return e.out
}

// end gives what comes after the last byte: what was begun is dropped, and the text that
// others write next has the terminal's own attributes again.
func (e *escapes) end() []byte {
	if !e.styled {
		return nil
	}
	return []byte(resetStyle)
}

func (e *escapes) next(b byte) {
	if e.state == text || e.state == textEscaped {
		e.inText(b)
		return
	}
	if e.state == ground && len(e.rune) > 0 {
		e.inRune(b)
		return
	}
	switch {
	case b == 0x18 || b == 0x1a: // CAN, SUB
		e.state = ground
	case b == esc:
		e.state = escaped
	case b < 0x20: // carried out in the middle of a sequence, too
		if b >= bel && b <= '\r' {
			e.out = append(e.out, b)
		}
	case b == 0x7f:
	case b >= 0x80:
		e.state = ground
		e.high(b)
	case e.state == ground:
		e.out = append(e.out, b)
	case e.state == escaped:
		e.afterEscape(b)
	case e.state == control:
		e.inControl(b)
	case b >= 0x30: // the end of ESC with intermediates: character sets and the like
		e.state = ground
	}
}

// high is a byte of 0x80 and above that no character has begun before.
func (e *escapes) high(b byte) {
	switch {
	case b < 0xa0:
		e.c1(b, true)
	case utf8.RuneStart(b) && b >= 0xc2 && b <= 0xf4:
		e.rune = append(e.rune[:0], b)
	default:
		e.out = utf8.AppendRune(e.out, utf8.RuneError)
	}
}

func (e *escapes) inRune(b byte) {
	e.rune = append(e.rune, b)
	if !utf8.FullRune(e.rune) {
		return
	}
	r, size := utf8.DecodeRune(e.rune)
	e.rune = e.rune[:0]
	switch {
	case size == 1: // b does not go on with it
		e.out = utf8.AppendRune(e.out, utf8.RuneError)
		e.next(b)
	case r < 0xa0:
		e.c1(byte(r), false)
	default:
		e.out = utf8.AppendRune(e.out, r)
	}
}

// c1 is a control of 8 bits. As a lone byte it is none to a terminal of UTF-8, but may be
// to another one; it may be any broken text, too, which must not hide all that follows.
func (e *escapes) c1(b byte, lone bool) {
	switch b {
	case 0x9b:
		e.begin(control)
		e.spoilt = lone
	case 0x90, 0x98, 0x9d, 0x9e, 0x9f:
		e.begin(text)
		e.line = lone
	}
}

func (e *escapes) begin(state escapeState) {
	e.state, e.seq, e.spoilt, e.line = state, e.seq[:0], false, false
}

func (e *escapes) afterEscape(b byte) {
	e.state = ground
	switch b {
	case '[':
		e.begin(control)
	case ']', 'P', 'X', '^', '_':
		e.begin(text)
	case 'k': // a title, to screen and tmux
		e.begin(text)
		e.line = true
	case '7', '8', 'D', 'E', 'M': // the cursor kept, brought back, a line down or up
		e.out = append(e.out, esc, b)
	default:
		if b < 0x30 {
			e.state = intermediate
		}
	}
}

func (e *escapes) inControl(b byte) {
	switch {
	case b >= 0x40:
		e.state = ground
		if !e.spoilt && passes(e.seq, b) {
			e.out = append(append(append(e.out, esc, '['), e.seq...), b)
			if b == 'm' {
				e.styled = len(bytes.Trim(e.seq, "0;")) > 0
			}
		}
	case len(e.seq) == longestControl:
		e.spoilt = true
	default:
		e.seq = append(e.seq, b)
	}
}

func (e *escapes) inText(b byte) {
	switch {
	case e.state == textEscaped: // ST, or ESC of what cuts the string off
		e.state = escaped
		if b == '\\' {
			e.state = ground
			return
		}
		e.next(b)
	case b == esc:
		e.state = textEscaped
	case b == bel, b == 0x18, b == 0x1a, b == '\n' && e.line:
		e.state = ground
	}
}

// passes says whether a CSI may reach the terminal.
func passes(seq []byte, final byte) bool {
	digits := 0
	for _, b := range seq {
		switch {
		case b >= '0' && b <= '9':
			digits++
		case b == ';', b == ':' && final == 'm':
			digits = 0
		default:
			return false
		}
		if digits > 5 {
			return false
		}
	}
	params := strings.Split(string(seq), ";")
	switch final {
	case 'm':
		return !fonts(params)
	case 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'Z', '`', 'a', 'd', 'e', 'f', 'K', 'X', '@', 'L', 'M', 'P':
		return true
	case 'J': // not what has scrolled away, which is the caller's
		return len(params) == 1 && strings.TrimLeft(params[0], "0") != "3"
	case 's', 'u': // the cursor kept and brought back; with numbers margins and keyboards
		return len(seq) == 0
	}
	return false
}

// fonts says whether an SGR chooses one: on a console that shows text as other characters.
func fonts(params []string) bool {
	for i := 0; i < len(params); i++ {
		n, _ := strconv.Atoi(params[i]) // 0 with colons, which fonts have not
		switch {
		case n >= 10 && n < 20:
			return true
		case n == 38 || n == 48 || n == 58: // a colour, by number or in three parts
			kind := ""
			if i+1 < len(params) {
				kind = params[i+1]
			}
			switch kind {
			case "5":
				i += 2
			case "2":
				i += 4
			}
		}
	}
	return false
}
