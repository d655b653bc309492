package builtin

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// quick passes a datagram of a flow that is there already, as it was read: gVisor
// would copy it twice, and ask all of its tables first. What is false goes the long way.
func (n *Network) quick(b []byte) bool {
	from, to, payload, ok := datagram(b)
	if !ok {
		return false
	}
	f := n.udp.known(flowKey{unix.IPPROTO_UDP, from, to})
	if f == nil {
		return false
	}
	n.link.out.add(f, payload)
	return true
}

// known gives the flow, if there is one, and the datagram answers no session.
func (f *flows) known(key flowKey) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.published[key] != nil {
		return nil
	}
	c := f.m[key]
	if c != nil {
		c.used.Store(clock())
	}
	return c
}

// datagram takes a packet apart that is UDP, whole, and without options; anything else
// is not ok.
func datagram(b []byte) (from, to netip.AddrPort, payload []byte, ok bool) {
	var src, dst netip.Addr
	var rest []byte
	switch {
	case len(b) >= ipv4Len+udpLen && b[0] == 0x45 && b[9] == unix.IPPROTO_UDP:
		const moreOrOffset = 0x3fff
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) || n < ipv4Len+udpLen || binary.BigEndian.Uint16(b[6:])&moreOrOffset != 0 || b[8] == 0 {
			return from, to, nil, false
		}
		src, dst, rest = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[ipv4Len:n]
	case len(b) >= ipv6Len+udpLen && b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP:
		n := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
		if n > len(b) || n < ipv6Len+udpLen || b[7] == 0 {
			return from, to, nil, false
		}
		src, dst, rest = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[ipv6Len:n]
	default:
		return from, to, nil, false
	}
	n := int(binary.BigEndian.Uint16(rest[4:]))
	if n < udpLen || n > len(rest) {
		return from, to, nil, false
	}
	from = netip.AddrPortFrom(src, binary.BigEndian.Uint16(rest))
	to = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(rest[2:]))
	return from, to, rest[udpLen:n], true
}
