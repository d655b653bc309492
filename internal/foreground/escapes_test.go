package foreground

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestEscapes(t *testing.T) {
	const st = "\x1b\\"
	for _, tt := range []struct{ name, in, want string }{
		{"text", "héllo, 世界 🚀\r\n\tb\a\b", "héllo, 世界 🚀\r\n\tb\a\b"},
		{"colours", "\x1b[1;38;5;11mx\x1b[38;2;10;11;12;4my\x1b[4:3;58:2::1:2:3mz\x1b[m", "\x1b[1;38;5;11mx\x1b[38;2;10;11;12;4my\x1b[4:3;58:2::1:2:3mz\x1b[m"},
		{"cursor", "\x1b[2A\x1b[10;20H\x1b[5G\x1b7\x1b8\x1bM\x1b[s\x1b[u", "\x1b[2A\x1b[10;20H\x1b[5G\x1b7\x1b8\x1bM\x1b[s\x1b[u"},
		{"erase", "\x1b[K\x1b[2K\x1b[J\x1b[2J\x1b[3P\x1b[4X", "\x1b[K\x1b[2K\x1b[J\x1b[2J\x1b[3P\x1b[4X"},
		{"what has scrolled away", "a\x1b[3Jb\x1b[003Jc\x1b[0;3Jd", "abcd"},
		{"title", "a\x1b]0;mine\x07b\x1b]2;mine" + st + "c", "abc"},
		{"clipboard", "a\x1b]52;c;c3dvcmRmaXNo\x07b", "ab"},
		{"link", "\x1b]8;;http://evil" + st + "text\x1b]8;;" + st, "text"},
		{"screen's title", "a\x1bkmine" + st + "b\x1bkmine\nc", "abc"},
		{"DCS, SOS, PM, APC", "a\x1bP$q m" + st + "b\x1bXx" + st + "c\x1b^x" + st + "d\x1b_Gi=1" + st + "e", "abcde"},
		{"through tmux", "a\x1bPtmux;\x1b\x1b]52;c;x\x07" + st + "b", "ab"},
		{"modes", "a\x1b[?1000h\x1b[?2004h\x1b[?1049h\x1b[?25l\x1b[4hb", "ab"},
		{"keyboards", "a\x1b[>4;2m\x1b[>1u\x1b[=1;1u\x1b[1ub", "ab"},
		{"a second mark", "a\x1b[?>1m\x1b[1?m\x1b[1;<mb", "ab"},
		{"intermediates", "a\x1b[0 q\x1b[!p\x1b[1$zb\x1b(0\x1b#8c\x1b%Gd", "abcd"},
		{"queries", "a\x1b[c\x1b[>c\x1b[5n\x1b[6n\x1b[?6n\x1b[18t\x1b[21t\x1b[>q\x1bZ\x05b", "ab"},
		{"printer, reset, keypad", "a\x1b[5i\x1bc\x1b=\x1b>b", "ab"},
		{"margins", "a\x1b[1;5r\x1b[1;5sb", "ab"},
		{"fonts", "a\x1b[11m\x1b[1;12mb", "ab"},
		{"large numbers", "a\x1b[999999999C\x1b[99999Cb", "a\x1b[99999Cb"},
		{"a long one", "a\x1b[" + strings.Repeat("1;", 100) + "mb", "ab"},
		{"shifts, NUL, DEL", "a\x0e\x0f\x00\x7fb", "ab"},
		{"8 bits", "a\x9d52;c;x\x9c\nb\x9b31mc\x90q\x07d\x84\x85e", "abcde"},
		{"8 bits that end with the line", "a\x9dtail\nb", "ab"},
		{"8 bits in UTF-8", "a\u009b31mb\u009d0;x\x07c\u0090q" + st + "d\u009fx\a\u0085e", "a\x1b[31mbcde"},
		{"UTF-8 that has such bytes", "\u00db31m\u00dd\u305b", "\u00db31m\u00dd\u305b"},
		{"broken UTF-8", "a\xe2\x1b[31mb\xf0\x9f\x1b]0;x\x07c\xffd\xc0\xafe\xe2\x82", "a\ufffd\x1b[31mb\ufffdc\ufffdd\ufffd\ufffde"},
		{"surrogates", "\xed\xa0\x9b", "\ufffd\ufffd"},
		{"controls in a sequence", "\x1b[3\n1mx", "\n\x1b[31mx"},
		{"cut off", "a\x1b[3\x181mb\x1b[3\x1b[4mc\x1b]0;x\x1b[5md", "a1mb\x1b[4mc\x1b[5md"},
		{"not finished", "a\x1b[3", "a"},
	} {
		var e escapes
		if got := string(e.filter([]byte(tt.in))); got != tt.want {
			t.Errorf("%s: %q\n got %q\nwant %q", tt.name, tt.in, got, tt.want)
		}
	}
}

func TestEscapesEnd(t *testing.T) {
	for in, want := range map[string]string{"x": "", "\x1b[8m": "\x1b[0m", "\x1b[31mx\x1b[0m": "", "\x1b[1m\x1b[m": "", "\x1b[0;1m": "\x1b[0m"} {
		var e escapes
		e.filter([]byte(in))
		if got := string(e.end()); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// passable is what may reach a terminal: text, a few controls, and whole sequences.
var passable = regexp.MustCompile(`^(?:[\x07-\r\x20-\x7e]|[\x{a0}-\x{10ffff}]|\x1b[78DEM]|\x1b\[[0-9;:]*m|\x1b\[[0-9;]*[A-IKLMPXZ@` + "`" + `adef]|\x1b\[[0-9;]*J|\x1b\[[su])*$`)

// FuzzEscapes: nothing else passes, however the bytes come in, of no piece of it; and the
// pieces change nothing.
func FuzzEscapes(f *testing.F) {
	for _, s := range []string{"\x1b]52;c;eA==\x07", "\x1b[?1000h", "\xe2\x1b[6n", "a\u009b31m\x9b6n", "\x1bP\x1b\x1b]0;x\x07\x1b\\", "\x1b[1;38;5;11mx\xf0\x9f\x9a\x80"} {
		f.Add([]byte(s), uint64(0x9e3779b97f4a7c15))
	}
	f.Fuzz(func(t *testing.T, data []byte, cuts uint64) {
		var whole, pieces escapes
		want := bytes.Clone(whole.filter(data))
		var got []byte
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(cuts%8)+1)
			cuts = cuts>>3 | cuts<<61
			out := pieces.filter(rest[:n])
			if !passable.Match(out) || bytes.ContainsRune(bytes.ToValidUTF8(out, []byte{0}), 0) {
				t.Fatalf("%q passes of %q", out, data)
			}
			got, rest = append(got, out...), rest[n:]
			if len(pieces.seq) > longestControl || len(pieces.rune) > 4 {
				t.Fatalf("%d and %d bytes are held back", len(pieces.seq), len(pieces.rune))
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q: in pieces %q, at once %q", data, got, want)
		}
	})
}
