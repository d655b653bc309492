package engine

import (
	"errors"

	"coracle/netns"
	"coracle/spec"
)

// tun is the container's side.
func (n *network) tun() *spec.Tun {
	if n == nil || n.kind == kindJoined {
		return nil
	}
	c := n.config
	t := &spec.Tun{Name: c.Interface, MTU: c.MTU, Gateway: c.Gateway4.String(), ResolvConf: "nameserver " + c.DNS4.String() + "\n"}
	if c.MAC != (netns.MAC{}) {
		t.MAC = c.MAC[:]
	}
	if c.IPv4.IsValid() {
		t.Address, t.IPv4, t.Gw4, t.Bits4 = c.IPv4.Addr().String(), c.IPv4.Addr().As4(), netns.GatewayOf(c.IPv4).As4(), c.IPv4.Bits()
	}
	if c.IPv6.IsValid() {
		t.IPv6, t.Gw6, t.Bits6 = c.IPv6.Addr().As16(), netns.GatewayOf(c.IPv6).As16(), c.IPv6.Bits()
	}
	for _, p := range n.further() {
		t.More = append(t.More, spec.TunAddress{Address: p.Addr().String(), IP: p.Addr().AsSlice(), Bits: p.Bits()})
	}
	return t
}

// addressFlag is the flag that asks for an address; "" without one.
func (o NetworkOptions) addressFlag() string {
	switch {
	case o.IP != "":
		return "--ip " + o.IP
	case o.IP6 != "":
		return "--ip6 " + o.IP6
	case o.MAC != "":
		return "--mac-address " + o.MAC
	}
	return ""
}

// chooseMAC gives the interface the hardware address of --mac-address.
func chooseMAC(o RunOptions, c *netns.Config) (err error) {
	if o.MAC == "" {
		return nil
	}
	if c.MAC != (netns.MAC{}) {
		return &Error{Op: "--mac-address " + o.MAC, Err: errors.New("the network has mac=" + c.MAC.String()), Help: "leave either out"}
	}
	if c.MAC, err = netns.ParseMAC("--mac-address", o.MAC); err != nil {
		return hinted("", err)
	}
	return nil
}

// chooseIPv6 gives a network of the container's own the address of --ip6.
func chooseIPv6(o RunOptions, c *netns.Config) error {
	switch {
	case o.IP6 == "":
		return nil
	case !c.IPv6.IsValid():
		return &Error{Op: "--ip6 " + o.IP6, Err: errors.New("the network has ipv6=false"), Help: "leave either out"}
	}
	a, err := netns.ChooseIPv6(c.IPv6.Masked(), o.IP6)
	if err != nil {
		return hinted("", err)
	}
	c.SetIPv6(c.IPv6.Masked(), a)
	return nil
}
