package netns

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Limits and defaults of a network. Names and numbers are those of slirp4netns,
// which rootless users know.
const (
	DefaultMTU = 1500
	MinMTU     = 1280 // IPv6 needs it (RFC 8200)
	MaxMTU     = 65520

	defaultIPv4 = "10.0.2.0/24"
	defaultIPv6 = "fd00::/64"
)

// OptionError is a network that cannot be, with the word that says so.
type OptionError struct {
	Option, Value, Why, Help string
}

func (e *OptionError) Error() string {
	if strings.HasPrefix(e.Option, "--") {
		return e.Option + " " + e.Value + ": " + e.Why
	}
	return e.Option + "=" + e.Value + ": " + e.Why
}

// Hint is what to type instead; "" for none.
func (e *OptionError) Hint() string { return e.Help }

// ParseOptions reads what follows the driver's name, KEY=VALUE with commas
// between. ip is the address that was asked for, or "".
func ParseOptions(words, ip string) (Config, error) {
	c := Config{Interface: "eth0", MTU: DefaultMTU}
	v4, v6 := netip.MustParsePrefix(defaultIPv4), true
	given := map[string]bool{}
	for word := range strings.SplitSeq(words, ",") {
		if word == "" {
			continue
		}
		key, value, _ := strings.Cut(word, "=")
		switch key { // slirp4netns' words, as podman takes them
		case "enable_ipv6":
			key = "ipv6"
		case "allow_host_loopback":
			key = "host-loopback"
		}
		if given[key] {
			return c, &OptionError{key, value, "it is given twice", ""}
		}
		given[key] = true
		var err error
		switch key {
		case "mtu":
			c.MTU, err = parseMTU(value)
		case "cidr":
			v4, err = parseCIDR(value)
		case "ipv6":
			v6, err = parseBool(key, value)
		case "host-loopback":
			c.HostLoopback, err = parseBool(key, value)
		case "mac":
			c.MAC, err = ParseMAC(key, value)
		default:
			err = &OptionError{key, value, "there is no such option", "there are mtu=, cidr=, ipv6=, mac= and host-loopback="}
		}
		if err != nil {
			return c, err
		}
	}
	if err := c.place4(v4, ip); err != nil {
		return c, err
	}
	if v6 {
		c.place6(netip.MustParsePrefix(defaultIPv6))
	}
	return c, nil
}

func parseMTU(value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < MinMTU || n > MaxMTU {
		return 0, &OptionError{"mtu", value, fmt.Sprintf("must be a number from %d to %d", MinMTU, MaxMTU), ""}
	}
	return n, nil
}

func parseBool(key, value string) (bool, error) {
	switch value {
	case "true", "":
		return true, nil
	case "false":
		return false, nil
	}
	return false, &OptionError{key, value, "must be true or false", ""}
}

// ParseMAC reads the hardware address of an interface.
func ParseMAC(option, value string) (m MAC, err error) {
	refuse := func(why string) (MAC, error) {
		return m, &OptionError{option, value, why, "for example 02:00:5e:10:00:01: addresses that begin with 02 are everybody's to give"}
	}
	a, err := net.ParseMAC(value)
	switch {
	case err != nil || len(a) != len(m):
		return refuse("must be six bytes, as 02:00:5e:10:00:01")
	case a[0]&1 != 0:
		return refuse("it is the address of a group")
	}
	if m = MAC(a); m == (MAC{}) {
		return refuse("no interface can have it")
	}
	return m, nil
}

func parseCIDR(value string) (netip.Prefix, error) {
	refuse := func(why string) (netip.Prefix, error) {
		return netip.Prefix{}, &OptionError{"cidr", value, why, "private networks are 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16, or parts of them"}
	}
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is4():
		return refuse("must be an IPv4 network like 10.0.2.0/24")
	case p.Masked() != p:
		return refuse("bits are set behind the mask; did you mean " + p.Masked().String() + "?")
	case p.Bits() < 8 || p.Bits() > 29:
		return refuse("the mask must be from /8 to /29")
	case p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Addr().As4()[0] == 0 || p.Addr().As4()[0] >= 240:
		return refuse("no host can have such addresses")
	}
	return p, nil
}

