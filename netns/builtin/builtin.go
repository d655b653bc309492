// Package builtin is the network in user space that needs no helper: gVisor's TCP
// in this process, on a TUN device in the container's network namespace. TCP
// connections end here, and go on as connections of ours; UDP and pings are passed
// packet by packet between the device and sockets of ours; questions about names are
// answered by netns.Resolver. Nothing of it needs privileges on the host.
package builtin

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"coracle/internal/later"
	"coracle/netns"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Network is a netns.Driver.
type Network struct {
	config   netns.Config
	resolver *netns.Resolver
	gate     netns.Gate // nil: all may go out
	tap      netns.Tap  // nil: nobody listens

	link  *link
	stack *stack.Stack
	peers peers
	udp   flows         // of datagrams, echoes among them
	names chan struct{} // a place for each question that is being answered

	mu        sync.Mutex
	closed    bool
	serving   bool // since Attach
	conns     map[*conn]struct{}
	listeners []listener
}

var _ netns.Driver = (*Network)(nil)

const (
	nic = 1

	// maxPending is how many connections of the container's may wait for an
	// answer of the other side; a SYN more is dropped, and sent again.
	maxPending = 1024
	// maxQuestions is the same for questions about names.
	maxQuestions = 128

	dialTimeout = 2 * time.Minute // the kernel's own for a SYN: 127 s
	timeWait    = 5 * time.Second // no packet is on its way for longer between here and the container
)

// New makes the network of a container.
func New(c netns.Config) *Network {
	return &Network{config: c, resolver: netns.NewResolver(c), conns: map[*conn]struct{}{}, names: make(chan struct{}, maxQuestions)}
}

// Guard has a gate decide what goes out, and Tap a listener hear of all packets;
// both are for before Attach.
func (n *Network) Guard(g netns.Gate) { n.gate = g }

// Tap is Guard's counterpart.
func (n *Network) Tap(t netns.Tap) { n.tap = t }

// initialise is for before anything of gVisor's is used.
var initialise = sync.OnceFunc(later.GVisor)

// Attach begins to serve.
func (n *Network) Attach(dev *os.File) (err error) {
	initialise()
	defer func() {
		if err != nil {
			dev.Close()
			err = fmt.Errorf("start the builtin network: %w", err)
		}
	}()
	if n.link, err = newLink(dev, n.config.MTU); err != nil {
		return err
	}
	n.link.tap, n.link.toPeer = n.tap, n.toPeer
	n.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := n.configure(); err != nil {
		n.stack.Destroy()
		return err
	}
	n.udp.init(n)
	forwarder := tcp.NewForwarder(n.stack, 0, maxPending, n.handleTCP)
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, n.handleUDP)
	n.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, n.handleEcho)
	n.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, n.handleEcho)
	go n.link.serve()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving = true
	for _, l := range n.listeners {
		go l.serve()
	}
	return nil
}

// configure gives the stack its addresses: those of the gateway and of the name
// server are its own, and it takes packets for all others, too.
func (n *Network) configure() error {
	sack, moderate, wait := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.TCPTimeWaitTimeoutOption(timeWait)
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &wait} {
		if e := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); e != nil {
			return fmt.Errorf("set up TCP: %s", e)
		}
	}
	if e := n.stack.CreateNIC(nic, n.link); e != nil {
		return fmt.Errorf("make the interface: %s", e)
	}
	if e := n.stack.SetPromiscuousMode(nic, true); e != nil {
		return fmt.Errorf("take all packets: %s", e)
	}
	if e := n.stack.SetSpoofing(nic, true); e != nil {
		return fmt.Errorf("send as anybody: %s", e)
	}
	for _, a := range []netip.Addr{n.config.Gateway4, n.config.DNS4, n.config.Gateway6, n.config.DNS6} {
		if !a.IsValid() {
			continue
		}
		proto := ipv4.ProtocolNumber
		if a.Is6() {
			proto = ipv6.ProtocolNumber
		}
		address := tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: tcpip.AddressWithPrefix{Address: fromAddr(a), PrefixLen: a.BitLen()}}
		if e := n.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); e != nil {
			return fmt.Errorf("give it the address %s: %s", a, e)
		}
	}
	n.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	return nil
}

// isOurs says whether an address is one of the stack's own.
func (n *Network) isOurs(a netip.Addr) bool {
	c := n.config
	return a == c.Gateway4 || a == c.DNS4 || a == c.Gateway6 || a == c.DNS6
}

// isDNS says whether questions about names go there.
func (n *Network) isDNS(a netip.AddrPort) bool {
	return a.Port() == 53 && (a.Addr() == n.config.DNS4 || a.Addr() == n.config.DNS6)
}

// outside is where on the host's side a destination of the container's is. There
// is one rule for all protocols.
func (n *Network) outside(to netip.AddrPort) (netip.AddrPort, bool) {
	a := to.Addr().Unmap()
	switch {
	case n.config.HostLoopback && a == n.config.Gateway4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()), true
	case n.config.HostLoopback && a == n.config.Gateway6:
		return netip.AddrPortFrom(netip.IPv6Loopback(), to.Port()), true
	case n.isOurs(a), a == n.config.IPv4.Addr(), a == n.config.IPv6.Addr(), n.config.Internal, n.peers.now.Load().lan(a) != nil:
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, to.Port()), netns.Refused(a) == ""
}

// open asks whether the container may talk to somebody, and where that one is.
// Without a gate the flow is one that nobody looks at.
func (n *Network) open(protocol string, to netip.AddrPort) (dst netip.AddrPort, f netns.Flow, ok bool) {
	if n.gate == nil {
		dst, ok = n.outside(to)
		return dst, unseen{}, ok
	}
	if f = n.gate.Open(netns.Destination{Protocol: protocol, Addr: to}); f == nil {
		return dst, nil, false
	}
	if dst, ok = n.outside(to); !ok {
		f.Close(errNowhere)
	}
	return dst, f, ok
}

var errNowhere = errors.New("nobody can be reached there")

// unseen is a flow without a gate.
type unseen struct{}

func (unseen) Check() func(netns.Reader, io.Writer) error { return nil }
func (unseen) Datagram([]byte) bool                       { return true }
func (unseen) Revoked(func())                             {}
func (unseen) Sent(int)                                   {}
func (unseen) Received(int)                               {}
func (unseen) Close(error)                                {}

// Close ends everything.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	conns := n.conns
	n.conns = nil
	for _, l := range n.listeners {
		l.Close()
	}
	n.mu.Unlock()
	for c := range conns {
		c.abort()
	}
	n.peers.mu.Lock()
	for _, p := range n.peers.all {
		p.close()
	}
	n.peers.all = nil
	n.peers.mu.Unlock()
	if n.stack == nil {
		return nil
	}
	n.udp.close()
	err := n.link.stop()
	n.stack.Destroy()
	return err
}
