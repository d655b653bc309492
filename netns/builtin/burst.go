package builtin

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Datagrams that come one after the other and are of one size go on together: in the
// kernel one packet is then up to 64 KiB of them, cut at the end of its way (UDP_SEGMENT
// to the host's side, VIRTIO_NET_HDR_GSO_UDP_L4 to the container). Nothing waits for
// that: what there is when nothing more can be read is passed on.

// burst are datagrams of a flow, of one size; the last may be shorter.
type burst struct {
	n    *Network
	f    *flow // nil: there are none
	room *[maxPacket]byte
	all  []byte // of room
	size int
	last bool // no more may follow
}

// maxSegments are those of a burst; UDP_MAX_SEGMENTS was 64 at first.
const maxSegments = 64

// add has a datagram go out with others. It is for who reads the device.
func (o *burst) add(f *flow, b []byte) {
	if !f.gate.Datagram(b) {
		o.n.refuse(f.key, true)
		return
	}
	if o.f != f || o.last || len(b) > o.size || len(o.all)+len(b) > maxUDP(f.key.to.Addr()) || len(o.all) >= (maxSegments-1)*o.size {
		o.flush()
	}
	if len(b) == 0 || f.single {
		o.n.passOut(f, b)
		return
	}
	if o.f == nil {
		o.f, o.room, o.size = f, packets.Get().(*[maxPacket]byte), len(b)
		o.all = o.room[:0]
	}
	o.all = append(o.all, b...)
	o.last = len(b) < o.size
}

// flush sends them.
func (o *burst) flush() {
	if o.f == nil {
		return
	}
	f, all := o.f, o.all
	if len(all) <= o.size {
		o.n.passOut(f, all)
	} else if err := f.sendSegments(all, o.size); err == nil {
		f.gate.Sent(len(all))
	} else { // the route takes none of that size, or nobody cuts them
		f.single = true
		for len(all) > 0 {
			n := min(o.size, len(all))
			o.n.passOut(f, all[:n])
			all = all[n:]
		}
	}
	packets.Put(o.room)
	*o = burst{n: o.n}
}

// segmentSize is the control message that says how large the datagrams are.
func segmentSize(room *[32]byte, size int) []byte {
	b := room[:unix.CmsgSpace(2)]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&room[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(size))
	return b
}

// sendSegments is send for many; it fails where they cannot be sent together.
func (f *flow) sendSegments(b []byte, size int) (err error) {
	var room [32]byte
	control := segmentSize(&room, size)
	for range 2 { // as in send
		cerr := f.raw.Write(func(fd uintptr) bool {
			_, err = unix.SendmsgN(int(fd), b, control, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			return true
		})
		if cerr != nil || !errors.Is(err, unix.ECONNREFUSED) {
			break
		}
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ECONNREFUSED) {
		return nil // lost, as on any network
	}
	return err
}

// receiveBuffer is asked for, of what the host allows: at a Gb/s the usual one is full
// after a millisecond, which another program's turn takes.
const receiveBuffer = 1 << 20

// inRoom is what datagrams are read into: one more of any size must fit behind others.
type inRoom = [2 * maxPacket]byte

// gathering are datagrams of a flow on their way in.
type gathering struct {
	pass   func(all []byte, size int)
	single bool // each by itself
	room   *inRoom
	at     int // so much waits
	size   int
}

// next says where one is read to.
func (g *gathering) next() []byte { return g.room[g.at:] }

// add takes one that was read there.
func (g *gathering) add(n int) {
	fits := n > 0 && n <= g.size && g.at+n <= maxPacket-ipv6Len-udpLen && g.at < (maxSegments-1)*g.size
	if g.at > 0 && !fits {
		old := g.at
		g.flush()
		copy(g.room[:], g.room[old:old+n])
	}
	if g.at == 0 {
		g.size = n
	}
	g.at += n
	if g.single || n < g.size || n == 0 {
		if n == 0 {
			g.pass(nil, 0)
			return
		}
		g.flush()
	}
}

func (g *gathering) flush() {
	if g.at > 0 {
		g.pass(g.room[:g.at], g.size)
		g.at = 0
	}
}

// sendUDPs sends the container datagrams of one size; the last may be shorter.
func (n *Network) sendUDPs(from, to netip.AddrPort, all []byte, size int) {
	if len(all) > size && !n.link.uncut.Load() {
		var room [ipv6Len + udpLen]byte
		h := udpHeaders(room[:0], from, to, len(all))
		if n.link.injectCut(h, len(h)-udpLen, all, size) {
			return
		}
		n.link.uncut.Store(true)
	}
	for len(all) > size {
		n.sendUDP(from, to, all[:size])
		all = all[size:]
	}
	n.sendUDP(from, to, all)
}

// injectCut is inject for datagrams that the kernel cuts apart; false where it does
// not know how (before Linux 6.2).
func (l *link) injectCut(headers []byte, ip int, payload []byte, size int) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.shut {
		return true
	}
	head := heading{needsCsum, gsoUDP}
	putHost(head[2:], uint16(len(headers)))
	putHost(head[4:], uint16(size))
	putHost(head[6:], uint16(ip))
	putHost(head[8:], 6)
	frame(&head, l.mac, headers[0]>>4 == 6)
	errno := l.writev([]unix.Iovec{{Base: &head[0], Len: uint64(l.lead)}, {Base: &headers[0], Len: uint64(len(headers))}, {Base: &payload[0], Len: uint64(len(payload))}})
	return errno != unix.EINVAL
}

// receiveOne and sendOne never wait: the runtime need not know of them, and nobody asks
// what kind of socket it is, as unix.Recvfrom does for each.
func receiveOne(fd uintptr, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func sendOne(fd uintptr, b []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