// place4 gives out the network's addresses: .2 is the gateway, .3 the name
// server, and .100 the container, or .4 where the network is too small for that.
func (c *Config) place4(p netip.Prefix, ip string) error {
	c.Gateway4, c.DNS4 = nth(p.Addr(), 2), nth(p.Addr(), 3)
	own := defaultAddress(p)
	if ip != "" {
		a, err := netip.ParseAddr(ip)
		switch {
		case err != nil || !a.Is4():
			return &OptionError{"--ip", ip, "must be an IPv4 address", ""}
		case !p.Contains(a):
			return &OptionError{"--ip", ip, "it is not in the container's network " + p.String(), "choose one of it, or another network: --network builtin:cidr=…"}
		case a == p.Addr() || !p.Contains(a.Next()):
			return &OptionError{"--ip", ip, "it is the network's own or its broadcast address", ""}
		case a == c.Gateway4 || a == c.DNS4:
			return &OptionError{"--ip", ip, "the gateway and the name server have " + c.Gateway4.String() + " and " + c.DNS4.String(), ""}
		}
		own = a
	}
	c.IPv4 = netip.PrefixFrom(own, p.Bits())
	return nil
}

// defaultAddress is the container's in a network.
func defaultAddress(p netip.Prefix) netip.Addr {
	if own := nth(p.Addr(), 100); p.Contains(nth(own, 1)) {
		return own
	}
	return nth(p.Addr(), 4)
}

// DefaultIPv4 is the address that a container has in its network without --ip.
func (c Config) DefaultIPv4() netip.Addr { return defaultAddress(c.IPv4.Masked()) }

func (c *Config) place6(p netip.Prefix) { c.SetIPv6(p, nth(p.Addr(), 0x100)) }

// DefaultIPv6 is the address that a container has that nobody asked about.
func DefaultIPv6() netip.Prefix {
	p := netip.MustParsePrefix(defaultIPv6)
	return netip.PrefixFrom(nth(p.Addr(), 0x100), p.Bits())
}

// SetIPv6 gives it an IPv6 network, and an address there.
func (c *Config) SetIPv6(p netip.Prefix, own netip.Addr) {
	c.Gateway6, c.DNS6 = nth(p.Addr(), 2), nth(p.Addr(), 3)
	c.IPv6 = netip.PrefixFrom(own, p.Bits())
}

// GatewayOf is the gateway of the network that an address is in.
func GatewayOf(p netip.Prefix) netip.Addr { return nth(p.Masked().Addr(), 2) }

// ParseIPv6Network reads one that containers can share.
func ParseIPv6Network(option, value string) (netip.Prefix, error) {
	refuse := func(why string) (netip.Prefix, error) {
		return netip.Prefix{}, &OptionError{option, value, why, "private networks are parts of fd00::/8, as fd12:3456:789a::/64"}
	}
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is6() || p.Addr().Is4In6():
		return refuse("must be an IPv6 network like fd12:3456:789a::/64")
	case p.Masked() != p:
		return refuse("bits are set behind the mask; did you mean " + p.Masked().String() + "?")
	case p.Bits() < 16 || p.Bits() > 120:
		return refuse("the mask must be from /16 to /120")
	case p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Addr().As16()[0] == 0:
		return refuse("no host can have such addresses")
	case p.Overlaps(netip.MustParsePrefix(defaultIPv6)):
		return refuse("containers of networks without IPv6 have it")
	}
	return p, nil
}

// ChooseIPv6 reads the address of --ip6, which is to be one of the network.
func ChooseIPv6(p netip.Prefix, ip string) (netip.Addr, error) {
	refuse := func(why string) (netip.Addr, error) { return netip.Addr{}, &OptionError{"--ip6", ip, why, ""} }
	a, err := netip.ParseAddr(ip)
	gateway, server := nth(p.Addr(), 2), nth(p.Addr(), 3)
	switch {
	case err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "":
		return refuse("must be an IPv6 address")
	case !p.Contains(a):
		return refuse("it is not in the network " + p.Masked().String())
	case a == p.Addr():
		return refuse("it is the network's own address")
	case a == gateway || a == server:
		return refuse("the gateway and the name server have " + gateway.String() + " and " + server.String())
	}
	return a, nil
}

// nth is the address n places after a.
func nth(a netip.Addr, n uint16) netip.Addr {
	b := a.AsSlice()
	carry := uint32(n)
	for i := len(b) - 1; i >= 0 && carry > 0; i-- {
		carry += uint32(b[i])
		b[i] = byte(carry)
		carry >>= 8
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}

// Refused says why the host must not be asked to talk to an address on the
// container's behalf; "" when it may. The gateway is not among them: see HostLoopback.
func Refused(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return "it is no address"
	case a.IsUnspecified():
		return "it means the host itself" // the kernel connects to its loopback
	case a.IsLoopback():
		return "it is the host's loopback"
	case a.IsMulticast():
		return "it is a group of hosts"
	case a.Is4() && a.As4()[0] == 0, a.Is4() && a.As4()[0] >= 240:
		return "no host has it"
	case a.Is6() && a.IsLinkLocalUnicast():
		return "it is known on one link only"
	}
	return ""
}
