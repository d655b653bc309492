package forward

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stream is one connection: a client's, and the one that it goes on as.
type stream struct {
	client, inner side
	tally         *tally
	aborted       atomic.Bool
}

// side is a socket of it, which is not closed before both directions have ended.
type side struct {
	conn interface {
		SetDeadline(time.Time) error
		SetWriteDeadline(time.Time) error
	}
	raw syscall.RawConn
	fd  int
}

func newStream(client *net.TCPConn, inner *os.File, t *tally) (*stream, error) {
	s := &stream{client: side{conn: client}, inner: side{conn: inner}, tally: t}
	var err error
	if s.client.raw, err = client.SyscallConn(); err != nil {
		return nil, err
	}
	if s.inner.raw, err = inner.SyscallConn(); err != nil {
		return nil, err
	}
	for _, e := range []*side{&s.client, &s.inner} {
		if err := e.raw.Control(func(fd uintptr) { e.fd = int(fd) }); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// carry passes on bytes, and their end; a reset becomes one of the other side.
func (s *stream) carry() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.pass(&s.inner, &s.client)
	}()
	s.pass(&s.client, &s.inner)
	<-done
}

// abort has both sides reset when they are closed, and wakes who waits for either.
func (s *stream) abort() {
	s.aborted.Store(true)
	for _, e := range []*side{&s.client, &s.inner} {
		_ = e.raw.Control(func(fd uintptr) { // not e.fd: it may be closed by now
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
		_ = e.conn.SetDeadline(time.Unix(1, 0))
	}
}

// pass is one direction. All of it is in the poller's callback: what comes while it
// runs makes it run again.
func (s *stream) pass(to, from *side) {
	var ok bool
	err := from.raw.Read(func(uintptr) (done bool) {
		done, ok = s.move(to, from)
		return done
	})
	if err != nil || !ok {
		s.abort()
		return
	}
	_ = unix.Shutdown(to.fd, unix.SHUT_WR)
}

// A piece is read and written; where there is more than one at once the kernel moves
// them (splice(2)), which costs more calls and fewer bytes.
const (
	pieceSize = 16 << 10
	spliceMax = 1 << 20
	maxPipes  = 64 // of all connections: each has two descriptors
)

// Who waits for bytes has no buffer.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// move passes on all that is there; done is the end, a bad one unless ok.
func (s *stream) move(to, from *side) (done, ok bool) {
	b := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(b)
	for {
		n, errno := call(unix.SYS_READ, from.fd, b[:])
		switch {
		case errno == unix.EAGAIN:
			return false, true
		case errno != 0:
			return true, false
		case n == 0:
			return true, true
		}
		if !s.write(to, from, b[:n]) {
			return true, false
		}
		s.count(to, n)
		if n == len(b) {
			if done, ok := s.splice(to, from); done {
				return true, ok
			}
		}
	}
}

func (s *stream) count(to *side, n int) {
	if to == &s.inner {
		s.tally.add(n, 0)
	} else {
		s.tally.add(0, n)
	}
}

// write writes all of b.
func (s *stream) write(to, from *side, b []byte) bool {
	for len(b) > 0 {
		n, errno := call(unix.SYS_WRITE, to.fd, b)
		switch errno {
		case 0:
			b = b[n:]
		case unix.EAGAIN:
			if !s.room(to, from) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// stallCheck is how often a connection whose receiver does not read is looked after.
var stallCheck = 5 * time.Second

// room waits until a side takes bytes again; false when the other has been reset
// meanwhile: it is not read from, so nobody would hear of it.
func (s *stream) room(to, from *side) bool {
	for {
		_ = to.conn.SetWriteDeadline(time.Now().Add(stallCheck))
		if s.aborted.Load() {
			return false
		}
		err := to.raw.Write(func(uintptr) bool { return ready(to.fd, unix.POLLOUT) })
		switch {
		case err == nil:
			return true
		case s.aborted.Load() || !os.IsTimeout(err) || ready(from.fd, unix.POLLERR):
			return false
		}
	}
}

// ready asks what a socket can do at this moment; an error of its counts.
func ready(fd int, events int16) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}} //nolint:gosec // a descriptor
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(events|unix.POLLERR) != 0
}

// call reads or writes without waiting; nothing else of the runtime's is in between.
func call(nr uintptr, fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(nr, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}
