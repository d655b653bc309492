package netns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// KeepAlive finds out that the host's side of a connection is gone.
var KeepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Minute, Interval: 30 * time.Second, Count: 9}

// ListenTCP takes a port of the host, and returns it with its number. Without an
// address it is that of both families, where the host has both.
func ListenTCP(p Port) (*net.TCPListener, Port, error) {
	// SO_REUSEADDR, and no more: a second container gets an error, not half of the connections.
	lc := net.ListenConfig{KeepAliveConfig: KeepAlive}
	l, err := lc.Listen(context.Background(), family("tcp", p.HostIP), (&net.TCPAddr{IP: p.ip(), Port: int(p.Host)}).String())
	if err != nil {
		return nil, p, err
	}
	t := l.(*net.TCPListener)
	p.Host = uint16(t.Addr().(*net.TCPAddr).Port)
	return t, p, nil
}

// ListenUDP is the same for datagrams. With each comes which of the host's addresses
// it was for, see AnswerFrom.
func ListenUDP(p Port) (*net.UDPConn, Port, error) {
	u, err := net.ListenUDP(family("udp", p.HostIP), &net.UDPAddr{IP: p.ip(), Port: int(p.Host)})
	if err != nil {
		return nil, p, err
	}
	if err := tellDestination(u); err != nil {
		u.Close()
		return nil, p, err
	}
	p.Host = uint16(u.LocalAddr().(*net.UDPAddr).Port)
	return u, p, nil
}

func (p Port) ip() net.IP {
	if p.HostIP.IsValid() {
		return p.HostIP.AsSlice()
	}
	return nil
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

// tellDestination has the kernel say which of the host's addresses a datagram came
// to: the answer must come from that.
func tellDestination(u *net.UDPConn) error {
	raw, err := u.SyscallConn()
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

// AnswerFrom turns the control message that says where a datagram came to into the
// one that says where the answer is from.
func AnswerFrom(oob []byte) []byte {
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

// Inside says how the container sees a client of a published port, and where in the
// container it goes: to the address of its family, or the other's where there is
// none. Where the client's address would mean somebody else in there the gateway's
// stands for it, with port 0: any.
func (c Config) Inside(client netip.AddrPort, port uint16) (from, to netip.AddrPort, ok bool) {
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	own := c.Address(client.Addr())
	if !own.IsValid() {
		own = c.IPv4.Addr()
		client = netip.AddrPortFrom(c.Gateway4, 0)
	}
	a := client.Addr()
	if Refused(a) != "" || a == own || c.IPv4.Contains(a) || c.IPv6.Contains(a) {
		client = netip.AddrPortFrom(c.Gateway(own), 0) // loopback, first of all
	}
	return client, netip.AddrPortFrom(own, port), own.IsValid()
}

// ServeTCP hands each connection to pass, in a goroutine of its own, until the
// listener is closed.
func ServeTCP(l *net.TCPListener, pass func(*net.TCPConn)) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			go pass(c)
		case errors.Is(err, net.ErrClosed):
			return
		default: // no descriptors, mostly: others have to end first
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// OpenFiles is how many descriptors this process may have.
func OpenFiles() uint64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 1024
	}
	return r.Cur
}
