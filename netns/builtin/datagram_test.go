package builtin

import (
	"net/netip"
	"testing"
)

// TestDatagram: what is not a whole datagram without options is left to the stack, and
// no length in it leads out of the packet.
func TestDatagram(t *testing.T) {
	for _, family := range [][2]string{{"10.0.2.100:5", "192.0.2.1:7"}, {"[fd00::100]:5", "[2001:db8::1]:7"}} {
		from, to := netip.MustParseAddrPort(family[0]), netip.MustParseAddrPort(family[1])
		whole := append(udpHeaders(nil, from, to, 3), "abc"...)
		f, g, b, ok := datagram(append(whole, "padding"...))
		if !ok || f != from || g != to || string(b) != "abc" {
			t.Errorf("%s to %s: %v %v %q %v", from, to, f, g, b, ok)
		}
		for n := range len(whole) {
			if _, _, b, ok := datagram(whole[:n]); ok {
				t.Errorf("%d bytes of %d are a datagram: %q", n, len(whole), b)
			}
		}
		ip := ipv4Len
		if from.Addr().Is6() {
			ip = ipv6Len
		}
		for name, change := range map[string]func(b []byte){
			"another protocol":         func(b []byte) { b[6], b[9] = 6, 6 },
			"the UDP length too long":  func(b []byte) { b[ip+4], b[ip+5] = 0, 12 },
			"the UDP length too short": func(b []byte) { b[ip+4], b[ip+5] = 0, 7 },
			"no hops left":             func(b []byte) { b[7], b[8] = 0, 0 },
			"another version":          func(b []byte) { b[0] = 0x55 },
		} {
			other := append([]byte(nil), whole...)
			change(other)
			if _, _, b, ok := datagram(other); ok {
				t.Errorf("%s, %s: %q", from, name, b)
			}
		}
		if from.Addr().Is6() {
			continue
		}
		for name, change := range map[string]func(b []byte){
			"options":                func(b []byte) { b[0] = 0x46 },
			"more fragments":         func(b []byte) { b[6] |= 0x20 },
			"a later fragment":       func(b []byte) { b[7] |= 1 },
			"the IP length too long": func(b []byte) { b[3] += 1 },
			"the IP length short":    func(b []byte) { b[3] = ipv4Len },
		} {
			other := append([]byte(nil), whole...)
			change(other)
			if _, _, b, ok := datagram(other); ok {
				t.Errorf("%s: %q", name, b)
			}
		}
	}
}
