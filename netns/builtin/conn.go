package builtin

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"coracle/netns"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// conn is a TCP connection: one end of it is the stack's endpoint, whose peer is
// the container, the other a socket of the host's. Bytes go from one to the other
// without a copy in between; so does the end of each direction, and a reset.
type conn struct {
	n    *Network
	ep   tcpip.Endpoint
	tcp  *tcp.Endpoint // the same
	key  flowKey
	wq   *waiter.Queue
	host *net.TCPConn
	flow netns.Flow
	head []byte // before what the container sends
	raw  syscall.RawConn
	fd   uintptr // of host, which is closed when nobody uses it any more
	once sync.Once

	pushing sync.Mutex    // held by who takes bytes from the endpoint to the host
	ready   chan struct{} // there are some, or the end of them
	ended   tcpip.Error   // what the endpoint has told once, and tells no more
	direct  atomic.Bool   // who reads the device handles segments, and looks for bytes

	gathered bool // its segments wait; for who reads the device
}

// handleTCP takes a connection of the container's. It is established when the one
// that it goes on as is, and refused when that is.
func (n *Network) handleTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	to := netip.AddrPortFrom(toAddr(id.LocalAddress), id.LocalPort)
	if n.isDNS(to) {
		n.serveNames(r)
		return
	}
	if n.isProxy(to) {
		n.serveProxy(r)
		return
	}
	dst, flow, ok := n.open(netns.TCP, to)
	if !ok {
		r.Complete(true)
		return
	}
	if !n.take() {
		flow.Close(syscall.EMFILE)
		r.Complete(true)
		return
	}
	defer n.give()
	host, err := n.reach(dst)
	if err != nil {
		flow.Close(err)
		r.Complete(!errors.Is(err, errDropped))
		return
	}
	defer flow.Close(nil)
	wq := new(waiter.Queue)
	ep, e := r.CreateEndpoint(wq)
	r.Complete(e != nil)
	if e != nil {
		reset(host)
		return
	}
	n.splice(ep, wq, host, flow, nil)
}

// splice carries the bytes until both directions have ended. head comes before those of
// the container's.
func (n *Network) splice(ep tcpip.Endpoint, wq *waiter.Queue, host *net.TCPConn, flow netns.Flow, head []byte) {
	c := &conn{n: n, head: head, ep: ep, tcp: ep.(*tcp.Endpoint), key: keyOf(ep), wq: wq, host: host, flow: flow, ready: make(chan struct{}, 1)}
	raw, err := host.SyscallConn()
	if err == nil {
		c.raw = raw
		err = raw.Control(func(fd uintptr) { c.fd = fd })
	}
	setKeepAlive(ep)
	c.pushing.Lock() // until the gate has seen the first bytes nothing goes the short way
	if err != nil || !n.keep(c) {
		ep.Abort()
		reset(host)
		return
	}
	// The container's reset must be heard while nothing can be written to the host.
	failed := waiter.NewFunctionEntry(waiter.EventErr, func(waiter.EventMask) {
		if tcp.EndpointState(ep.State()) == tcp.StateError {
			c.abort()
		}
	})
	wq.EventRegister(&failed)
	flow.Revoked(c.abort)
	down := make(chan struct{})
	go func() {
		defer close(down)
		c.down()
	}()
	c.up()
	<-down
	wq.EventUnregister(&failed)
	n.drop(c)
	ep.Close()
	host.Close()
}

// keep remembers a connection; false when all are being closed.
func (n *Network) keep(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.conns[c] = struct{}{}
	n.byKey[c.key] = c
	return true
}

func (n *Network) drop(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byKey[c.key] == c {
		delete(n.byKey, c.key)
	}
	delete(n.conns, c)
}

// abort resets both sides, and wakes who waits for either. It may be called from
// within the endpoint, with its lock held.
func (c *conn) abort() {
	c.once.Do(func() {
		_ = c.host.SetLinger(0)
		_ = c.host.SetDeadline(time.Unix(1, 0))
		go c.ep.Abort()
	})
}

func reset(host *net.TCPConn) {
	_ = host.SetLinger(0)
	host.Close()
}

// dial connects to a port of the container's, as somebody else if that can be.
func (n *Network) dial(from, to netip.AddrPort) (tcpip.Endpoint, *waiter.Queue, tcpip.Error) {
	proto := protocolOf(to.Addr())
	wq := new(waiter.Queue)
	ep, err := n.stack.NewEndpoint(tcp.ProtocolNumber, proto, wq)
	if err != nil {
		return nil, nil, err
	}
	ep.SocketOptions().SetReuseAddress(true)
	ep.SocketOptions().SetReusePort(true)
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	err = ep.Bind(fullAddress(from))
	if err == nil {
		err = ep.Connect(fullAddress(to))
	}
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ready:
			err = ep.LastError()
		case <-time.After(connectTimeout):
			err = &tcpip.ErrTimeout{}
		}
	}
	if err != nil {
		ep.Abort()
		return nil, nil, err
	}
	return ep, wq, nil
}

// connectTimeout is for the container to answer: it is on this machine.
const connectTimeout = 10 * time.Second

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: fromAddr(a.Addr()), Port: a.Port()}
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return 0x0800
	}
	return 0x86dd
}

// serveNames answers questions over TCP, one after the other.
func (n *Network) serveNames(r *tcp.ForwarderRequest) {
	select {
	case n.streams <- struct{}{}:
		defer func() { <-n.streams }()
	default:
		r.Complete(true)
		return
	}
	wq := new(waiter.Queue)
	ep, e := r.CreateEndpoint(wq)
	r.Complete(e != nil)
	if e != nil {
		return
	}
	n.answerStream(gonet.NewTCPConn(wq, ep))
}
