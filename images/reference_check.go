package images

import (
	"net/netip"
	"strings"
)

// The checks follow the grammar of distribution/reference's reference.go,
// by hand: a compiled regular expression would be paid at each start.
// Each returns what is wrong, or "".

func isLowerAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func isAlnum(c byte) bool      { return isLowerAlnum(c) || c >= 'A' && c <= 'Z' }

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	return isHexDigits(s)
}

func isHexDigits(s string) bool {
	for i := range len(s) {
		if !(s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f') {
			return false
		}
	}
	return s != ""
}

func checkDigest(d string) string {
	algorithm, hex, ok := strings.Cut(d, ":")
	if !ok {
		return "a digest is sha256:… (64 hexadecimal digits)"
	}
	want := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	switch {
	case want == 0:
		return "unknown digest algorithm " + quote(algorithm)
	case len(hex) != want:
		return "a " + algorithm + " digest has " + itoa(want) + " hexadecimal digits, this one has " + itoa(len(hex))
	case !isHexDigits(hex):
		return "a digest is lower-case hexadecimal"
	}
	return ""
}

func checkTag(t string) string {
	if t == "" {
		return "the tag is empty"
	}
	if len(t) > maxTag {
		return "the tag is longer than 128 characters"
	}
	for i := range len(t) {
		c := t[i]
		if !isAlnum(c) && c != '_' && (i == 0 || c != '.' && c != '-') {
			return "the tag " + quote(t) + " may have letters, digits, _, . and - and starts with a letter, a digit or _"
		}
	}
	return ""
}

func checkDomain(d string) string {
	var port string
	var hasPort bool
	if strings.HasPrefix(d, "[") {
		end := strings.IndexByte(d, ']')
		if end < 0 {
			return "no ] after the IPv6 address in " + quote(d)
		}
		if a, err := netip.ParseAddr(d[1:end]); err != nil || !a.Is6() || a.Zone() != "" {
			return quote(d[:end+1]) + " is not an IPv6 address"
		}
		rest := d[end+1:]
		if rest == "" {
			return ""
		}
		if port, hasPort = strings.CutPrefix(rest, ":"); !hasPort {
			return "unexpected " + quote(rest) + " after the IPv6 address"
		}
	} else {
		var host string
		host, port, hasPort = strings.Cut(d, ":")
		for label := range strings.SplitSeq(host, ".") {
			if !isDomainLabel(label) {
				return "the registry " + quote(d) + " is not a host name"
			}
		}
	}
	if hasPort && !isPort(port) {
		return "the port " + quote(port) + " is not a number from 0 to 65535"
	}
	return ""
}

func isDomainLabel(l string) bool {
	if l == "" || !isAlnum(l[0]) || !isAlnum(l[len(l)-1]) {
		return false
	}
	for i := range len(l) {
		if !isAlnum(l[i]) && l[i] != '-' {
			return false
		}
	}
	return true
}

func isPort(p string) bool {
	n := 0
	for i := range len(p) {
		if p[i] < '0' || p[i] > '9' {
			return false
		}
		if n = n*10 + int(p[i]-'0'); n > 65535 {
			return false
		}
	}
	return p != ""
}

func checkPath(p string) string {
	if strings.ToLower(p) != p {
		return "the repository name " + quote(p) + " must be lower case"
	}
	if len(p) > maxPath {
		return "the repository name is longer than 255 characters"
	}
	for component := range strings.SplitSeq(p, "/") {
		if why := checkComponent(component); why != "" {
			return why
		}
	}
	return ""
}

// checkComponent: alphanumerics, joined by one of . _ __ or any number of -.
func checkComponent(c string) string {
	if c == "" {
		return "a part of the repository name is empty"
	}
	for i := 0; i < len(c); {
		if isLowerAlnum(c[i]) {
			i++
			continue
		}
		end := i
		for end < len(c) && !isLowerAlnum(c[end]) {
			end++
		}
		sep := c[i:end]
		ok := sep == "." || sep == "_" || sep == "__" || strings.Trim(sep, "-") == ""
		if !ok {
			return quote(sep) + " cannot stand in the repository name " + quote(c)
		}
		if i == 0 || end == len(c) {
			return "the repository name " + quote(c) + " must start and end with a letter or a digit"
		}
		i = end
	}
	return ""
}
