package builtin

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is a TUN device as gVisor sees it: packets without an Ethernet header, with
// a virtio-net header before each (IFF_NO_PI|IFF_VNET_HDR, TUNSETOFFLOAD), so that
// one packet is up to 64 KiB of a TCP stream in either direction, and nobody
// computes its checksum. gVisor's own endpoint for descriptors does that on sockets
// only, and wants an Ethernet header.
type link struct {
	dev    *os.File
	raw    syscall.RawConn
	fd     int // for writing: valid until writers is 0
	mtu    atomic.Uint32
	mac    netns.MAC                          // of a TAP device
	lead   int                                // the length of its headings
	toPeer func(head *heading, b []byte) bool // nil: there are none
	quick  func(b []byte) bool                // passes datagrams; nil: there are none
	direct direct
	out    burst
	uncut  atomic.Bool // datagrams go to the container one by one
	rooms  rooms
	room   *buffer.View  // that is read into; nil: the stack has it
	done   chan struct{} // closed when nothing is read any more
	tap    netns.Tap     // nil without

	mu   sync.RWMutex // held for reading while fd is in use
	shut bool
	disp stack.NetworkDispatcher
}

// vnetHeader is the length of struct virtio_net_hdr (virtio 1.2, 5.1.6).
const vnetHeader = 10

const (
	needsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	gsoTCPv4  = 1
	gsoTCPv6  = 4
	gsoUDP    = 5 // VIRTIO_NET_HDR_GSO_UDP_L4

	// maxPacket is what one read can give: tun sends no larger one.
	maxPacket = 65535

	// Smaller packets are copied out of the buffer that they were read to: one
	// of 64 KiB for each of them would be held until it is consumed.
	copied = 16 << 10
)

func newLink(dev *os.File, c netns.Config) (*link, error) {
	raw, err := dev.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &link{dev: dev, raw: raw, mac: c.MAC, lead: headingLen(c.MAC), done: make(chan struct{})}
	l.mtu.Store(uint32(c.MTU))
	return l, raw.Control(func(fd uintptr) { l.fd = int(fd) })
}

func (l *link) MTU() uint32                             { return l.mtu.Load() }
func (l *link) SetMTU(mtu uint32)                       { l.mtu.Store(mtu) }
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) SetOnCloseAction(func())                 {}
func (l *link) Close()                                  {}
func (l *link) GSOMaxSize() uint32                      { return 65536 }
func (l *link) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// Capabilities: what comes from the device has no checksums, as the kernel has
// computed none. Without saying so every connection would hang.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.disp != nil
}

func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	l.disp = d
	l.mu.Unlock()
}

// serve reads until the device is closed.
func (l *link) serve() {
	defer close(l.done)
	l.mu.RLock()
	disp := l.disp
	l.mu.RUnlock()
	var head heading
	var iov [2]unix.Iovec
	for {
		if l.room == nil {
			l.room = l.rooms.next()
		}
		iov[0].Base, iov[1].Base = &head[0], l.room.BasePtr()
		iov[0].SetLen(l.lead)
		iov[1].SetLen(maxPacket)
		wait := len(l.direct.all) == 0 && l.out.f == nil
		if wait {
			l.rooms.rest()
		}
		n, ok := l.read(&iov, wait)
		if !ok {
			l.direct.settle()
			l.direct.share.stop()
			l.room.Release()
			return
		}
		if n == 0 {
			l.out.flush()
			l.direct.settle()
		}
		if n > l.lead {
			if l.lead > vnetHeader {
				shift(&head, -etherLen)
			}
			l.take(disp, &head, n-l.lead)
		}
	}
}

// take sees to a packet of n bytes.
func (l *link) take(disp stack.NetworkDispatcher, head *heading, n int) {
	b := l.room.AsSlice()[:n]
	if l.tap != nil {
		l.tap.Packet(b)
	}
	if l.toPeer != nil && l.toPeer(head, b) || l.quick != nil && l.quick(b) {
		return
	}
	l.out.flush()
	l.direct.gather(b)
	l.deliver(disp, n)
}

// read gives the length of a packet; 0 where there is none, and it is not to wait. The
// poller is edge-triggered: another attempt must be made in the callback, for one that
// was told to wait after the packet came would not be called again.
func (l *link) read(iov *[2]unix.Iovec, wait bool) (n int, ok bool) {
	var errno syscall.Errno
	err := l.raw.Read(func(fd uintptr) bool {
		for {
			var r uintptr
			r, _, errno = unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(iov)), uintptr(len(iov)))
			n = int(r)
			if errno != unix.EINTR {
				break
			}
		}
		if errno == unix.EAGAIN && !wait {
			n, errno = 0, 0
		}
		return errno != unix.EAGAIN
	})
	return n, err == nil && errno == 0
}

