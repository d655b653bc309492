package forward

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// udpListener passes datagrams; each client is a session with a socket in the
// container's network, by which the answers find back.
type udpListener struct {
	f    *Ports
	sock *net.UDPConn
	port netns.Port

	mu       sync.Mutex
	sessions map[netip.AddrPort]*session // nil: closed
}

type session struct {
	inner *net.UDPConn
	local atomic.Pointer[[]byte] // whom the client talks to: the answer comes from there
}

const (
	// maxSessions are at once, of one port.
	maxSessions = 1024
	// sessionTime is how long one lasts without a datagram: that of Linux's
	// connection tracking (nf_conntrack_udp_timeout_stream).
	sessionTime = 120 * time.Second

	maxDatagram = 65535
)

func (l *udpListener) bound() netns.Port { return l.port }

func (l *udpListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		s.inner.Close()
	}
	l.sessions = nil
	return l.sock.Close()
}

func (l *udpListener) serve() {
	buf, oob := make([]byte, maxDatagram), make([]byte, 128)
	for {
		n, m, _, client, err := l.sock.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an earlier answer: its client is gone
		}
		if s := l.session(client); s != nil {
			local := netns.AnswerFrom(oob[:m])
			s.local.Store(&local)
			_ = s.inner.SetReadDeadline(time.Now().Add(sessionTime))
			_, _ = s.inner.Write(buf[:n]) // as any network, this one may lose packets
		}
	}
}

// session finds the client's, or makes it; nil when there can be none.
func (l *udpListener) session(client netip.AddrPort) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[client]; s != nil {
		return s
	}
	if l.sessions == nil || len(l.sessions) >= maxSessions {
		return nil
	}
	// Only connections are answered by the mark of what they answer: the container
	// sees its gateway.
	from, to := l.f.target(client, l.port.Container)
	if from.IsValid() {
		from = netip.AddrPort{}
	}
	c, err := l.f.dialAs(unix.SOCK_DGRAM, from, to)
	if err != nil {
		return nil
	}
	s := &session{inner: c.(*net.UDPConn)}
	l.sessions[client] = s
	go l.answer(client, s)
	return s
}

// answer passes on what the container answers, until the session is over.
func (l *udpListener) answer(client netip.AddrPort, s *session) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := s.inner.Read(buf)
		if err != nil {
			if errors.Is(err, unix.ECONNREFUSED) {
				continue // nobody listens yet
			}
			break
		}
		_ = s.inner.SetReadDeadline(time.Now().Add(sessionTime))
		if _, _, err := l.sock.WriteMsgUDPAddrPort(buf[:n], *s.local.Load(), client); errors.Is(err, unix.EINVAL) {
			_, _ = l.sock.WriteToUDPAddrPort(buf[:n], client) // the address that it came to is not ours any more
		}
	}
	l.mu.Lock()
	delete(l.sessions, client)
	l.mu.Unlock()
	s.inner.Close()
}
