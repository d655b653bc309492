package netns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// Messages of the domain name system (RFC 1035), as far as one who passes them
// on needs them: the one question is read, an answer to it composed. All else
// (EDNS, DNSSEC, records yet to be invented) goes through as it is.

// Types of records.
const (
	typeA    = 1
	typePTR  = 12
	typeAAAA = 28

	classINET = 1

	headerLen = 12

	flagResponse  = 0x8000
	flagTruncated = 0x0200
	flagDesired   = 0x0100 // recursion is
	flagAvailable = 0x0080 // and it is

	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImpl  = 4

	localTTL = 5 // seconds: /etc/hosts may change
)

var errMessage = errors.New("no message of the domain name system with one question")

// question is what a query asks.
type question struct {
	name  string // lower case, without the dot at the end
	kind  uint16
	class uint16
	end   int // in the message, behind it
}

// parseQuestion reads the question of a query or of an answer to it.
func parseQuestion(msg []byte) (q question, err error) {
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return q, errMessage
	}
	var name strings.Builder
	at := headerLen
	for {
		if at >= len(msg) {
			return q, errMessage
		}
		n := int(msg[at])
		at++
		if n == 0 {
			break
		}
		// A pointer has nothing before it to point to. 253: RFC 1035 2.3.4.
		if n > 63 || at+n > len(msg) || name.Len()+n > 253 {
			return q, errMessage
		}
		if name.Len() > 0 {
			name.WriteByte('.')
		}
		for _, c := range msg[at : at+n] {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			name.WriteByte(c)
		}
		at += n
	}
	if at+4 > len(msg) {
		return q, errMessage
	}
	q.name, q.end = name.String(), at+4
	q.kind, q.class = binary.BigEndian.Uint16(msg[at:]), binary.BigEndian.Uint16(msg[at+2:])
	return q, nil
}

func isResponse(msg []byte) bool  { return binary.BigEndian.Uint16(msg[2:])&flagResponse != 0 }
func isTruncated(msg []byte) bool { return binary.BigEndian.Uint16(msg[2:])&flagTruncated != 0 }
func opcode(msg []byte) uint16    { return binary.BigEndian.Uint16(msg[2:]) >> 11 & 15 }
func rcode(msg []byte) uint16     { return binary.BigEndian.Uint16(msg[2:]) & 15 }

// answers says whether msg answers query: its number and its question.
func answers(query, msg []byte) bool {
	if len(msg) < headerLen || !isResponse(msg) || msg[0] != query[0] || msg[1] != query[1] {
		return false
	}
	asked, err := parseQuestion(query)
	if err != nil {
		return false
	}
	got, err := parseQuestion(msg)
	if err != nil {
		// A server that cannot read the question may leave it out.
		return len(msg) == headerLen && rcode(msg) != 0
	}
	asked.end, got.end = 0, 0
	return asked == got
}

// reply begins an answer to the query: its header and its question.
func reply(query []byte, q question, code uint16) []byte {
	msg := append(make([]byte, 0, 512), query[:q.end]...)
	flags := flagResponse | flagAvailable | binary.BigEndian.Uint16(query[2:])&(flagDesired|0x7800) | code
	binary.BigEndian.PutUint16(msg[2:], flags)
	clear(msg[6:headerLen])
	return msg
}

// addRecord adds an answer about the name that was asked for.
func addRecord(msg []byte, kind uint16, data []byte) []byte {
	binary.BigEndian.PutUint16(msg[6:], binary.BigEndian.Uint16(msg[6:])+1)
	msg = append(msg, 0xc0, headerLen) // a pointer to the question's name
	msg = binary.BigEndian.AppendUint16(msg, kind)
	msg = binary.BigEndian.AppendUint16(msg, classINET)
	msg = binary.BigEndian.AppendUint32(msg, localTTL)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
	return append(msg, data...)
}

// encodeName is false for what is no name.
func encodeName(name string) ([]byte, bool) {
	var out []byte
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return nil, false
		}
		out = append(append(out, byte(len(label))), label...)
	}
	return append(out, 0), len(out) < 255
}

// reverseName reads the address in a name of in-addr.arpa or ip6.arpa.
func reverseName(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(rest, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var text strings.Builder
	for i := 62; i >= 0; i -= 2 {
		text.WriteByte(rest[i])
		if i%8 == 0 && i > 0 {
			text.WriteByte(':')
		}
		if i > 0 && rest[i-1] != '.' {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(text.String())
	return a, err == nil && a.Is6() && !a.Is4In6()
}