// deliver hands n bytes of the room to the stack, and the room with them if they are many.
func (l *link) deliver(disp stack.NetworkDispatcher, n int) {
	b := l.room.AsSlice()[:n]
	proto, ok := version(b)
	if !ok {
		return
	}
	var payload buffer.Buffer
	if n <= copied {
		_ = payload.Append(buffer.NewViewWithData(b))
	} else {
		room := l.rooms.lend(l.room)
		l.room = nil
		room.CapLength(n)
		// Headers of their own: the stack wants them in one piece, and would
		// copy all of the payload with them.
		if h := headersLen(b); h > 0 {
			_ = payload.Append(buffer.NewViewWithData(b[:h]))
			room.TrimFront(h)
		}
		_ = payload.Append(room)
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	disp.DeliverNetworkPacket(proto, pkt)
	pkt.DecRef()
}

func version(b []byte) (tcpip.NetworkProtocolNumber, bool) {
	switch {
	case len(b) >= header.IPv4MinimumSize && b[0]>>4 == 4:
		return header.IPv4ProtocolNumber, true
	case len(b) >= header.IPv6MinimumSize && b[0]>>4 == 6:
		return header.IPv6ProtocolNumber, true
	}
	return 0, false
}

// headersLen is the length of a TCP packet's headers; 0 for any other packet.
func headersLen(b []byte) int {
	ip := 0
	switch {
	case b[0]>>4 == 4 && b[9] == unix.IPPROTO_TCP:
		ip = int(b[0]&15) * 4
	case b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		ip = header.IPv6MinimumSize
	}
	if ip == 0 || len(b) < ip+header.TCPMinimumSize {
		return 0
	}
	n := ip + int(b[ip+12]>>4)*4
	if n < ip+header.TCPMinimumSize || n >= len(b) {
		return 0
	}
	return n
}

// WritePackets writes what the stack has to send.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.shut {
		return 0, &tcpip.ErrClosedForSend{}
	}
	for i, pkt := range pkts.AsSlice() {
		var head heading
		offload(&head, pkt)
		frame(&head, l.mac, pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber)
		// A payload of 64 KiB is in a dozen pieces.
		var room [24]unix.Iovec
		iov := append(room[:0], unix.Iovec{Base: &head[0], Len: uint64(l.lead)})
		for _, s := range pkt.AsSlices() {
			if len(s) > 0 {
				iov = append(iov, unix.Iovec{Base: &s[0], Len: uint64(len(s))})
			}
		}
		if l.tap != nil {
			l.tap.Packet(pkt.AsSlices()...)
		}
		if errno := l.writev(iov); errno != 0 {
			return i, tcpip.TranslateErrno(errno)
		}
	}
	return pkts.Len(), nil
}

// writev never waits: the device takes a packet or drops it.
func (l *link) writev(iov []unix.Iovec) syscall.Errno {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(l.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		if errno != unix.EINTR {
			return errno
		}
	}
}

// offload says in the virtio-net header what the kernel is left to do.
func offload(head *heading, pkt *stack.PacketBuffer) {
	gso := pkt.GSOOptions
	kind := byte(gsoTCPv4)
	switch gso.Type {
	case stack.GSOTCPv4:
	case stack.GSOTCPv6:
		kind = gsoTCPv6
	default:
		return
	}
	if gso.NeedsCsum {
		head[0] = needsCsum
		putHost(head[6:], gso.L3HdrLen)
		putHost(head[8:], gso.CsumOffset)
	}
	putHost(head[2:], uint16(pkt.HeaderSize()))
	if pkt.Data().Size() > int(gso.MSS) {
		head[1] = kind
		putHost(head[4:], gso.MSS)
	}
}

// inject writes a packet that the stack knows nothing of. Its transport checksum,
// at csum in the header behind ip, is one of the pseudo header only; 0 for none.
func (l *link) inject(headers []byte, ip, csum int, payload []byte) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.shut {
		return
	}
	var head heading
	if csum > 0 {
		head[0] = needsCsum
		putHost(head[6:], uint16(ip))
		putHost(head[8:], uint16(csum))
	}
	frame(&head, l.mac, headers[0]>>4 == 6)
	iov := []unix.Iovec{{Base: &head[0], Len: uint64(l.lead)}, {Base: &headers[0], Len: uint64(len(headers))}}
	if len(payload) > 0 {
		iov = append(iov, unix.Iovec{Base: &payload[0], Len: uint64(len(payload))})
	}
	if l.tap != nil {
		l.tap.Packet(headers, payload)
	}
	_ = l.writev(iov) // as any network, this one may lose packets
}

// stop closes the device and waits until nobody uses it.
func (l *link) stop() error {
	l.mu.Lock()
	l.shut = true
	l.mu.Unlock()
	err := l.dev.Close()
	<-l.done
	return err
}
