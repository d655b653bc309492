package builtin

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	_ "unsafe" // for go:linkname

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// The short way of what the container sends. In gVisor a segment wakes a goroutine
// that handles it, which wakes the one that waits for the endpoint's bytes; half of
// the processor time went into that. So who reads the device handles the segments of
// a connection himself, all that wait there at once, and writes the bytes to the
// host's socket; only what that does not take is left to the connection's goroutine.

// These are gVisor's, as its own goroutines use them (tcp/dispatcher.go, handleConnected).
// Should another version of it have others, nothing links, or TestDirect fails.
//
//go:linkname handleSegments gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).handleSegmentsLocked
func handleSegments(*tcp.Endpoint) tcpip.Error

//go:linkname resetConnection gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).resetConnectionLocked
func resetConnection(*tcp.Endpoint, tcpip.Error)

//go:linkname drainClosing gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).drainClosingSegmentQueue
func drainClosing(*tcp.Endpoint)

//go:linkname startTimeWait gvisor.dev/gvisor/pkg/tcpip/transport/tcp.startTimeWait
func startTimeWait(*tcp.Endpoint)

// maxGathered are segments that are handled at once, of all connections.
const maxGathered = 32

// direct are the connections whose segments may go the short way.
type direct struct {
	n      *Network
	push   pusher
	all    []*conn // whose segments are gathered: their endpoints are locked
	held   int     // packets since the first of these
	bytes  int     // in all of those
	share  share
	passed atomic.Uint64 // settled connections whose bytes were looked for here
}

// keyOf is that of a connection, as the container's packets have it.
func keyOf(ep tcpip.Endpoint) flowKey {
	info, ok := ep.Info().(*stack.TransportEndpointInfo)
	if !ok {
		return flowKey{}
	}
	from, to := endpoints(info.ID)
	return flowKey{unix.IPPROTO_TCP, from, to}
}

// gather is for before a packet is delivered: it goes to the goroutine of its
// connection no more, if it has one, but waits until settle.
func (d *direct) gather(b []byte) {
	if len(d.all) > 0 {
		if d.held++; d.held >= maxGathered {
			d.settle()
		}
	}
	d.bytes += len(b)
	key, ok := segment(b)
	if !ok {
		return
	}
	c := d.n.connection(key)
	if c == nil {
		return
	}
	if !c.gathered {
		if !c.enter() {
			return
		}
		d.all, c.gathered = append(d.all, c), true
	}
}

// settle handles what was gathered.
func (d *direct) settle() {
	if len(d.all) > 1 && d.bytes >= worthSharing {
		d.share.begin(d)
		d.step(&d.push)
		d.share.end()
	} else {
		d.share.next.Store(0)
		d.step(&d.push)
	}
	clear(d.all)
	d.all, d.held, d.bytes = d.all[:0], 0, 0
}

// step sees to one connection after the other.
func (d *direct) step(p *pusher) {
	for {
		i := int(d.share.next.Add(1)) - 1
		if i >= len(d.all) {
			return
		}
		c := d.all[i]
		c.handle()
		d.pass(c, p)
	}
}

// pass writes what a connection's endpoint has to the host's socket.
func (d *direct) pass(c *conn, p *pusher) {
	c.gathered = false
	if !c.pushing.TryLock() {
		c.wake()
		return
	}
	defer c.pushing.Unlock()
	d.passed.Add(1)
	for {
		full, err := p.push(c)
		if _, empty := err.(*tcpip.ErrWouldBlock); empty {
			return
		}
		if full || err != nil {
			c.ended = err
			c.wake()
			return
		}
	}
}

// enter takes the endpoint as a user of it does, so that segments wait.
func (c *conn) enter() bool {
	c.tcp.LockUser()
	switch c.tcp.EndpointState() {
	case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateFinWait2, tcp.StateCloseWait:
		return true
	}
	c.tcp.UnlockUser()
	return false
}

// handle is what gVisor's goroutine would do, and leaves the endpoint.
func (c *conn) handle() {
	c.direct.Store(true)
	defer c.direct.Store(false)
	err := handleSegments(c.tcp)
	if err != nil {
		resetConnection(c.tcp, err)
	}
	switch state := c.tcp.EndpointState(); {
	case err != nil || state == tcp.StateClose:
		c.tcp.UnlockUser()
		drainClosing(c.tcp)
		c.wq.Notify(waiter.EventHUp | waiter.EventErr | waiter.ReadableEvents | waiter.WritableEvents)
		return
	case state == tcp.StateTimeWait:
		startTimeWait(c.tcp)
	}
	c.tcp.UnlockUser()
}

// wake has the connection's goroutine look at it.
func (c *conn) wake() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// connection finds one; nil without.
func (n *Network) connection(key flowKey) *conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byKey[key]
}

// segment takes a packet apart that is TCP, whole, and without IP's options; anything
// else is not ok.
func segment(b []byte) (key flowKey, ok bool) {
	var src, dst netip.Addr
	var rest []byte
	switch {
	case len(b) >= ipv4Len+header.TCPMinimumSize && b[0] == 0x45 && b[9] == unix.IPPROTO_TCP:
		const moreOrOffset = 0x3fff
		if binary.BigEndian.Uint16(b[6:])&moreOrOffset != 0 {
			return key, false
		}
		src, dst, rest = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[ipv4Len:]
	case len(b) >= ipv6Len+header.TCPMinimumSize && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		src, dst, rest = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[ipv6Len:]
	default:
		return key, false
	}
	return flowKey{
		unix.IPPROTO_TCP,
		netip.AddrPortFrom(src, binary.BigEndian.Uint16(rest)),
		netip.AddrPortFrom(dst, binary.BigEndian.Uint16(rest[2:])),
	}, true
}
