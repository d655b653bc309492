package builtin

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Published ports. A connection to one is made once more, in the container's network
// or from within the stack, with the client's address as its source: the container
// sees who it talks to. Where that address would be the container's own the gateway's
// stands for it.

// Listen takes the ports of the host.
func (n *Network) Listen(ports []netns.Port) ([]netns.Port, error) { return n.ports.Listen(ports) }

// Publish takes one more.
func (n *Network) Publish(p netns.Port) (netns.Port, error) { return n.ports.Publish(p) }

// Unpublish gives one back.
func (n *Network) Unpublish(p netns.Port) bool { return n.ports.Unpublish(p) }

// listen takes one port.
func (n *Network) listen(p netns.Port) (netns.Listener, error) {
	if p.Protocol == "udp" {
		u, bound, err := netns.ListenUDP(p)
		return &udpListener{n: n, sock: u, port: bound}, err
	}
	t, bound, err := netns.ListenTCP(p)
	return &tcpListener{n: n, l: t, port: bound}, err
}

type tcpListener struct {
	n    *Network
	l    *net.TCPListener
	port netns.Port
}

func (l *tcpListener) Close() error      { return l.l.Close() }
func (l *tcpListener) Bound() netns.Port { return l.port }

func (l *tcpListener) Serve() { netns.ServeTCP(l.l, l.pass) }

// pass connects a client to the container; one that is refused there is reset.
func (l *tcpListener) pass(c *net.TCPConn) {
	client := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	from, to, ok := l.n.current().Inside(client, l.port.Container)
	if !ok {
		reset(c)
		return
	}
	if l.n.inside != nil && l.n.tap == nil && l.passInside(c, from, to) {
		return
	}
	if !l.n.take() {
		reset(c)
		return
	}
	defer l.n.give()
	ep, wq, err := l.n.dial(from, to)
	if _, taken := err.(*tcpip.ErrPortInUse); taken {
		// The same client was here a moment ago, by another port of the host's.
		ep, wq, err = l.n.dial(netip.AddrPortFrom(l.n.config.Gateway(to.Addr()), 0), to)
	}
	if err != nil {
		reset(c)
		return
	}
	l.n.splice(ep, wq, c, unseen{}, nil)
}

// passInside has the connection go on by a socket of the container's network; false
// where none can be had that has the client's address.
func (l *tcpListener) passInside(c *net.TCPConn, from, to netip.AddrPort) bool {
	if !l.n.inside.Transparent() {
		return false
	}
	if !l.n.change(0, 1) {
		reset(c)
		return true
	}
	defer l.n.change(0, -1)
	return l.n.inside.Pass(c, from, to, l.n.config.Gateway(to.Addr()))
}

// udpListener passes datagrams; each client is a session, so that the answers find back.
type udpListener struct {
	n    *Network
	sock *net.UDPConn
	port netns.Port
}

// session is a client of a published port, as the container sees it.
type session struct {
	l      *udpListener
	client netip.AddrPort
	local  []byte // whom it talks to, as a control message: the answer comes from there
	seen   netip.AddrPort
	used   atomic.Int64
}

// maxSessions are at once, of all ports.
const maxSessions = 1024

func (l *udpListener) Close() error      { return l.sock.Close() }
func (l *udpListener) Bound() netns.Port { return l.port }

func (l *udpListener) Serve() {
	buf, oob := make([]byte, maxPacket), make([]byte, 128)
	for {
		size, m, _, client, err := l.sock.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an earlier answer: its client is gone
		}
		if s := l.session(client, oob[:m]); s != nil {
			l.n.sendUDP(s.seen, netip.AddrPortFrom(l.n.current().Address(s.seen.Addr()), l.port.Container), buf[:size])
		}
	}
}

// session finds the client's, or makes it; nil when there are too many.
func (l *udpListener) session(client netip.AddrPort, oob []byte) *session {
	from, to, ok := l.n.current().Inside(client, l.port.Container)
	if !ok {
		return nil
	}
	f := &l.n.udp
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.published == nil {
		return nil
	}
	// The gateway stands for many: each gets a port of its own there.
	base := from.Port()
	if base == 0 {
		base = client.Port()
	}
	for try := range uint16(64) {
		port := base + try
		if port == 0 {
			continue
		}
		from = netip.AddrPortFrom(from.Addr(), port)
		key := flowKey{unix.IPPROTO_UDP, to, from}
		s := f.published[key]
		if s != nil && (s.client != client || s.l != l) {
			continue
		}
		if s == nil {
			if len(f.published) >= maxSessions {
				return nil
			}
			s = &session{l: l, client: client, seen: from}
			f.published[key] = s
			f.watch()
		}
		s.local = netns.AnswerFrom(oob)
		s.used.Store(clock())
		return s
	}
	return nil
}

// session gives the one that a datagram of the container's answers; nil without.
func (f *flows) session(key flowKey) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.published[key]
	if s != nil {
		s.used.Store(clock())
	}
	return s
}

func (s *session) send(b []byte) {
	_, _, err := s.l.sock.WriteMsgUDPAddrPort(b, s.local, s.client)
	if errors.Is(err, syscall.EINVAL) { // the address that it came to is not ours any more
		_, _ = s.l.sock.WriteToUDPAddrPort(b, s.client)
	}
}
