package builtin

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Packets that are composed here: those of UDP and ICMP, which the stack carries
// neither fast nor at all.

const (
	ipv4Len = 20
	ipv6Len = 40
	udpLen  = 8
	echoLen = 8
)

// putHost writes as virtio 0.9 does without VIRTIO_F_VERSION_1: in the order of the host.
func putHost(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }

// ipHeader composes the header of a packet with n bytes behind it.
func ipHeader(b []byte, proto byte, src, dst netip.Addr, n int) []byte {
	if src.Is4() {
		h := append(b, make([]byte, ipv4Len)...)[len(b):]
		h[0], h[8], h[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(h[2:], uint16(ipv4Len+n))
		s, d := src.As4(), dst.As4()
		copy(h[12:], s[:])
		copy(h[16:], d[:])
		binary.BigEndian.PutUint16(h[10:], ^sum(h, 0))
		return append(b, h...)
	}
	h := append(b, make([]byte, ipv6Len)...)[len(b):]
	h[0], h[6], h[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(h[4:], uint16(n))
	s, d := src.As16(), dst.As16()
	copy(h[8:], s[:])
	copy(h[24:], d[:])
	return append(b, h...)
}

// sum is the Internet checksum, not inverted (RFC 1071).
func sum(b []byte, start uint32) uint16 {
	s := uint64(start)
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudo is the sum of the pseudo header of a packet with n bytes behind the IP header.
func pseudo(proto byte, src, dst netip.Addr, n int) uint16 {
	s := uint32(sum(src.AsSlice(), 0)) + uint32(sum(dst.AsSlice(), 0)) + uint32(proto) + uint32(n)&0xffff + uint32(n)>>16
	return sum(nil, s)
}

// udpHeaders are IP's and UDP's for n bytes; the checksum is left to the kernel.
func udpHeaders(room []byte, src, dst netip.AddrPort, n int) []byte {
	b := ipHeader(room, unix.IPPROTO_UDP, src.Addr(), dst.Addr(), udpLen+n)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(udpLen+n))
	return binary.BigEndian.AppendUint16(b, pseudo(unix.IPPROTO_UDP, src.Addr(), dst.Addr(), udpLen+n))
}

// maxUDP is the most that a packet can carry in either family.
func maxUDP(a netip.Addr) int {
	if a.Is4() {
		return maxPacket - ipv4Len - udpLen
	}
	return maxPacket - udpLen - ipv6Len // with a jumbogram there could be more
}

// Types and codes of ICMP.
const (
	echoReply4, echoReply6     = 0, 129
	echoRequest4, echoRequest6 = 8, 128
	unreachable4, unreachable6 = 3, 1
	portCode4, portCode6       = 3, 4
	deniedCode4, deniedCode6   = 13, 1
)

func icmpProto(a netip.Addr) byte {
	if a.Is4() {
		return unix.IPPROTO_ICMP
	}
	return unix.IPPROTO_ICMPV6
}

// icmpPacket is a whole packet; head are ICMP's first eight bytes, their checksum 0.
func icmpPacket(src, dst netip.Addr, head [8]byte, data []byte) []byte {
	n := len(head) + len(data)
	b := ipHeader(make([]byte, 0, ipv6Len+n), icmpProto(src), src, dst, n)
	at := len(b)
	b = append(append(b, head[:]...), data...)
	start := uint32(0)
	if src.Is6() {
		start = uint32(pseudo(unix.IPPROTO_ICMPV6, src, dst, n))
	}
	binary.BigEndian.PutUint16(b[at+2:], ^sum(b[at:], start))
	return b
}

// unreachable tells the sender that nobody took its packet, of which quoted is the
// beginning. It comes from whom the packet was for.
func unreachable(src, dst netip.Addr, denied bool, quoted []byte) []byte {
	head := [8]byte{unreachable4, portCode4}
	if src.Is6() {
		head = [8]byte{unreachable6, portCode6}
	}
	if denied && src.Is6() {
		head[1] = deniedCode6
	} else if denied {
		head[1] = deniedCode4
	}
	return icmpPacket(src, dst, head, quoted)
}

// toAddr and fromAddr go between the two ways to write an address.
func toAddr(a tcpip.Address) netip.Addr {
	out, _ := netip.AddrFromSlice(a.AsSlice())
	return out
}

func fromAddr(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }
