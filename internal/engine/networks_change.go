package engine

import (
	"errors"
	"net/netip"
	"slices"

	"coracle/netns"
	"coracle/netns/builtin"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// The monitor's side of network connect and disconnect.

// changeNetworks carries out what a command asks for.
func (m *monitor) changeNetworks(r doorRequest) error {
	if len(r.Ports) != 1 {
		return errors.New("one network is to be named")
	}
	n, err := m.e.readNetwork(r.Ports[0])
	if err != nil {
		return err
	}
	_, done, err := m.carrier()
	if err != nil {
		return err
	}
	defer done()
	if r.Op == "join" {
		return m.enterNetwork(n)
	}
	return m.leaveNetwork(n)
}

// enterNetwork is for one that the container has its place in already.
func (m *monitor) enterNetwork(n Network) error {
	if m.net.rules != nil {
		return errRules
	}
	before := *m.net
	m.net.settle(m.e.networksOf(m.id))
	err := m.changeAddresses(&before)
	if err == nil {
		err = m.joinNetwork(n, m.net.device)
	}
	if err != nil {
		after := *m.net
		m.net.home, m.net.shared, m.net.config, m.net.lans = before.home, before.shared, before.config, before.lans
		_ = m.changeAddresses(&after)
		m.net.driver.(*builtin.Network).Join(m.net.lans, m.net.config)
	}
	return err
}

// leaveNetwork is the opposite: first nobody of the network is reached any more, then
// its addresses go.
func (m *monitor) leaveNetwork(n Network) error {
	if mesh := m.net.meshes[n.Name]; mesh != nil {
		mesh.Close()
		delete(m.net.meshes, n.Name)
	}
	before := *m.net
	m.net.settle(slices.DeleteFunc(m.e.networksOf(m.id), func(other Network) bool { return other.Name == n.Name }))
	p := n.Containers[m.id]
	m.net.lans = nil
	for _, l := range before.lans {
		if l.Own != p.IPv4 && l.Own != p.IPv6 {
			m.net.lans = append(m.net.lans, l)
		}
	}
	m.net.driver.(*builtin.Network).Join(m.net.lans, m.net.config)
	if n.Name == m.o.Network && m.o.Left == nil {
		left := n.leave()
		m.o.Left = &left // the next start by this monitor
	}
	return m.changeAddresses(&before)
}

// addresses are all of the interface, those of the first network first.
func (n *network) addresses() (out []netip.Prefix) {
	for _, p := range []netip.Prefix{n.config.IPv4, n.config.IPv6} {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return append(out, n.further()...)
}

// addressChanges turn one set of addresses into the other: what comes, and by which
// gateways all goes then; and what goes.
func addressChanges(before, after *network) (come, goes []userns.Change) {
	old, fresh := before.addresses(), after.addresses()
	for _, p := range fresh {
		if !slices.Contains(old, p) {
			come = append(come, userns.Change{Kind: userns.AddAddress, IP: p.Addr().AsSlice(), Bits: p.Bits()})
		}
	}
	for _, pair := range [][2]netip.Prefix{{before.config.IPv4, after.config.IPv4}, {before.config.IPv6, after.config.IPv6}} {
		if pair[1].IsValid() && pair[0].Masked() != pair[1].Masked() {
			come = append(come, userns.Change{Kind: userns.RouteBy, IP: netns.GatewayOf(pair[1]).AsSlice()})
		}
	}
	for _, p := range old {
		if !slices.Contains(fresh, p) {
			goes = append(goes, userns.Change{Kind: userns.RemoveAddress, IP: p.Addr().AsSlice(), Bits: p.Bits()})
		}
	}
	return come, goes
}

// changeAddresses gives the interface of the running container the addresses that it
// is to have, and takes those away that it had before.
func (r *run) changeAddresses(before *network) error {
	come, goes := addressChanges(before, r.net)
	place, err := r.openInside()
	if err != nil {
		return err
	}
	defer place.Close()
	device := r.net.config.Interface
	if len(come) > 0 {
		if err := place.ChangeAddresses(device, come...); err != nil {
			return err
		}
	}
	for _, c := range goes { // one by one: the container may have removed some itself
		if err := place.ChangeAddresses(device, c); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
	}
	return nil
}
