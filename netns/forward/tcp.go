package forward

import (
	"net"
	"net/netip"

	"coracle/netns"
)

type tcpListener struct {
	f    *Ports
	l    *net.TCPListener
	port netns.Port
}

func (l *tcpListener) Close() error      { return l.l.Close() }
func (l *tcpListener) Bound() netns.Port { return l.port }

func (l *tcpListener) Serve() { netns.ServeTCP(l.l, l.pass) }

// pass connects a client to the container.
func (l *tcpListener) pass(client *net.TCPConn) {
	if !l.f.conns.take() {
		reset(client)
		return
	}
	defer l.f.conns.give()
	from, to := l.f.target(client.RemoteAddr().(*net.TCPAddr).AddrPort(), l.port.Container)
	if from.IsValid() && !l.f.streams.Transparent() {
		from = netip.AddrPort{}
	}
	if !l.f.streams.Pass(client, from, to, l.f.config.Gateway(to.Addr())) {
		reset(client)
	}
}
