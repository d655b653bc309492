package egress

import (
	"strconv"
	"strings"
)

// parseName reads a name of a host: lower case, without the dot at the end.
func parseName(s string) (string, *problem) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" {
		return "", &problem{0, "the name is empty", ""}
	}
	if len(name) > 253 {
		return "", &problem{0, "the name has more than 253 characters", ""}
	}
	at := 0
	for label := range strings.SplitSeq(name, ".") {
		if p := checkLabel(label); p != nil {
			p.at += at
			return "", p
		}
		at += len(label) + 1
	}
	return name, nil
}

func checkLabel(label string) *problem {
	switch {
	case label == "":
		return &problem{0, "a part of the name is empty", ""}
	case len(label) > 63:
		return &problem{0, "a part of the name has more than 63 characters", ""}
	}
	for i := range len(label) {
		c := label[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-' && i > 0 && i < len(label)-1 {
			continue
		}
		switch {
		case c == '*':
			return &problem{i, "* can stand for the whole beginning only", "as in *.example.org"}
		case c >= 0x80:
			return &problem{i, "a name has ASCII characters only", "write it as the name servers know it: xn--…"}
		}
		return &problem{i, "no name has " + strconv.QuoteRune(rune(c)) + " there", ""}
	}
	return nil
}

// cleanName is the name that a question or a peer gave; "" for what is none: with
// bytes that no host's name has, or a number as the last part.
func cleanName(s string) string {
	name, p := parseName(s)
	if p != nil || looksNumeric(name) {
		return ""
	}
	return name
}
