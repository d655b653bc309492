package builtin

import (
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// flow is one of the host's sockets, connected to whom the container talks to: it
// hears of nobody else, and of errors.
type flow struct {
	key      flowKey
	sock     *os.File
	raw      syscall.RawConn
	gate     netns.Flow
	used     atomic.Int64 // when, in seconds of clock()
	answered atomic.Bool
	single   bool // datagrams go out one by one; for who reads the device
}

// newFlow makes the socket.
func newFlow(key flowKey, dst netip.AddrPort) (*flow, error) {
	family, proto := unix.AF_INET, 0
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(dst.Port()), Addr: as4(dst.Addr())}
	if dst.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(dst.Port()), Addr: dst.Addr().As16()}
	}
	if key.proto != unix.IPPROTO_UDP {
		proto = int(key.proto)
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // what the host allows
	if err := unix.Connect(fd, sa); err != nil {
		unix.Close(fd)
		return nil, err
	}
	sock := os.NewFile(uintptr(fd), "flow")
	raw, err := sock.SyscallConn()
	if err != nil {
		sock.Close()
		return nil, err
	}
	f := &flow{key: key, sock: sock, raw: raw}
	f.used.Store(clock())
	return f, nil
}

// as4 is zero for an address of the other family.
func as4(a netip.Addr) (out [4]byte) {
	if a.Is4() {
		out = a.As4()
	}
	return out
}

// send passes a datagram on. What does not fit into the socket is lost, as on any
// network; an error of an earlier one is for receive to find. It fails where the
// socket is of no use any more: the host has another address now, or no network, and
// a new socket would have what there is.
func (f *flow) send(b []byte) error {
	for range 2 { // an error that is pending is told instead of sending
		var err error
		cerr := f.raw.Write(func(fd uintptr) bool {
			err = sendOne(fd, b)
			return true
		})
		switch {
		case cerr != nil:
			return nil
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ENETDOWN):
			return err
		case !errors.Is(err, unix.ECONNREFUSED):
			return nil
		}
	}
	return nil
}

// receive passes on what comes back, until the flow is closed.
func (n *Network) receive(f *flow) {
	for {
		err := f.read(func(all []byte, size int) {
			f.used.Store(clock())
			f.answered.Store(true)
			f.gate.Received(len(all))
			n.passBack(f, all, size)
		})
		switch {
		case err == nil:
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
			n.refuse(f.key, false)
		case errors.Is(err, unix.EMSGSIZE):
		default:
			return
		}
	}
}

// maxReads are the datagrams that are read before others have a turn.
const maxReads = 256

// read waits for datagrams, without a buffer: of the flows that wait there are a thousand.
func (f *flow) read(pass func(all []byte, size int)) (err error) {
	cerr := f.raw.Read(func(fd uintptr) bool {
		g := gathering{pass: pass, single: f.key.proto != unix.IPPROTO_UDP, room: inRooms.Get().(*inRoom)}
		defer inRooms.Put(g.room)
		defer g.flush()
		for i := range maxReads {
			var n int
			n, err = receiveOne(fd, g.next())
			switch {
			case err == nil:
				g.add(n)
			case errors.Is(err, unix.EAGAIN) && i > 0:
				err = nil
				return true
			default:
				return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
			}
		}
		return true
	})
	if cerr != nil {
		return cerr
	}
	return err
}
