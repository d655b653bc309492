package builtin

// The bytes of a connection, in either direction.

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/waiter"
)

// up carries what the container sends, as far as that does not go the short way. It
// is called with pushing held, and keeps it when it ends: the host's socket is used no more.
func (c *conn) up() {
	if err := c.begin(); err != nil {
		c.abort()
		return
	}
	entry := waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr, func(waiter.EventMask) {
		if !c.direct.Load() {
			c.wake()
		}
	})
	c.wq.EventRegister(&entry)
	defer c.wq.EventUnregister(&entry)
	var p pusher
	for {
		full, err := false, c.ended
		if err == nil {
			full, err = p.push(c)
		}
		if full {
			// The retry must run in the callback: the poller is edge-triggered.
			werr := c.raw.Write(func(uintptr) bool {
				full, err = p.push(c)
				return !full
			})
			if werr != nil {
				c.abort()
				return
			}
		}
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			c.pushing.Unlock()
			<-c.ready
			c.pushing.Lock()
		case *tcpip.ErrClosedForReceive:
			_ = c.host.CloseWrite()
			return
		default: // reset by the container, or by us
			c.abort()
			return
		}
	}
}

// begin has the gate see the first bytes, where it wants to.
func (c *conn) begin() error {
	check := c.flow.Check()
	if check == nil && c.head == nil {
		return nil
	}
	in := &headed{gonet.NewTCPConn(c.wq, c.ep), c.head}
	c.head = nil
	if check != nil {
		if err := check(in, c.host); err != nil {
			return err
		}
	}
	if len(in.head) == 0 {
		return nil
	}
	n, err := c.host.Write(in.head)
	c.flow.Sent(n)
	return err
}

// headed is what the container sends, with something before it.
type headed struct {
	*gonet.TCPConn
	head []byte
}

func (h *headed) Read(b []byte) (int, error) {
	if len(h.head) == 0 {
		return h.TCPConn.Read(b)
	}
	n := copy(b, h.head)
	h.head = h.head[n:]
	return n, nil
}

// pusher takes bytes from the endpoint to the host's socket: it looks at them,
// writes them with one call, and drops what was written.
type pusher struct {
	iov []unix.Iovec
	n   int
}

// A call takes this much at most.
const (
	maxPieces = 256
	maxPush   = 1 << 20
)

// Write gathers; the endpoint calls it with its lock held.
func (p *pusher) Write(b []byte) (int, error) {
	if len(p.iov) >= maxPieces || p.n > maxPush {
		return 0, io.ErrShortWrite
	}
	if len(b) > 0 {
		p.iov = append(p.iov, unix.Iovec{Base: &b[0], Len: uint64(len(b))})
		p.n += len(b)
	}
	return len(b), nil
}

// push makes one step; full says that the host's socket takes no more now.
func (p *pusher) push(c *conn) (full bool, _ tcpip.Error) {
	p.iov, p.n = p.iov[:0], 0
	_, err := c.ep.Read(p, tcpip.ReadOptions{Peek: true})
	if p.n == 0 {
		return false, err
	}
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, c.fd, uintptr(unsafe.Pointer(&p.iov[0])), uintptr(len(p.iov)))
	clear(p.iov) // they would keep the packets alive
	switch errno {
	case 0:
	case unix.EAGAIN:
		return true, nil
	case unix.EINTR:
		return false, nil
	default:
		return false, &tcpip.ErrConnectionReset{}
	}
	c.flow.Sent(int(n))
	drop := tcpip.LimitedWriter{W: io.Discard, N: int64(n)}
	_, err = c.ep.Read(&drop, tcpip.ReadOptions{})
	return int(n) < p.n, err
}

// down carries what the host's side sends.
func (c *conn) down() {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	c.wq.EventRegister(&entry)
	defer c.wq.EventUnregister(&entry)
	p := puller{fd: c.fd}
	for {
		var end bool
		var errno syscall.Errno
		if err := c.raw.Read(func(uintptr) (done bool) {
			done, end, errno = p.look()
			return done
		}); err != nil || errno != 0 {
			c.abort()
			return
		}
		if end {
			_ = c.ep.Shutdown(tcpip.ShutdownWrite)
			return
		}
		n, err := c.ep.Write(&p, tcpip.WriteOptions{})
		c.flow.Received(int(n))
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			if !c.roomInside(ready) {
				c.abort()
				return
			}
		default:
			c.abort()
			return
		}
	}
}

// puller is a tcpip.Payloader of what the host's socket has: the endpoint reads
// from the socket into its own buffers.
type puller struct {
	fd uintptr
	n  int
}

// maxPull is what one write hands to the endpoint: with a quarter of it one connection
// receives a fifth less.
const maxPull = 1 << 20

// look finds out how much there is, with one call that copies nothing (MSG_TRUNC of
// tcp(7)): with two, what comes between them would go on a byte at a time. Not done:
// nothing yet.
func (p *puller) look() (done, end bool, _ syscall.Errno) {
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, p.fd, 0, maxPull, unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			p.n = int(r)
			return true, r == 0, 0
		case unix.EAGAIN:
			return false, false, 0
		case unix.EINTR:
			continue
		}
		return true, false, errno
	}
}

// Len is exact: the endpoint makes room for this much.
func (p *puller) Len() int { return p.n }

func (p *puller) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	r, _, errno := unix.RawSyscall(unix.SYS_READ, p.fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	if r == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	p.n -= int(r)
	return int(r), nil
}
