package netns

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// HostNetwork is one that the host is in (Own), or reaches by a route that is not
// everybody's.
type HostNetwork struct {
	Prefix netip.Prefix
	Device string
	Own    bool
}

// HostNetworks are those of this machine. What cannot be read is not there.
func HostNetworks() []HostNetwork {
	var out []HostNetwork
	all, _ := net.Interfaces()
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
				out = append(out, HostNetwork{p.Masked(), i.Name, true})
			}
		}
	}
	four, _ := os.ReadFile("/proc/net/route")
	six, _ := os.ReadFile("/proc/net/ipv6_route")
	out = append(append(out, parseRoutes4(string(four))...), parseRoutes6(string(six))...)
	return slices.DeleteFunc(out, func(n HostNetwork) bool { return n.Prefix.Addr().IsLinkLocalUnicast() })
}

// parseRoutes4 reads /proc/net/route: addresses are hexadecimal, in the order of a
// little-endian machine's memory. Routes that are nearly everybody's (as a VPN's two
// halves of the world) say nothing about who is where.
func parseRoutes4(text string) (out []HostNetwork) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		dst, err := strconv.ParseUint(f[1], 16, 32)
		mask, merr := strconv.ParseUint(f[7], 16, 32)
		if err != nil || merr != nil {
			continue // the heading
		}
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(dst), byte(dst >> 8), byte(dst >> 16), byte(dst >> 24)}), bits.OnesCount32(uint32(mask)))
		if p.Bits() >= 8 {
			out = append(out, HostNetwork{Prefix: p, Device: f[0]})
		}
	}
	return out
}

// parseRoutes6 reads /proc/net/ipv6_route, without the routes of single addresses and
// those that lead to lo: refusals, and the host itself.
func parseRoutes6(text string) (out []HostNetwork) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		raw, err := hex.DecodeString(f[0])
		n, nerr := strconv.ParseUint(f[1], 16, 8)
		a, ok := netip.AddrFromSlice(raw)
		if err == nil && nerr == nil && ok && a.Is6() && n >= 8 && n < 128 && f[9] != "lo" && !a.IsMulticast() {
			out = append(out, HostNetwork{Prefix: netip.PrefixFrom(a, int(n)), Device: f[9]})
		}
	}
	return out
}

// Public says whether a network has addresses that somebody in the world may have.
func Public(p netip.Prefix) bool {
	for _, private := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", // RFC 1918, 6598, 2544, 5737
		"fc00::/7", "2001:db8::/32", // RFC 4193, 3849
	} {
		if q := netip.MustParsePrefix(private); q.Bits() <= p.Bits() && q.Contains(p.Addr()) {
			return false
		}
	}
	return true
}

// String is as a sentence has it.
func (n HostNetwork) String() string { return fmt.Sprintf("%s on %s", n.Prefix, n.Device) }
