package forward

import (
	"io"
	"net"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

type tcpListener struct {
	f    *Ports
	l    *net.TCPListener
	port netns.Port
}

func (l *tcpListener) Close() error      { return l.l.Close() }
func (l *tcpListener) bound() netns.Port { return l.port }

func (l *tcpListener) serve() { netns.ServeTCP(l.l, l.pass) }

// pass connects a client to the container; one that is refused there is reset.
func (l *tcpListener) pass(client *net.TCPConn) {
	from, to := l.f.target(client.RemoteAddr().(*net.TCPAddr).AddrPort(), l.port.Container)
	c, err := l.f.dial(unix.SOCK_STREAM, from, to)
	if err != nil {
		reset(client)
		return
	}
	inner := c.(*net.TCPConn)
	if !l.f.keep(client) {
		reset(client)
		reset(inner)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		carry(inner, client)
	}()
	carry(client, inner)
	<-done
	l.f.drop(client)
	client.Close()
	inner.Close()
}

// carry passes on bytes, and their end; a reset becomes one of the other side. The
// kernel moves the bytes (splice(2)).
func carry(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		reset(to)
		reset(from)
		return
	}
	_ = to.CloseWrite()
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
