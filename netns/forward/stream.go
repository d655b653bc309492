package forward

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Streams are connections of clients to a container, each passed on to a socket that
// was made in the container's network. Who calls sees to it that there are not too many.
type Streams struct {
	stock stock
	tally tally

	mu    sync.Mutex
	conns map[*stream]struct{} // nil: closed
}

// NewStreams are those of one container.
func NewStreams() *Streams { return &Streams{conns: map[*stream]struct{}{}} }

// Use has the sockets made by m; it is for before the first Pass.
func (s *Streams) Use(m Maker) { s.stock.maker = m }

// Tell has f hear now and then of how many bytes have gone to the container and come from
// it, while there are more; it is for before the first Pass.
func (s *Streams) Tell(f func(in, out uint64)) { s.tally.tell = f }

// Transparent says whether the container can see its clients' addresses.
func (s *Streams) Transparent() bool {
	s.stock.mu.Lock()
	defer s.stock.mu.Unlock()
	return !s.stock.closed && s.stock.maker != nil && s.stock.maker.Transparent()
}

// Close resets all of them.
func (s *Streams) Close() {
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for c := range conns {
		c.abort()
	}
	s.stock.close()
	s.tally.flush()
}

// Pass connects a client to somebody in the container, and carries the bytes until
// both directions have ended; a client who is refused there is reset. From is whom the
// container sees: the zero AddrPort is nobody in particular, and gateway stands for a
// client who is taken for another of its connections. False: there is no socket to be
// had, and nothing has been done with the client.
func (s *Streams) Pass(client *net.TCPConn, from, to netip.AddrPort, gateway netip.Addr) bool {
	fd, err := s.dial(from, to)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) {
		// The same client was here a moment ago, by another port of the host's.
		fd, err = s.dial(netip.AddrPortFrom(gateway, 0), to)
	}
	if none := (*noSocketError)(nil); errors.As(err, &none) {
		return false
	}
	if err != nil {
		reset(client)
		return true
	}
	inner := os.NewFile(uintptr(fd), "published")
	if err := await(inner); err != nil {
		reset(client)
		inner.Close()
		return true
	}
	c, err := newStream(client, inner, &s.tally)
	if err == nil && s.keep(c) {
		c.carry()
		s.drop(c)
	} else {
		reset(client)
	}
	client.Close()
	inner.Close()
	return true
}

// keep remembers what is to be reset; false when all is.
func (s *Streams) keep(c *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Streams) drop(c *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// noSocketError is that none can be made in the container's network.
type noSocketError struct{ error }

// dial begins to connect in the container's network.
func (s *Streams) dial(from, to netip.AddrPort) (fd int, err error) {
	fd, err = s.stock.dial(unix.SOCK_STREAM, from, to)
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	return fd, err
}

// dial gives a socket that is connected, or will be in a moment.
func (s *stock) dial(kind int, from, to netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	if fd, err = s.take(family, kind, from.IsValid()); err != nil {
		return -1, &noSocketError{err}
	}
	if from.IsValid() {
		// The client's port is free unless this very client has it.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		err = unix.Bind(fd, sockaddr(from))
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(to))
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connectTime is for the container to answer: it is on this machine.
const connectTime = 10 * time.Second

// await waits until a socket is connected, which it mostly is already.
func await(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	_ = f.SetWriteDeadline(time.Now().Add(connectTime))
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}} //nolint:gosec // a descriptor
		if n, err := unix.Poll(p, 0); err != nil || n == 0 {
			return false
		}
		var code int
		if code, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); failed == nil && code != 0 {
			failed = unix.Errno(code)
		}
		return true
	})
	_ = f.SetWriteDeadline(time.Time{})
	return errors.Join(err, failed)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
