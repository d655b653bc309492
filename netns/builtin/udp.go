package builtin

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Datagrams have a path of their own: from the packet to a socket of the host's,
// and from that into a packet. gVisor's endpoints lose half of a Gb/s.

// flowKey is who in the container talks to whom, and how. For echoes the
// container's port is the identifier, and the other 0.
type flowKey struct {
	proto    byte
	from, to netip.AddrPort
}

// Times without a packet after which a flow is over: those of Linux's connection
// tracking (nf_conntrack_udp_timeout, its _stream, and icmp).
const (
	udpTimeout    = 30
	streamTimeout = 120
	echoTimeout   = 30
)

type flows struct {
	n  *Network
	mu sync.Mutex
	m  map[flowKey]*flow // nil: closed

	sweeping  bool
	published map[flowKey]*session // datagrams that came in by a published port, see udpListener
}

// packets are what is read into: of the size of the largest, so they are shared.
var (
	packets = sync.Pool{New: func() any { return new([maxPacket]byte) }}
	inRooms = sync.Pool{New: func() any { return new(inRoom) }}
)

var began = time.Now()

// clock does not jump, as the time of day does.
func clock() int64 { return int64(time.Since(began) / time.Second) }

func (f *flows) init(n *Network) {
	f.n, f.m, f.published = n, map[flowKey]*flow{}, map[flowKey]*session{}
}

func endpoints(id stack.TransportEndpointID) (from, to netip.AddrPort) {
	return netip.AddrPortFrom(toAddr(id.RemoteAddress), id.RemotePort), netip.AddrPortFrom(toAddr(id.LocalAddress), id.LocalPort)
}

// handleUDP takes a datagram of the container's; false has the stack answer that
// nobody is there.
func (n *Network) handleUDP(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	from, to := endpoints(id)
	if n.isDNS(to) {
		go n.answerPacket(from, to, contents(pkt))
		return true
	}
	if to.Addr().IsMulticast() {
		return true // nobody answers for a group
	}
	key := flowKey{unix.IPPROTO_UDP, from, to}
	if s := n.udp.session(key); s != nil {
		s.send(contents(pkt))
		return true
	}
	f, err := n.udp.find(key)
	if err != nil {
		if n.gate == nil {
			return false
		}
		n.refuse(key, true)
		return true
	}
	n.sendOut(f, contents(pkt))
	return true
}

// sendOut sends a datagram if it may go out.
func (n *Network) sendOut(f *flow, b []byte) {
	if !f.gate.Datagram(b) {
		n.refuse(f.key, true)
		return
	}
	n.passOut(f, b)
}

// passOut sends one that may.
func (n *Network) passOut(f *flow, b []byte) {
	if err := f.send(b); err != nil {
		n.udp.revoke(f)
		n.refuse(f.key, false)
		return
	}
	f.gate.Sent(len(b))
}

// contents are a copy of what a packet carries.
func contents(pkt *stack.PacketBuffer) []byte { return pkt.Data().AsRange().ToSlice() }

// find gives the flow, a new one where there is none.
func (f *flows) find(key flowKey) (*flow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.m[key]; known != nil {
		known.used.Store(clock())
		return known, nil
	}
	if f.m == nil {
		return nil, os.ErrClosed
	}
	dst, gate, ok := f.n.open(protocol(key), key.to)
	if !ok {
		return nil, errNowhere
	}
	if len(f.m) >= f.n.limits.flows { // the one that is unused for longest makes room
		f.evict()
	}
	fresh, err := newFlow(key, dst)
	if err != nil {
		gate.Close(err)
		f.n.tellIf(err)
		if key.proto != unix.IPPROTO_UDP && errors.Is(err, os.ErrPermission) {
			f.n.tellPing()
		}
		return nil, err
	}
	fresh.gate = gate
	f.m[key] = fresh
	gate.Revoked(func() { f.revoke(fresh) })
	f.watch()
	go f.n.receive(fresh)
	return fresh, nil
}

func protocol(key flowKey) string {
	if key.proto == unix.IPPROTO_UDP {
		return netns.UDP
	}
	return netns.ICMP
}

