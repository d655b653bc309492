package egress

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// git's own protocol (gitprotocol-pack(5)) begins with a packet that has no end of a
// line, "git-upload-pack /project\x00host=name:port\x00", behind its length in four
// hexadecimal digits. Its client waits for an answer then.

// classifyGit says whether that is what has come. Bytes behind the packet, and a line
// that ends in it, are not git's: they could make a request of HTTP of it.
func classifyGit(b []byte) class {
	word, _, ok := bytes.Cut(b, []byte(" "))
	const digits = 4
	if !ok || len(word) < digits || !slices.Contains([]string{"git-upload-pack", "git-receive-pack", "git-upload-archive"}, string(word[digits:])) {
		return other
	}
	size, err := strconv.ParseUint(string(word[:digits]), 16, 16)
	switch {
	case err != nil || len(b) > int(size) || bytes.ContainsAny(b, "\r\n"):
		return other
	case len(b) < int(size):
		return undecided
	case bytes.IndexByte(b, 0) < 0:
		return other
	}
	return gitRequest
}

// git sees to such a connection. It need not name its host, as other protocols do not;
// a name that is there counts.
func (s *stream) git() error {
	for _, word := range strings.Split(string(s.buf), "\x00")[1:] {
		host, ok := strings.CutPrefix(word, "host=")
		host = withoutPort(host)
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); ok && err != nil {
			if err := s.named(host, "its request is for %s"); err != nil {
				return err
			}
		}
	}
	return s.rest()
}
