package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"coracle/netns"
	"coracle/netns/builtin"
	"coracle/netns/mesh"

	"golang.org/x/sys/unix"
)

// named says whether a value of --network is the name of one that containers share.
func named(mode string) bool {
	kind, _, own := networkMode(mode)
	return mode != "" && mode != "none" && mode != "host" && !own && kind == mode && checkName(mode) == nil
}

// planNamed is the network of a container in a network with others.
func (e *Engine) planNamed(o RunOptions, id string) (*network, error) {
	in := LeftNetwork{}
	if o.Left != nil {
		in = *o.Left
	} else {
		n, _, err := e.lease(o.Network, id, EndpointOptions{o.IP, o.IP6, o.Aliases})
		if err != nil {
			return nil, hinted("--network "+o.Network, err)
		}
		in = n.leave()
	}
	out := &network{kind: kindBuiltin, name: o.Network}
	var err error
	if out.config, err = netns.ParseOptions(fmt.Sprintf("mtu=%d,cidr=%s", in.MTU, in.Subnet), ""); err != nil {
		return nil, hinted("--network "+o.Network, err)
	}
	if in.Subnet6.IsValid() {
		out.config.SetIPv6(in.Subnet6, netip.Addr{})
	}
	if err := chooseMAC(o, &out.config); err != nil {
		return nil, err
	}
	if out.rules, err = planEgress(o, &out.config); err == nil && out.rules != nil {
		_, err = planNetwork(o)
	}
	if err != nil {
		return nil, err
	}
	if out.ports, err = netns.ParsePorts(o.Publish); err != nil {
		return nil, hinted("", err)
	}
	return out, nil
}

// leave is what stays of a network for who has left it.
func (n Network) leave() LeftNetwork { return LeftNetwork{n.Subnet, n.Subnet6, n.MTU} }

// settle gives the container its places in all of these networks. The addresses that
// come first are those in the network that it was made with, if it is still there. With
// none it has no address; and it has the outside unless all of them are internal.
func (n *network) settle(all []Network) {
	n.shared = all
	if n.name == "" {
		return // it has a network of its own, too
	}
	n.home, n.config.Internal, n.config.IPv4, n.config.IPv6 = "", true, netip.Prefix{}, netip.Prefix{}
	if len(all) == 0 {
		return
	}
	home := all[0]
	for _, s := range all {
		n.config.Internal = n.config.Internal && s.Internal
		if s.Name == n.name || home.Name != n.name && home.Internal && !s.Internal {
			home = s
		}
	}
	p := home.Containers[n.id]
	n.home, n.config.IPv4, n.config.IPv6 = home.Name, netip.PrefixFrom(p.IPv4, home.Subnet.Bits()), netns.DefaultIPv6()
	if home.Subnet6.IsValid() {
		n.config.IPv6 = netip.PrefixFrom(p.IPv6, home.Subnet6.Bits())
	}
}

// further are the addresses in other networks than the first.
func (n *network) further() (out []netip.Prefix) {
	for _, s := range n.shared {
		p := s.Containers[n.id]
		if s.Name == n.home || !p.IPv4.IsValid() {
			continue
		}
		out = append(out, netip.PrefixFrom(p.IPv4, s.Subnet.Bits()))
		if s.Subnet6.IsValid() {
			out = append(out, netip.PrefixFrom(p.IPv6, s.Subnet6.Bits()))
		}
	}
	return out
}

// planNetworks is planNetwork for a container that is made: it gets its place in all of
// the networks that were named. Later they are what network connect has left.
func (e *Engine) planNetworks(o RunOptions, id string) (*network, error) {
	if err := e.checkSeveral(o); err != nil {
		return nil, err
	}
	if err := checkAliases("--network-alias", o.Aliases); err != nil {
		return nil, err
	}
	for _, name := range o.Networks {
		if _, _, err := e.lease(name, id, EndpointOptions{Aliases: o.Aliases}); err != nil {
			return nil, hinted("--network "+name, err)
		}
	}
	return e.planNetwork(o, id)
}

// checkSeveral fails where the networks of --network cannot be had together.
func (e *Engine) checkSeveral(o RunOptions) error {
	if len(o.Networks) == 0 {
		return nil
	}
	if kind, _, own := networkMode(o.Network); !named(o.Network) && (!own || kind != kindBuiltin) {
		return &Error{Op: "--network " + o.Network, Err: errors.New("it cannot be one of several networks"), Help: "private can, and networks that containers share"}
	}
	if o.ruled() {
		return &Error{Op: "--network " + o.Networks[0], Err: errRules, Help: "--network private, or leave the rules out"}
	}
	for i, name := range o.Networks {
		op := "--network " + name
		switch {
		case !named(name):
			return &Error{Op: op, Err: errors.New("behind another only networks that containers share can stand"), Help: "name it first"}
		case name == o.Network || slices.Contains(o.Networks[:i], name):
			return &Error{Op: op, Err: errors.New("it is named twice")}
		}
		n, err := e.readNetwork(name)
		if err == nil {
			err = n.checkBeside(o.Network)
		}
		if err != nil {
			return hinted(op, err)
		}
	}
	return nil
}

// errRules: another container could go out for this one.
var errRules = errors.New("a container with rules for what it may reach can be in no network with others")

// duplicate is a second descriptor of a device, which the others of a network get.
func duplicate(dev *os.File) (*os.File, error) {
	raw, err := dev.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, derr := -1, error(nil)
	if err := raw.Control(func(f uintptr) { fd, derr = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, derr
	}
	return os.NewFile(uintptr(fd), "device"), nil
}

// meetOthers joins the networks that the container is part of.
func (r *run) meetOthers(dev *os.File) error {
	for _, n := range r.net.shared {
		if err := r.joinNetwork(n, dev); err != nil {
			return fmt.Errorf("join network %s: %w", n.Name, err)
		}
	}
	return nil
}

// joinNetwork joins one whose address the interface has.
func (r *run) joinNetwork(n Network, dev *os.File) error {
	d, ok := r.net.driver.(*builtin.Network)
	if !ok {
		return errors.New("only a container with the builtin network can be in one with others")
	}
	if r.net.rules != nil {
		return errRules
	}
	p := n.Containers[r.id]
	names := append([]string{r.box.Name, r.id[:12]}, p.Aliases...)
	if h := r.result.Spec.Hostname; h != "" {
		names = append(names, h)
	}
	r.net.lans = append(r.net.lans, netns.Lan{Prefix: n.Subnet, Own: p.IPv4, Names: names})
	if n.Subnet6.IsValid() {
		r.net.lans = append(r.net.lans, netns.Lan{Prefix: n.Subnet6, Own: p.IPv6, Names: names})
	}
	d.Join(r.net.lans, r.net.config)
	copied, err := duplicate(dev)
	if err != nil {
		return err
	}
	m, err := mesh.Join(r.e.networkDoors(n.Name), mesh.Member{ID: r.id, Addr: p.IPv4, Addr6: p.IPv6, Names: names, MAC: r.net.config.MAC}, copied, func(m mesh.Member, device *os.File) (func(), error) {
		return d.Meet(builtin.Peer{Addrs: m.Addrs(), Names: m.Names, MAC: m.MAC}, device)
	})
	if err != nil {
		return err
	}
	if r.net.meshes == nil {
		r.net.meshes = map[string]*mesh.Mesh{}
	}
	r.net.meshes[n.Name] = m
	return nil
}
