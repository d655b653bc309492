package engine

import (
	"errors"
	"fmt"
	"net/netip"

	"coracle/netns"
)

// EndpointOptions are a container's place in a network, as it was typed; "" is any address.
type EndpointOptions struct {
	IP, IP6 string
	Aliases []string
}

// lease gives a container its addresses in a network, always the same, or those that
// are asked for.
func (e *Engine) lease(name, id string, o EndpointOptions) (Network, Endpoint, error) {
	unlock, err := e.lockNetworks()
	if err != nil {
		return Network{}, Endpoint{}, err
	}
	defer unlock()
	n, err := e.readNetwork(name)
	if err != nil {
		return n, Endpoint{}, err
	}
	if p, ok := n.endpoint(id); ok {
		return n, p, nil
	}
	p := Endpoint{Aliases: o.Aliases}
	if p.IPv4, err = n.free(o.IP); err == nil {
		p.IPv6, err = n.free6(o.IP6)
	}
	if err != nil {
		return n, p, err
	}
	n.Containers[id] = p
	return n, p, writeJSON(e.networkFile(name), n, false)
}

// holders are who has which address.
func (n Network) holders() map[netip.Addr]string {
	taken := map[netip.Addr]string{}
	for id, p := range n.Containers {
		who := fmt.Sprintf("%.12s %s", id, p.Name)
		taken[p.IPv4], taken[p.IPv6] = who, who
	}
	return taken
}

// free is an IPv4 address that nobody has.
func (n Network) free(ip string) (netip.Addr, error) {
	if ip == "" {
		return n.next(n.Gateway, n.Subnet)
	}
	c, err := netns.ParseOptions("cidr="+n.Subnet.String(), ip)
	if err != nil {
		return netip.Addr{}, hinted("", err)
	}
	return n.take("--ip", c.IPv4.Addr())
}

// free6 is an IPv6 address that nobody has; none in a network without.
func (n Network) free6(ip string) (netip.Addr, error) {
	switch {
	case !n.Subnet6.IsValid() && ip != "":
		return netip.Addr{}, &Error{Op: "--ip6 " + ip, Err: fmt.Errorf("network %s has no IPv6 addresses", n.Name), Help: "make one that has: coracle network create --ipv6 NAME"}
	case !n.Subnet6.IsValid():
		return netip.Addr{}, nil
	case ip == "":
		return n.next(n.Gateway6, n.Subnet6)
	}
	a, err := netns.ChooseIPv6(n.Subnet6, ip)
	if err != nil {
		return a, hinted("", err)
	}
	return n.take("--ip6", a)
}

func (n Network) take(flag string, a netip.Addr) (netip.Addr, error) {
	if who, ok := n.holders()[a]; ok {
		return netip.Addr{}, &Error{Op: flag + " " + a.String(), Err: errors.New("container " + who + " has it"), Help: "choose another, or leave it out"}
	}
	return a, nil
}

// next is the first behind the gateway and the name server that nobody has. (The last
// address is a broadcast's.)
func (n Network) next(gateway netip.Addr, subnet netip.Prefix) (netip.Addr, error) {
	taken, a := n.holders(), gateway.Next().Next()
	for range 1 << 16 {
		if !subnet.Contains(a) || !subnet.Contains(a.Next()) {
			break
		}
		if _, ok := taken[a]; !ok {
			return a, nil
		}
		a = a.Next()
	}
	return netip.Addr{}, &Error{Op: "--network " + n.Name, Err: fmt.Errorf("all addresses of %s are taken", subnet), Help: "remove containers that are not needed, or make a larger network"}
}

// unlease takes a container out of a network.
func (e *Engine) unlease(name, id string) (p Endpoint, err error) {
	unlock, err := e.lockNetworks()
	if err != nil {
		return p, err
	}
	defer unlock()
	n, err := e.readNetwork(name)
	if err != nil {
		return p, hinted("", err)
	}
	p, ok := n.endpoint(id)
	if !ok {
		return p, errors.New("the container is not in it")
	}
	delete(n.Containers, id)
	return p, writeJSON(e.networkFile(name), n, false)
}
