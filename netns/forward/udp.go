package forward

import (
	"errors"
	"net"
	"net/netip"
	"os"
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
	inner *os.File
	local atomic.Pointer[[]byte] // whom the client talks to: the answer comes from there
}

const (
	// sessionTime is how long one lasts without a datagram: that of Linux's
	// connection tracking (nf_conntrack_udp_timeout_stream).
	sessionTime = 120 * time.Second

	maxDatagram = 65535
)

func (l *udpListener) Bound() netns.Port { return l.port }

func (l *udpListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		s.inner.Close()
	}
	l.sessions = nil
	return l.sock.Close()
}

func (l *udpListener) Serve() {
	buf, oob := make([]byte, maxDatagram), make([]byte, 128)
	for {
		n, m, _, client, err := l.sock.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of an earlier answer: its client is gone
		}
		if s := l.session(client, netns.AnswerFrom(oob[:m])); s != nil {
			_ = s.inner.SetReadDeadline(time.Now().Add(sessionTime))
			_, _ = s.inner.Write(buf[:n]) // as any network, this one may lose packets
			l.f.streams.tally.add(n, 0)
		}
	}
}

// session finds the client's, or makes it; nil when there can be none.
func (l *udpListener) session(client netip.AddrPort, local []byte) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[client]; s != nil {
		s.local.Store(&local)
		return s
	}
	if l.sessions == nil || !l.f.sessions.take() {
		return nil
	}
	// Only connections are answered by the mark of what they answer: the container
	// sees its gateway.
	_, to := l.f.target(client, l.port.Container)
	fd, err := l.f.streams.stock.dial(unix.SOCK_DGRAM, netip.AddrPort{}, to)
	if err != nil {
		l.f.sessions.give()
		return nil
	}
	s := &session{inner: os.NewFile(uintptr(fd), "session")}
	s.local.Store(&local)
	l.sessions[client] = s
	go l.answer(client, s)
	return s
}

// Who waits for a datagram has no buffer.
var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// answer passes on what the container answers, until the session is over.
func (l *udpListener) answer(client netip.AddrPort, s *session) {
	if raw, err := s.inner.SyscallConn(); err == nil {
		_ = raw.Read(func(fd uintptr) (done bool) {
			b := datagrams.Get().(*[maxDatagram]byte)
			defer datagrams.Put(b)
			for {
				n, errno := call(unix.SYS_READ, int(fd), b[:])
				switch errno {
				case 0:
					_ = s.inner.SetReadDeadline(time.Now().Add(sessionTime))
					l.send(b[:n], client, s)
					l.f.streams.tally.add(0, n)
				case unix.ECONNREFUSED: // nobody listens yet
				case unix.EAGAIN:
					return false
				default:
					return true
				}
			}
		})
	}
	l.mu.Lock()
	delete(l.sessions, client)
	l.mu.Unlock()
	l.f.sessions.give()
	s.inner.Close()
}

func (l *udpListener) send(b []byte, client netip.AddrPort, s *session) {
	if _, _, err := l.sock.WriteMsgUDPAddrPort(b, *s.local.Load(), client); errors.Is(err, unix.EINVAL) {
		_, _ = l.sock.WriteToUDPAddrPort(b, client) // the address that it came to is not ours any more
	}
}
