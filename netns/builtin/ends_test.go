package builtin

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
)

// TestHalfClose: the outside ends its direction first, and still hears all that comes
// from within; by a published port either side may be the first.
func TestHalfClose(t *testing.T) {
	testHalfClose(t, start)
	testHalfClose(t, startInside)
}

func testHalfClose(t *testing.T, start func(*testing.T, string, ...string) *container) {
	t.Helper()
	const size = 3 << 20
	data := pattern(size)
	c := start(t, "", "192.0.2.1:18090:90")
	defer c.n.Unpublish(netns.Port{Protocol: "tcp", HostIP: world4, Host: 18090, Container: 90})
	l := c.listen(":90")
	heard := make(chan []byte, 1)
	last := func(s net.Conn) { // ends its direction, then listens
		_, _ = s.Write([]byte("first"))
		_ = s.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(s)
		heard <- b
		s.Close()
	}
	answer := func(name string, s net.Conn) {
		t.Helper()
		if got, err := io.ReadAll(s); string(got) != "first" || err != nil {
			t.Fatalf("%s: %q, %v", name, got, err)
		}
		_, err := s.Write(data)
		if err := errors.Join(err, s.(*net.TCPConn).CloseWrite()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := <-heard; !bytes.Equal(got, data) {
			t.Errorf("%s: of %d bytes %d came after the end of the other direction", name, size, len(got))
		}
	}
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { last(s) })
	answer("from within", c.mustDial("tcp", at))
	client, err := net.Dial("tcp", "192.0.2.1:18090")
	if err != nil {
		t.Fatal(err)
	}
	within, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go last(within)
	answer("published, the container ends first", client)
	if client, err = net.Dial("tcp", "192.0.2.1:18090"); err != nil {
		t.Fatal(err)
	}
	if within, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	go last(client)
	answer("published, the client ends first", within)
	wait(t, func() bool { c.n.mu.Lock(); defer c.n.mu.Unlock(); return len(c.n.conns) == 0 })
}

// fill writes until nothing more is taken, and says how much was.
func fill(s net.Conn) (total int) {
	b := make([]byte, 64<<10)
	for {
		_ = s.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := s.Write(b)
		total += n
		if err != nil {
			_ = s.SetWriteDeadline(time.Time{})
			return total
		}
	}
}

// TestStalled: who sends to somebody who does not read is held up, what waits between
// them is bounded, and a reset of either side ends the other's connection all the same.
func TestStalled(t *testing.T) {
	defer func(d time.Duration) { stallCheck = d }(stallCheck)
	stallCheck = 20 * time.Millisecond
	c := start(t, "")
	const most = 24 << 20 // buffers of two kernels, which grow to 6 MB and 4 MB, and of the stack
	accepted := make(chan *net.TCPConn, 1)
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { accepted <- s })
	gone := func() bool { c.n.mu.Lock(); defer c.n.mu.Unlock(); return len(c.n.conns) == 0 }
	for _, outside := range []bool{true, false} {
		inner := c.mustDial("tcp", at)
		outer := <-accepted
		writer, reader := inner, net.Conn(outer)
		if !outside {
			writer, reader = reader, inner
		}
		if n := fill(writer); n > most || n == 0 {
			t.Errorf("%d bytes are taken that nobody reads", n)
		}
		// The writer resets, whom nobody reads from.
		reset(writer.(*net.TCPConn))
		wait(t, gone)
		if _, err := io.Copy(io.Discard, reader); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the reader hears %v of a reset", err)
		}
		inner = c.mustDial("tcp", at)
		outer = <-accepted
		writer, reader = inner, net.Conn(outer)
		if !outside {
			writer, reader = reader, inner
		}
		fill(writer)
		reset(reader.(*net.TCPConn)) // the reader resets
		wait(t, gone)
		_ = writer.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := writer.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the writer hears %v of a reset", err)
		}
	}
}

// TestTimeWait: the outside ends first, and the container uses the same port again: the
// connection is made although the last one is not forgotten yet.
func TestTimeWait(t *testing.T) {
	w := startWire(t, func(*Network) {})
	at := netip.MustParseAddrPort(serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { s.Close() }))
	for round := range uint32(2) {
		seq := 1000 + round*1000
		var h header.TCP
		for try := 0; ; try++ { // as a kernel does, but sooner
			w.send(100, at, header.TCPFlagSyn, seq, 0)
			got, _, ok := w.hear(50 * time.Millisecond)
			if h = got; ok && h.Flags() == header.TCPFlagSyn|header.TCPFlagAck && h.AckNumber() == seq+1 {
				break
			}
			if try > 60 {
				t.Fatalf("round %d: no connection is made", round)
			}
		}
		mine := h.SequenceNumber() + 1
		w.send(100, at, header.TCPFlagAck, seq+1, mine)
		for h.Flags()&header.TCPFlagFin == 0 {
			h, _ = w.receive()
		}
		w.send(100, at, header.TCPFlagFin|header.TCPFlagAck, seq+1, mine+1)
		if h, _ = w.receive(); h.Flags() != header.TCPFlagAck || !seqnum.Value(h.AckNumber()).LessThanEq(seqnum.Value(seq+2)) {
			t.Fatalf("the end is answered by flags %s", h.Flags())
		}
	}
}

// TestKeepAlive: a connection ends whose container says nothing any more, as its address
// has gone; and the host's socket finds out the same about the other side.
func TestKeepAlive(t *testing.T) {
	had := keepAlive
	defer func() { keepAlive = had }()
	keepAlive.idle, keepAlive.interval, keepAlive.count = 50*time.Millisecond, 50*time.Millisecond, 2
	w := startWire(t, func(*Network) {})
	ended := make(chan error, 1)
	at := netip.MustParseAddrPort(serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) {
		_, err := s.Read(make([]byte, 1))
		ended <- err
	}))
	w.send(100, at, header.TCPFlagSyn, 1, 0)
	h, _ := w.receive()
	w.send(100, at, header.TCPFlagAck, 2, h.SequenceNumber()+1)
	wait(t, func() bool { w.n.mu.Lock(); defer w.n.mu.Unlock(); return len(w.n.conns) == 1 })
	w.n.mu.Lock()
	for c := range w.n.conns {
		if on, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 1 || err != nil {
			t.Errorf("the host's socket has no keep-alive: %d, %v", on, err)
		}
	}
	w.n.mu.Unlock()
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the other side hears %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the connection is still there")
	}
}

// TestForbiddenPing: where the host lets us send no pings, the container hears so at
// once, and the user what to do.
func TestForbiddenPing(t *testing.T) {
	if os.Getenv(inWorld) != withoutPings {
		if enterWorld(withoutPings, "-test.run=^TestForbiddenPing$") != 0 {
			t.Error("see above")
		}
		return
	}
	told := make(chan [2]string, 9)
	c := startFor(t, "", func(c *container) {
		c.n.Tell(func(msg, hint string) { told <- [2]string{msg, hint} })
	})
	for range 2 {
		if _, err := c.ping("udp4", "192.0.2.1", 8, nil); !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.EACCES) {
			t.Errorf("ping: %v, want a refusal at once", err)
		}
	}
	if said := <-told; !strings.Contains(said[0], "ping_group_range") || !strings.Contains(said[1], "sysctl") {
		t.Errorf("said: %q", said)
	}
	if len(told) > 0 {
		t.Error("it is said more than once")
	}
}
