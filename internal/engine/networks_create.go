package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"coracle/netns"
)

// CreateNetwork makes one.
func (e *Engine) CreateNetwork(o CreateNetworkOptions) (Network, error) {
	op := "create network " + o.Name
	if err := checkName(o.Name); err != nil || o.Name == "" || takenNetworkName(o.Name) {
		return Network{}, &Error{Op: fmt.Sprintf("create network %q", o.Name), Err: errors.New("it cannot have that name"), Help: "letters, digits, _ . - after a letter or digit; not none, host, default or bridge"}
	}
	if kind, _, own := networkMode(o.Name); own || kind == kindJoined || kind == defaultNetwork {
		return Network{}, &Error{Op: op, Err: errors.New("a mode of --network has that name")}
	}
	unlock, err := e.lockNetworks()
	if err != nil {
		return Network{}, err
	}
	defer unlock()
	if n, err := e.readNetwork(o.Name); !isNotFound(err) {
		if err == nil && !o.Ignore {
			err = &Error{Op: op, Err: errors.New("there is one of that name"), Help: "coracle network inspect " + o.Name}
		}
		return n, err
	}
	all, err := e.Networks()
	if err != nil {
		return Network{}, err
	}
	n := Network{Name: o.Name, ID: newID(), Created: time.Now().UTC(), Internal: o.Internal, Labels: o.Labels, Containers: map[string]Endpoint{}}
	taken := occupy(all, e.hostNetworks())
	if err := n.choose(o, taken); err != nil {
		return n, hinted(op, err)
	}
	for _, w := range n.doubts(taken) {
		e.warn("network "+n.Name+": "+w, "leave --subnet out, and a free private one is chosen")
	}
	return n, writeJSON(e.networkFile(o.Name), n, true)
}

// doubts are what may not have been meant: whoever has the same addresses elsewhere
// cannot be reached from the network.
func (n Network) doubts(taken []occupied) (out []string) {
	for _, p := range []netip.Prefix{n.Subnet, n.Subnet6} {
		if p.IsValid() && netns.Public(p) {
			out = append(out, fmt.Sprintf("%s are public addresses: its containers cannot reach those who have them", p))
		}
		for _, t := range taken {
			if p.IsValid() && t.routed && t.prefix.Overlaps(p) {
				out = append(out, fmt.Sprintf("%s overlaps with %s: its containers cannot reach all that is there", p, t.who))
			}
		}
	}
	return out
}

// occupied are addresses that somebody has.
type occupied struct {
	prefix netip.Prefix
	who    string // as the end of a sentence
	routed bool   // it is only known where they are
}

// occupy lists what networks and the host have.
func occupy(all []Network, host []netns.HostNetwork) (out []occupied) {
	for _, n := range all {
		out = append(out, occupied{n.Subnet, fmt.Sprintf("network %s, which has %s", n.Name, n.Subnet), false})
		if n.Subnet6.IsValid() {
			out = append(out, occupied{n.Subnet6, fmt.Sprintf("network %s, which has %s", n.Name, n.Subnet6), false})
		}
	}
	for _, h := range host {
		if h.Own {
			out = append(out, occupied{h.Prefix, fmt.Sprintf("the host's own %s", h), false})
		} else {
			out = append(out, occupied{h.Prefix, fmt.Sprintf("the host's route to %s", h), true})
		}
	}
	return out
}

// choose gives the network the subnets that were asked for, or free ones.
func (n *Network) choose(o CreateNetworkOptions, taken []occupied) error {
	four, six := "", ""
	for _, s := range o.Subnets {
		to := &four
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is6() {
			to = &six
		}
		if *to != "" {
			return &Error{Op: "--subnet " + s, Err: fmt.Errorf("there is %s already", *to), Help: "a network has one IPv4 subnet, and with --ipv6 one of IPv6"}
		}
		*to = s
	}
	words := ""
	if o.MTU != "" {
		words = "mtu=" + o.MTU
	}
	var err error
	if four == "" {
		if four, err = freeSubnet(taken); err != nil {
			return err
		}
	}
	c, err := netns.ParseOptions(words+",cidr="+four, "")
	if err != nil {
		return err
	}
	n.Subnet, n.Gateway, n.MTU = c.IPv4.Masked(), c.Gateway4, c.MTU
	if err := n.clash(n.Subnet, taken); err != nil || six == "" && !o.IPv6 {
		return err
	}
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return &Error{Op: "--ipv6", Err: errors.New("this host's kernel has no IPv6"), Help: "leave it out"}
	}
	n.Subnet6 = freeSubnet6(taken)
	if six != "" {
		if n.Subnet6, err = netns.ParseIPv6Network("--subnet", six); err != nil {
			return err
		}
	}
	c.SetIPv6(n.Subnet6, netip.Addr{})
	n.Gateway6 = c.Gateway6
	return n.clash(n.Subnet6, taken)
}

// clash fails where somebody has addresses of p; see doubts for what is only routed.
func (Network) clash(p netip.Prefix, taken []occupied) error {
	for _, t := range taken {
		if !t.routed && t.prefix.Overlaps(p) {
			return &Error{Err: fmt.Errorf("%s overlaps with %s", p, t.who), Help: "leave --subnet out, and a free one is chosen"}
		}
	}
	return nil
}

// freeSubnet is the first of the pools of podman and docker that nobody has; where the
// host has routes to all of them (10.0.0.0/8, say) one that it is not in itself.
func freeSubnet(taken []occupied) (string, error) {
	for _, routed := range []bool{true, false} {
		for _, pool := range [][2]byte{{10, 89}, {10, 90}, {10, 91}, {172, 30}, {172, 31}, {192, 168}} {
			for i := range 256 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{pool[0], pool[1], byte(i), 0}), 24)
				if !slices.ContainsFunc(taken, func(t occupied) bool { return (routed || !t.routed) && t.prefix.Overlaps(p) }) {
					return p.String(), nil
				}
			}
		}
	}
	return "", errors.New("all of 10.89.0.0/16, 10.90.0.0/15, 172.30.0.0/15 and 192.168.0.0/16 is taken: choose a subnet with --subnet")
}

// freeSubnet6 is a private one that nobody else has: of 2^40 prefixes (RFC 4193).
func freeSubnet6(taken []occupied) (p netip.Prefix) {
	for range 100 { // the first, unless somebody has nearly all of them
		a := [16]byte{0xfd}
		_, _ = rand.Read(a[1:6]) // never fails
		a[1] |= 1                // not that of containers in networks without IPv6
		p = netip.PrefixFrom(netip.AddrFrom16(a), 64)
		if !slices.ContainsFunc(taken, func(t occupied) bool { return t.prefix.Overlaps(p) }) {
			break
		}
	}
	return p
}
