// Package forward is what comes by published ports and goes on by sockets that were
// made within the container's network namespace: clients of any network's ports
// (Streams), and the ports of a network that another program carries, or that was
// there before (Ports).
package forward

import (
	"net/netip"

	"coracle/netns"
)

// Ports are published ports.
type Ports struct {
	*netns.Ports
	config   netns.Config
	streams  *Streams
	sessions places // of datagrams
	conns    places
}

// New is for a container with this configuration; addresses of it that are not valid
// are those of the loopback.
func New(c netns.Config) *Ports {
	f := &Ports{config: c, streams: NewStreams()}
	f.conns.most, f.sessions.most = limitsFor(netns.OpenFiles())
	f.Ports = netns.NewPorts(f.listen)
	return f
}

func (f *Ports) listen(p netns.Port) (netns.Listener, error) {
	if p.Protocol == "udp" {
		u, bound, err := netns.ListenUDP(p)
		return &udpListener{f: f, sock: u, port: bound, sessions: map[netip.AddrPort]*session{}}, err
	}
	t, bound, err := netns.ListenTCP(p)
	return &tcpListener{f: f, l: t, port: bound}, err
}

// Tell is Streams.Tell for all of them; it is for before Serve.
func (f *Ports) Tell(tell func(in, out uint64)) { f.streams.Tell(tell) }

// Serve begins to pass on what comes in.
func (f *Ports) Serve(m Maker) {
	f.streams.Use(m)
	f.Ports.Serve()
}

// Close ends everything.
func (f *Ports) Close() {
	f.Ports.Close()
	f.streams.Close()
}

// target says whom in the container a client is to talk to, and as whom: from is the
// zero AddrPort where it is nobody in particular.
func (f *Ports) target(client netip.AddrPort, port uint16) (from, to netip.AddrPort) {
	if !f.config.IPv4.IsValid() {
		return from, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	from, to, _ = f.config.Inside(client, port)
	return from, to
}
