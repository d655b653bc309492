package builtin

import (
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
	mu   sync.Mutex
	lans []netns.Lan
	all  []*peer
	now  atomic.Pointer[routes] // nil: none
}

// routes are for reading without a lock.
type routes struct {
	lans   []netns.Lan
	byAddr map[netip.Addr]*peer
}

// peer is another container.
type peer struct {
	addr  netip.Addr
	names []string

	mu  sync.RWMutex // held for reading while fd is in use
	dev *os.File
	fd  uintptr // 0: gone
}

// Join makes the container part of networks, in the place of those before.
func (n *Network) Join(lans []netns.Lan) {
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	n.peers.lans = slices.Clone(lans)
	n.renew()
}

// Meet makes another container known, whose device is ours to close; part undoes it.
func (n *Network) Meet(addr netip.Addr, names []string, dev *os.File) (part func(), err error) {
	raw, err := dev.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &peer{addr: addr, names: names, dev: dev}
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
	r := &routes{lans: slices.Clone(n.peers.lans), byAddr: map[netip.Addr]*peer{}}
	names := map[string][]netip.Addr{}
	for _, p := range n.peers.all {
		r.byAddr[p.addr] = p
		for _, name := range p.names {
			names[name] = append(names[name], p.addr)
		}
	}
	for _, l := range r.lans {
		for _, name := range l.Names {
			names[name] = append(names[name], l.Own)
		}
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
func (n *Network) toPeer(head *[vnetHeader]byte, b []byte) bool {
	r := n.peers.now.Load()
	if r == nil || len(b) < ipv4Len || b[0]>>4 != 4 {
		return false
	}
	to := netip.AddrFrom4([4]byte(b[16:20]))
	l := r.lan(to)
	if l == nil || netip.AddrFrom4([4]byte(b[12:16])) != l.Own {
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
func (p *peer) write(head *[vnetHeader]byte, b []byte) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.fd == 0 {
		return
	}
	iov := [2]unix.Iovec{{Base: &head[0], Len: vnetHeader}, {Base: &b[0], Len: uint64(len(b))}}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, p.fd, uintptr(unsafe.Pointer(&iov[0])), 2)
		if errno != syscall.EINTR {
			return // as any network, this one may lose packets
		}
	}
}
