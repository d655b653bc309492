package builtin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Published ports. A connection to one is made once more from within the stack,
// with the client's address as its source: the container sees who it talks to.
// Where that address would be the container's own the gateway's stands for it.

type listener interface {
	serve()
	io.Closer
}

// Listen takes the ports of the host.
func (n *Network) Listen(ports []netns.Port) (_ []netns.Port, err error) {
	defer func() {
		if err != nil {
			for _, l := range n.listeners {
				l.Close()
			}
			n.listeners = nil
		}
	}()
	out := make([]netns.Port, 0, len(ports))
	for _, p := range ports {
		l, bound, err := n.listen(p)
		if err != nil {
			return nil, &netns.ListenError{Port: p, Err: err}
		}
		n.listeners = append(n.listeners, l)
		out = append(out, bound)
	}
	return out, nil
}

// listen takes one port. Without an address it is that of both families, where
// the host has both.
func (n *Network) listen(p netns.Port) (listener, netns.Port, error) {
	var ip net.IP
	if p.HostIP.IsValid() {
		ip = p.HostIP.AsSlice()
	}
	if p.Protocol == "udp" {
		u, err := net.ListenUDP(family("udp", p.HostIP), &net.UDPAddr{IP: ip, Port: int(p.Host)})
		if err != nil {
			return nil, p, err
		}
		p.Host = uint16(u.LocalAddr().(*net.UDPAddr).Port)
		l := &udpListener{n: n, sock: u, port: p}
		return l, p, l.tellDestination()
	}
	// SO_REUSEADDR, and no more: a second container gets an error, not half of the connections.
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	addr := &net.TCPAddr{IP: ip, Port: int(p.Host)}
	t, err := lc.Listen(context.Background(), family("tcp", p.HostIP), addr.String())
	if err != nil {
		return nil, p, err
	}
	p.Host = uint16(t.Addr().(*net.TCPAddr).Port)
	return &tcpListener{n: n, l: t.(*net.TCPListener), port: p}, p, nil
}

// family names the network for Go: an address of one family means that one only.
func family(network string, a netip.Addr) string {
	switch {
	case a.Is4():
		return network + "4"
	case a.Is6():
		return network + "6"
	}
	return network
}

type tcpListener struct {
	n    *Network
	l    *net.TCPListener
	port netns.Port
}

func (l *tcpListener) Close() error { return l.l.Close() }

func (l *tcpListener) serve() {
	for {
		c, err := l.l.AcceptTCP()
		switch {
		case err == nil:
			go l.pass(c)
		case errors.Is(err, net.ErrClosed):
			return
		default: // no descriptors, mostly: others have to end first
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// pass connects a client to the container; one that is refused there is reset.
func (l *tcpListener) pass(c *net.TCPConn) {
	client := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	from, to, ok := l.n.inside(netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), l.port.Container)
	if !ok {
		reset(c)
		return
	}
	ep, wq, err := l.n.dial(from, to)
	if _, taken := err.(*tcpip.ErrPortInUse); taken {
		// The same client was here a moment ago, by another port of the host's.
		ep, wq, err = l.n.dial(netip.AddrPortFrom(l.n.config.Gateway(to.Addr()), 0), to)
	}
	if err != nil {
		reset(c)
		return
	}
	l.n.splice(ep, wq, c, unseen{})
}

// inside says how the container sees a client, and where in the container it goes:
// to the address of its family, or the other's where there is none.
func (n *Network) inside(client netip.AddrPort, port uint16) (from, to netip.AddrPort, ok bool) {
	c := n.config
	own := c.Address(client.Addr())
	if !own.IsValid() {
		own = c.IPv4.Addr()
		client = netip.AddrPortFrom(c.Gateway4, 0)
	}
	a := client.Addr()
	if netns.Refused(a) != "" || n.isOurs(a) || a == own || c.IPv4.Contains(a) || c.IPv6.Contains(a) {
		client = netip.AddrPortFrom(c.Gateway(own), 0) // loopback, first of all
	}
	return client, netip.AddrPortFrom(own, port), own.IsValid()
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

func (l *udpListener) Close() error { return l.sock.Close() }

// tellDestination has the kernel say which of the host's addresses a datagram came
// to: the answer must come from that.
func (l *udpListener) tellDestination() error {
	raw, err := l.sock.SyscallConn()
	if err != nil {
		return err
	}
	var err4, err6 error
	err = raw.Control(func(fd uintptr) {
		err4 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		err6 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err != nil || err4 != nil && err6 != nil {
		return errors.Join(err, err4)
	}
	return nil
}

func (l *udpListener) serve() {
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
			l.n.sendUDP(s.seen, netip.AddrPortFrom(l.n.config.Address(s.seen.Addr()), l.port.Container), buf[:size])
		}
	}
}

// session finds the client's, or makes it; nil when there are too many.
func (l *udpListener) session(client netip.AddrPort, oob []byte) *session {
	unmapped := netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	from, to, ok := l.n.inside(unmapped, l.port.Container)
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
		s.local = answerFrom(oob)
		s.used.Store(clock())
		return s
	}
	return nil
}

// answerFrom turns the control message that says where a datagram came to into the
// one that says where the answer is from.
func answerFrom(oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			info := unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[4:8])} // ours, for a broadcast, too
			return unix.PktInfo4(&info)
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			if a := netip.AddrFrom16([16]byte(m.Data[:16])); a.Is4In6() {
				return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.Unmap().As4()})
			}
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		}
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
