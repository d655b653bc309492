package forward

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// The network of the container is this one: a server on its loopback is the container.

// maker counts what it makes.
type maker struct {
	made atomic.Int64
	fail atomic.Bool
}

func (m *maker) Make(family, kind int, _ bool, n int) (fds []int, err error) {
	if m.fail.Load() {
		return nil, unix.EPERM
	}
	for range n {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return fds, err
		}
		fds = append(fds, fd)
		m.made.Add(1)
	}
	return fds, nil
}

func (*maker) Transparent() bool { return false }

// publish has a port lead to that of a server.
func publish(t *testing.T, protocol string, server net.Addr) (f *Ports, m *maker, at string) {
	t.Helper()
	f, m = New(netns.Config{}), &maker{}
	bound, err := f.Listen([]netns.Port{{Protocol: protocol, HostIP: netip.MustParseAddr("127.0.0.1"), Container: netip.MustParseAddrPort(server.String()).Port()}})
	if err != nil {
		t.Fatal(err)
	}
	f.Serve(m)
	t.Cleanup(f.Close)
	return f, m, bound[0].Address()
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// pair is a connection by a published port, and its end in the container.
func pair(t *testing.T, at string, l *net.TCPListener) (client, server *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	client = c.(*net.TCPConn)
	for _, c := range []*net.TCPConn{client, server} {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return client, server
}

func wait(t *testing.T, f func() bool) {
	t.Helper()
	for range 3000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it does not come true")
}

func (f *Ports) idle() bool {
	f.conns.mu.Lock()
	defer f.conns.mu.Unlock()
	f.streams.mu.Lock()
	defer f.streams.mu.Unlock()
	return f.conns.used == 0 && len(f.streams.conns) == 0
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// TestBothWays: bytes of any number come as they are, in both directions at once,
// and the end of each direction without the other's.
func TestBothWays(t *testing.T) {
	l := listen(t)
	f, _, at := publish(t, "tcp", l.Addr())
	for _, size := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 5<<20 + 3} {
		client, server := pair(t, at, l)
		want := pattern(size)
		for i, from := range []*net.TCPConn{client, server} {
			to := []*net.TCPConn{server, client}[i]
			go func() {
				_, _ = from.Write(want)
				_ = from.CloseWrite()
			}()
			got, err := io.ReadAll(to)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("of %d bytes %d came: %v", size, len(got), err)
			}
		}
		wait(t, f.idle)
	}
}

// TestPingPong: small pieces after large ones, as of a connection that is kept alive.
func TestPingPong(t *testing.T) {
	l := listen(t)
	_, _, at := publish(t, "tcp", l.Addr())
	client, server := pair(t, at, l)
	go func() { _, _ = io.Copy(server, server); server.Close() }()
	for i, size := range []int{1, 300000, 2, 1, pieceSize, 7, 1 << 20, 3} {
		want := pattern(size)
		go func() { _, _ = client.Write(want) }()
		got := make([]byte, size)
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("piece %d of %d bytes: %v", i, size, err)
		}
	}
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	if pipes.used != 0 {
		t.Errorf("idle connections have %d pipes", pipes.used)
	}
}

// TestNoPipe: without one bytes come all the same.
func TestNoPipe(t *testing.T) {
	pipes.mu.Lock()
	free := pipes.free
	pipes.free, pipes.used = nil, maxPipes
	pipes.mu.Unlock()
	defer func() {
		pipes.mu.Lock()
		pipes.free, pipes.used = free, 0
		pipes.mu.Unlock()
	}()
	TestBothWays(t)
}

// TestReset: a reset of either side is one of the other's, whether bytes wait or not.
func TestReset(t *testing.T) {
	l := listen(t)
	f, _, at := publish(t, "tcp", l.Addr())
	for _, byClient := range []bool{true, false} {
		client, server := pair(t, at, l)
		_, _ = client.Write([]byte("x"))
		_, _ = io.ReadFull(server, make([]byte, 1))
		one, other := client, server
		if !byClient {
			one, other = server, client
		}
		reset(one)
		if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("by the client %v: the other side hears %v", byClient, err)
		}
		wait(t, f.idle)
	}
}

// fill writes until nothing more is taken.
func fill(c net.Conn) (total int) {
	b := make([]byte, 64<<10)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Write(b)
		total += n
		if err != nil {
			_ = c.SetWriteDeadline(time.Time{})
			return total
		}
	}
}

// TestStalled: who sends to somebody who does not read is held up, and a reset of
// either side ends the connection all the same.
func TestStalled(t *testing.T) {
	defer func(d time.Duration) { stallCheck = d }(stallCheck)
	stallCheck = 20 * time.Millisecond
	l := listen(t)
	f, _, at := publish(t, "tcp", l.Addr())
	for _, byWriter := range []bool{true, false} {
		client, server := pair(t, at, l)
		if n := fill(client); n == 0 || n > 256<<20 { // the buffers of four sockets
			t.Errorf("%d bytes are taken that nobody reads", n)
		}
		if byWriter {
			reset(client)
		} else {
			reset(server)
		}
		wait(t, f.idle)
	}
	f.Close() // and so does the end of all
}

// TestRefused: nobody listens in the container, or no socket can be had there.
func TestRefused(t *testing.T) {
	l := listen(t)
	f, m, at := publish(t, "tcp", l.Addr())
	l.Close()
	for _, fail := range []bool{false, true} {
		m.fail.Store(fail)
		f.streams.stock.empty()
		c, err := net.Dial("tcp", at)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client hears %v", err)
		}
		wait(t, f.idle)
	}
}

// empty closes what is there, so that the next socket has to be made.
func (s *stock) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w, b := range s.rest {
		for _, fd := range b.fds {
			_ = unix.Close(fd)
		}
		delete(s.rest, w)
	}
}

// TestBounded: no more connections than there may be, and their places come back.
func TestBounded(t *testing.T) {
	l := listen(t)
	f, m, at := publish(t, "tcp", l.Addr())
	f.conns.atMost(3)
	var all []*net.TCPConn
	for range 3 {
		client, _ := pair(t, at, l)
		all = append(all, client)
	}
	c, err := net.Dial("tcp", at)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a fourth: %v", err)
	}
	for _, c := range all {
		reset(c)
	}
	wait(t, f.idle)
	if n := m.made.Load(); n > firstBatch {
		t.Errorf("%d sockets were made for 3 connections", n)
	}
	pair(t, at, l)
}

// TestClose: all connections and ports end, and no descriptor stays.
func TestClose(t *testing.T) {
	before := descriptors(t)
	l := listen(t)
	f, _, at := publish(t, "tcp", l.Addr())
	client, server := pair(t, at, l)
	idle, other := pair(t, at, l)
	if n := fill(client); n == 0 {
		t.Fatal("nothing is taken")
	}
	f.Close()
	for _, c := range []*net.TCPConn{server, idle, other} {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a side hears %v", err)
		}
	}
	wait(t, f.idle)
	if _, err := net.Dial("tcp", at); err == nil {
		t.Error("the port is taken")
	}
	for _, c := range []io.Closer{l, client, server, idle, other} {
		c.Close()
	}
	pipes.mu.Lock()
	for _, p := range pipes.free {
		_, _ = unix.Close(p.r), unix.Close(p.w)
	}
	pipes.free = nil
	pipes.mu.Unlock()
	wait(t, func() bool { return descriptors(t) <= before })
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}
