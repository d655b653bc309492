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
	"sync/atomic"
	"time"

	"coracle/internal/later"
	"coracle/netns"
	"coracle/netns/forward"

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
	proxy    bool       // there is one

	link     *link
	stack    *stack.Stack
	newStack func() *stack.Stack // the same each time
	prepared atomic.Bool         // newStack was called
	peers    peers
	udp      flows         // of datagrams, echoes among them
	names    chan struct{} // a place for each question that is being answered

	ports  *netns.Ports
	inside *forward.Streams // nil: what comes by a published port goes through the stack

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
	byKey  map[flowKey]*conn

	limits             limits
	places             places
	streams            chan struct{} // a place for each connection that asks about names
	tell               func(msg, hint string)
	toldFull, toldPing sync.Once
}

var _ netns.Driver = (*Network)(nil)

const (
	nic = 1

	// maxQuestions are those about names that are being answered.
	maxQuestions = 128

	dialTimeout = 2 * time.Minute // the kernel's own for a SYN: 127 s
	// timeWait is enough for the container to send its end once more. A SYN with the
	// same ports is lost in that time, and Linux hands ports out one after the other:
	// with 5 s that are 2,800 connections in a second to one server, and no more.
	timeWait = 250 * time.Millisecond
	// synRetries are 15 s for the container to end a handshake that it has begun.
	synRetries = 3
)

// New makes the network of a container.
func New(c netns.Config) *Network {
	n := &Network{
		config: c, resolver: netns.NewResolver(c), conns: map[*conn]struct{}{}, byKey: map[flowKey]*conn{}, limits: limitsFor(netns.OpenFiles()),
		names: make(chan struct{}, maxQuestions), streams: make(chan struct{}, maxQuestions),
	}
	n.peers.config = c
	n.ports = netns.NewPorts(n.listen)
	n.newStack = sync.OnceValue(func() *stack.Stack {
		initialise()
		return stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		})
	})
	return n
}

// Prepare begins with what needs no device, half a millisecond of work, beside what
// the caller does until Attach.
func (n *Network) Prepare() {
	n.prepared.Store(true)
	go n.newStack()
}

// Guard has a gate decide what goes out, and Tap a listener hear of all packets;
// both are for before Attach.
func (n *Network) Guard(g netns.Gate) { n.gate = g }

// Tap is Guard's counterpart.
func (n *Network) Tap(t netns.Tap) { n.tap = t }

// Inside has what comes by published ports go on by sockets of the container's own
// network, which takes half as much as two ends in the stack; it is for before Attach,
// too. With a Tap it does not, for that is to hear of the packets.
func (n *Network) Inside(s *forward.Streams) { n.inside = s }

// initialise is for before anything of gVisor's is used.
var initialise = sync.OnceFunc(later.GVisor)

// Attach begins to serve.
func (n *Network) Attach(dev *os.File) (err error) {
	defer func() {
		if err != nil {
			dev.Close()
			err = fmt.Errorf("start the builtin network: %w", err)
		}
	}()
	if n.link, err = newLink(dev, n.config); err != nil {
		return err
	}
	n.link.tap, n.link.toPeer, n.link.quick, n.link.direct.n, n.link.out.n = n.tap, n.toPeer, n.quick, n, n
	n.link.uncut.Store(n.tap != nil) // who listens is to hear of each
	n.stack = n.newStack()
	if err := n.configure(); err != nil {
		n.stack.Destroy()
		return err
	}
	n.udp.init(n)
	// Those that make room for others are there for a moment longer.
	forwarder := tcp.NewForwarder(n.stack, 0, 2*n.limits.pending, n.handleTCP)
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, n.handleUDP)
	n.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, n.handleEcho)
	n.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, n.handleEcho)
	go n.link.serve()
	n.ports.Serve()
	return nil
}

// configure gives the stack its addresses: those of the gateway and of the name
// server are its own, and it takes packets for all others, too.
func (n *Network) configure() error {
	sack, moderate, wait, retries := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPSynRetriesOption(synRetries)
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &wait, &retries} {
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
	a, c := to.Addr().Unmap(), n.current()
	switch {
	case c.HostLoopback && a == c.Gateway4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port()), true
	case c.HostLoopback && a == c.Gateway6:
		return netip.AddrPortFrom(netip.IPv6Loopback(), to.Port()), true
	case n.isOurs(a), a == c.IPv4.Addr(), a == c.IPv6.Addr(), c.Internal, n.peers.now.Load().lan(a) != nil:
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
	n.ports.Close()
	if n.inside != nil {
		n.inside.Close()
	}
	n.mu.Lock()
	n.closed = true
	conns := n.conns
	n.conns = nil
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
		if n.prepared.Load() {
			n.newStack().Destroy()
		}
		return nil
	}
	n.udp.close()
	err := n.link.stop()
	n.stack.Destroy()
	return err
}
