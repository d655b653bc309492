package builtin

import (
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// Networks between containers. Each of them is served by the process that started it,
// which has the devices of the others, too: what one sends to another is written to
// the other's device as it came, up to 64 KiB of a stream at once and without its
// checksum. No stack and no process is in between, and nobody's end touches others.

// peers are whom the container can reach directly.
type peers struct {
	mu     sync.Mutex
	lans   []netns.Lan
	config netns.Config // what the interface has
	all    []*peer
	now    atomic.Pointer[routes] // nil: none
}

// routes are for reading without a lock.
type routes struct {
	config netns.Config
	lans   []netns.Lan
	byAddr map[netip.Addr]*peer
}

// Peer is another container: its addresses of both families, its names, the first of
// which is its own, and its hardware address where its device has one.
type Peer struct {
	Addrs []netip.Addr
	Names []string
	MAC   netns.MAC
}

type peer struct {
	Peer

	mu  sync.RWMutex // held for reading while fd is in use
	dev *os.File
	fd  uintptr // 0: gone
}

// Join makes the container part of networks, in the place of those before. Its
// addresses may be others then, and the outside may be open or closed (c.Internal);
// the gateway and the name server stay.
func (n *Network) Join(lans []netns.Lan, c netns.Config) {
	n.peers.mu.Lock()
	closed := c.Internal && !n.peers.config.Internal
	n.peers.lans = slices.Clone(lans)
	n.peers.config.IPv4, n.peers.config.IPv6, n.peers.config.Internal = c.IPv4, c.IPv6, c.Internal
	n.resolver.SetAlone(c.Internal)
	n.renew()
	n.peers.mu.Unlock()
	if closed {
		n.cut()
	}
}

// cut ends what goes on with the outside.
func (n *Network) cut() {
	n.mu.Lock()
	conns := slices.Collect(maps.Keys(n.conns))
	n.mu.Unlock()
	for _, c := range conns {
		c.abort()
	}
	n.udp.mu.Lock()
	defer n.udp.mu.Unlock()
	for _, f := range n.udp.m {
		n.udp.end(f)
	}
}

// current is the configuration as it is now.
func (n *Network) current() netns.Config {
	if r := n.peers.now.Load(); r != nil {
		return r.config
	}
	return n.config
}

// Meet makes another container known, whose device is ours to close; part undoes it.
func (n *Network) Meet(who Peer, dev *os.File) (part func(), err error) {
	raw, err := dev.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &peer{Peer: who, dev: dev}
	if err := raw.Control(func(fd uintptr) { p.fd = fd }); err != nil {
		return nil, err
	}
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	n.peers.all = append(n.peers.all, p)
	n.renew()
	return func() {
		n.peers.mu.Lock()
		n.peers.all = slices.DeleteFunc(n.peers.all, func(q *peer) bool { return q == p })
		n.renew()
		n.peers.mu.Unlock()
		p.close()
	}, nil
}

// renew is called with the lock held.
func (n *Network) renew() {
	r := &routes{config: n.peers.config, lans: slices.Clone(n.peers.lans), byAddr: map[netip.Addr]*peer{}}
	var names []netns.Named
	for _, p := range n.peers.all {
		for _, a := range p.Addrs {
			r.byAddr[a] = p
		}
		names = append(names, netns.Named{Names: p.Names, Addrs: p.Addrs})
	}
	for _, l := range r.lans {
		names = append(names, netns.Named{Names: l.Names, Addrs: []netip.Addr{l.Own}})
	}
	n.resolver.SetPeers(names)
	n.peers.now.Store(r)
}

func (p *peer) close() {
	p.mu.Lock()
	p.fd = 0
	p.mu.Unlock()
	p.dev.Close()
}

// lan is the network that an address belongs to; nil for none.
func (r *routes) lan(a netip.Addr) *netns.Lan {
	if r == nil {
		return nil
	}
	for i := range r.lans {
		if r.lans[i].Prefix.Contains(a) {
			return &r.lans[i]
		}
	}
	return nil
}

// toPeer hands a packet of the container's to another; false where it is for nobody
// that is known. A container speaks for its own address only.
func (n *Network) toPeer(head *heading, b []byte) bool {
	r := n.peers.now.Load()
	if r == nil {
		return false
	}
	var from, to netip.Addr
	switch {
	case len(b) >= ipv4Len && b[0]>>4 == 4:
		from, to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	case len(b) >= ipv6Len && b[0]>>4 == 6:
		from, to = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return false
	}
	l := r.lan(to)
	if l == nil || from != l.Own {
		return false
	}
	p := r.byAddr[to]
	if p == nil {
		return false
	}
	p.write(head, b)
	return true
}

// write never waits: the device takes a packet or drops it.
func (p *peer) write(head *heading, b []byte) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.fd == 0 {
		return
	}
	to := *head
	frame(&to, p.MAC, b[0]>>4 == 6)
	iov := [2]unix.Iovec{{Base: &to[0], Len: uint64(headingLen(p.MAC))}, {Base: &b[0], Len: uint64(len(b))}}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, p.fd, uintptr(unsafe.Pointer(&iov[0])), 2)
		if errno != syscall.EINTR {
			return // as any network, this one may lose packets
		}
	}
}