// revoke ends a flow that may go on no longer.
func (f *flows) revoke(c *flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[c.key] == c {
		f.end(c)
	}
}

// evict ends the flow that is unused for longest.
func (f *flows) evict() {
	var oldest *flow
	for _, c := range f.m {
		if oldest == nil || c.used.Load() < oldest.used.Load() {
			oldest = c
		}
	}
	f.end(oldest)
}

func (f *flows) end(c *flow) {
	delete(f.m, c.key)
	c.sock.Close()
	c.gate.Close(nil)
}

// watch sees to it that flows end; it sleeps while there are none.
func (f *flows) watch() {
	if f.sweeping {
		return
	}
	f.sweeping = true
	time.AfterFunc(10*time.Second, f.sweep)
}

func (f *flows) sweep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweeping = false
	now := clock()
	for _, c := range f.m {
		limit := int64(udpTimeout)
		switch {
		case c.key.proto != unix.IPPROTO_UDP:
			limit = echoTimeout
		case c.answered.Load():
			limit = streamTimeout
		}
		if now-c.used.Load() > limit {
			f.end(c)
		}
	}
	for key, s := range f.published {
		if now-s.used.Load() > streamTimeout {
			delete(f.published, key)
		}
	}
	if len(f.m)+len(f.published) > 0 {
		f.watch()
	}
}

func (f *flows) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.m {
		f.end(c)
	}
	f.m, f.published = nil, nil
}

func (n *Network) passBack(f *flow, all []byte, size int) {
	if f.key.proto != unix.IPPROTO_UDP {
		n.passEcho(f, all)
		return
	}
	n.sendUDPs(f.key.to, f.key.from, all, size)
}

// sendUDP sends the container a datagram. The device takes packets of any size.
func (n *Network) sendUDP(from, to netip.AddrPort, b []byte) {
	var room [ipv6Len + udpLen]byte
	h := udpHeaders(room[:0], from, to, len(b))
	n.link.inject(h, len(h)-udpLen, 6, b)
}

// refuse tells the container that its datagram was refused.
func (n *Network) refuse(key flowKey, denied bool) {
	var quoted []byte
	if key.proto == unix.IPPROTO_UDP {
		quoted = udpHeaders(nil, key.from, key.to, 0)
	} else {
		quoted = ipHeader(nil, key.proto, key.from.Addr(), key.to.Addr(), echoLen)
		echo := [echoLen]byte{echoRequest4}
		if key.from.Addr().Is6() {
			echo[0] = echoRequest6
		}
		binary.BigEndian.PutUint16(echo[4:], key.from.Port())
		quoted = append(quoted, echo[:]...)
	}
	n.link.inject(unreachable(key.to.Addr(), key.from.Addr(), denied, quoted), 0, 0, nil)
}

// handleEcho takes a ping of the container's. The host's side is a ping socket,
// which the kernel gives to the groups of net.ipv4.ping_group_range.
func (n *Network) handleEcho(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h := pkt.TransportHeader().Slice()
	from, to := endpoints(id)
	if len(h) < echoLen || h[0] != echoRequest4 && h[0] != echoRequest6 || n.isOurs(to.Addr()) {
		return false // the stack answers for itself
	}
	from, to = netip.AddrPortFrom(from.Addr(), binary.BigEndian.Uint16(h[4:])), netip.AddrPortFrom(to.Addr(), 0)
	key := flowKey{icmpProto(to.Addr()), from, to}
	f, err := n.udp.find(key)
	if err != nil {
		n.refuse(key, true)
		return true
	}
	n.sendOut(f, append(h[:len(h):len(h)], contents(pkt)...))
	return true
}

// passEcho gives an answer the identifier of the question: the host's socket has
// one of its own.
func (n *Network) passEcho(f *flow, b []byte) {
	if len(b) < echoLen || b[0] != echoReply4 && b[0] != echoReply6 {
		return
	}
	var head [8]byte
	copy(head[:], b)
	head[2], head[3] = 0, 0
	binary.BigEndian.PutUint16(head[4:], f.key.from.Port())
	n.link.inject(icmpPacket(f.key.to.Addr(), f.key.from.Addr(), head, b[echoLen:]), 0, 0, nil)
}
