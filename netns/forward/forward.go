// Package forward is published ports of a network that another program carries, or
// that was there before: connections to the host's ports go on by sockets that were
// made within the container's network namespace.
package forward

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// Maker makes sockets in the network of a container.
type Maker interface {
	// Make gives n of a family and type; transparent ones may have any address.
	Make(family, kind int, transparent bool, n int) ([]*os.File, error)
	// Transparent says whether the container can see its clients' addresses.
	Transparent() bool
}

// Ports are published ports.
type Ports struct {
	config netns.Config
	stock  stock

	mu        sync.Mutex
	closed    bool
	serving   bool
	listeners []listener
	conns     map[net.Conn]struct{}
}

type listener interface {
	serve()
	bound() netns.Port
	io.Closer
}

// New is for a container with this configuration; addresses of it that are not valid
// are those of the loopback.
func New(c netns.Config) *Ports {
	return &Ports{config: c, conns: map[net.Conn]struct{}{}}
}

// Listen takes the ports of the host, all or none.
func (f *Ports) Listen(ports []netns.Port) (out []netns.Port, err error) {
	for _, p := range ports {
		bound, err := f.Publish(p)
		if err != nil {
			f.unpublishAll()
			return nil, err
		}
		out = append(out, bound)
	}
	return out, nil
}

// Publish takes one more.
func (f *Ports) Publish(p netns.Port) (netns.Port, error) {
	l, err := f.listen(p)
	if err != nil {
		return p, &netns.ListenError{Port: p, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		l.Close()
		return p, &netns.ListenError{Port: p, Err: net.ErrClosed}
	}
	f.listeners = append(f.listeners, l)
	if f.serving {
		go l.serve()
	}
	return l.bound(), nil
}

func (f *Ports) listen(p netns.Port) (listener, error) {
	if p.Protocol == "udp" {
		u, bound, err := netns.ListenUDP(p)
		if err != nil {
			return nil, err
		}
		return &udpListener{f: f, sock: u, port: bound, sessions: map[netip.AddrPort]*session{}}, nil
	}
	t, bound, err := netns.ListenTCP(p)
	if err != nil {
		return nil, err
	}
	return &tcpListener{f: f, l: t, port: bound}, nil
}

// Unpublish gives a port back; false when it was not published. Connections that
// came by it stay.
func (f *Ports) Unpublish(p netns.Port) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.listeners, func(l listener) bool { return l.bound() == p })
	if i < 0 {
		return false
	}
	f.listeners[i].Close()
	f.listeners = slices.Delete(f.listeners, i, i+1)
	return true
}

func (f *Ports) unpublishAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		l.Close()
	}
	f.listeners = nil
}

// Serve begins to pass on what comes in.
func (f *Ports) Serve(m Maker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stock.maker, f.stock.transparent = m, m.Transparent()
	f.serving = true
	for _, l := range f.listeners {
		go l.serve()
	}
}

// Close ends everything.
func (f *Ports) Close() {
	f.unpublishAll()
	f.mu.Lock()
	f.closed = true
	conns := f.conns
	f.conns = nil
	f.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	f.stock.close()
}

// keep remembers what is to be closed; false when all is.
func (f *Ports) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		return false
	}
	f.conns[c] = struct{}{}
	return true
}

func (f *Ports) drop(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

// target says whom in the container a client is to talk to, and as whom: from is the
// zero AddrPort where it is nobody in particular.
func (f *Ports) target(client netip.AddrPort, port uint16) (from, to netip.AddrPort) {
	if !f.config.IPv4.IsValid() {
		return from, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	}
	from, to, _ = f.config.Inside(client, port)
	if !f.stock.transparent {
		from = netip.AddrPort{}
	}
	return from, to
}

// dial connects in the container's network.
func (f *Ports) dial(kind int, from, to netip.AddrPort) (net.Conn, error) {
	c, err := f.dialAs(kind, from, to)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) {
		// The same client was here a moment ago, by another port of the host's.
		c, err = f.dialAs(kind, netip.AddrPortFrom(f.config.Gateway(to.Addr()), 0), to)
	}
	return c, err
}

func (f *Ports) dialAs(kind int, from, to netip.AddrPort) (net.Conn, error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	s, err := f.stock.take(family, kind, from.IsValid())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	fd := int(s.Fd())
	if from.IsValid() {
		// The client's port is free unless this very client has it.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err := unix.Bind(fd, sockaddr(from)); err != nil {
			return nil, err
		}
	}
	limit := unix.Timeval{Sec: connectSeconds}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	for {
		if err = unix.Connect(fd, sockaddr(to)); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
	return net.FileConn(s)
}

// connectSeconds is for the container to answer: it is on this machine.
const connectSeconds = 10

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// stock has sockets at hand: to make one takes a process, so several are made at once.
type stock struct {
	maker       Maker
	transparent bool

	mu     sync.Mutex
	closed bool
	rest   map[want][]*os.File
}

type want struct {
	family, kind int
	transparent  bool
}

// together are made at once.
const together = 32

func (s *stock) take(family, kind int, transparent bool) (*os.File, error) {
	w := want{family, kind, transparent}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if len(s.rest[w]) == 0 {
		made, err := s.maker.Make(family, kind, transparent, together)
		if err != nil {
			return nil, err
		}
		if s.rest == nil {
			s.rest = map[want][]*os.File{}
		}
		s.rest[w] = made
	}
	all := s.rest[w]
	last := all[len(all)-1]
	s.rest[w] = all[:len(all)-1]
	return last, nil
}

func (s *stock) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, all := range s.rest {
		for _, f := range all {
			f.Close()
		}
	}
	s.rest = nil
}
