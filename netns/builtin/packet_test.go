package builtin

import (
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// TestPackets has gVisor judge what is composed here.
func TestPackets(t *testing.T) {
	a4, b4 := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("10.0.2.100:4000")
	a6, b6 := netip.MustParseAddrPort("[2001:db8::1]:53"), netip.MustParseAddrPort("[fd00::100]:4000")
	for _, n := range []int{0, 1, 7, 1472, 60000} {
		data := pattern(n)
		h := udpHeaders(nil, a4, b4, n)
		ip := header.IPv4(h)
		if !ip.IsValid(len(h)+n) || !ip.IsChecksumValid() || toAddr(ip.SourceAddress()) != a4.Addr() || toAddr(ip.DestinationAddress()) != b4.Addr() {
			t.Errorf("IPv4 of %d bytes: %x", n, h)
		}
		u := header.UDP(h[ipv4Len:])
		if u.SourcePort() != 53 || u.DestinationPort() != 4000 || int(u.Length()) != udpLen+n ||
			u.Checksum() != header.PseudoHeaderChecksum(header.UDPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), u.Length()) {
			t.Errorf("UDP of %d bytes: %x", n, h)
		}
		h = udpHeaders(nil, a6, b6, n)
		ip6 := header.IPv6(h)
		if !ip6.IsValid(len(h)+n) || toAddr(ip6.SourceAddress()) != a6.Addr() || toAddr(ip6.DestinationAddress()) != b6.Addr() {
			t.Errorf("IPv6 of %d bytes: %x", n, h)
		}
		p := icmpPacket(a4.Addr(), b4.Addr(), [8]byte{8, 0, 0, 0, 1, 2, 3, 4}, data)
		if header.ICMPv4Checksum(p[ipv4Len:ipv4Len+8], sum(data, 0)) != header.ICMPv4(p[ipv4Len:]).Checksum() {
			t.Errorf("ICMP of %d bytes", n)
		}
		p = icmpPacket(a6.Addr(), b6.Addr(), [8]byte{128, 0, 0, 0, 1, 2, 3, 4}, data)
		want := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
			Header: header.ICMPv6(p[ipv6Len:]), Src: fromAddr(a6.Addr()), Dst: fromAddr(b6.Addr()),
		})
		if got := header.ICMPv6(p[ipv6Len:]).Checksum(); got != want {
			t.Errorf("ICMPv6 of %d bytes: checksum %x, want %x", n, got, want)
		}
	}
}

// sink takes packets, and looks at all of each.
type sink struct {
	t *testing.T
	n int
}

func (s *sink) DeliverNetworkPacket(p tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	s.n += pkt.Data().Size()
	if v := pkt.Data().AsRange().ToSlice(); len(v) > 0 && (v[0]>>4 == 6) != (p == header.IPv6ProtocolNumber) {
		s.t.Errorf("%x is taken for protocol %x", v[0], p)
	}
}
func (*sink) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// FuzzDeliver: whatever a container writes arrives whole, or not at all.
func FuzzDeliver(f *testing.F) {
	tcp4 := ipHeader(nil, 6, world4, netip.MustParseAddr("10.0.2.100"), 20)
	f.Add(append(tcp4, make([]byte, 20)...), 0)
	f.Add(append(ipHeader(nil, 6, world6, netip.MustParseAddr("fd00::100"), 20), make([]byte, 12)...), 40000)
	f.Add([]byte{0x4f}, 60000)
	f.Add([]byte{0x65, 0, 0, 0, 0, 0, 6}, 60000)
	f.Fuzz(func(t *testing.T, head []byte, more int) {
		size := min(len(head)+max(more, 0)%maxPacket, maxPacket)
		if size == 0 {
			return
		}
		l := &link{}
		l.room = l.rooms.next()
		copy(l.room.AsSlice(), head)
		s := &sink{t: t}
		l.deliver(s, size)
		if s.n != 0 && s.n != size {
			t.Errorf("%d of %d bytes arrived", s.n, size)
		}
	})
}
