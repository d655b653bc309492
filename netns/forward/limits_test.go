package forward

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// TestBatches: the more sockets are taken the more are made at once, up to a bound.
func TestBatches(t *testing.T) {
	m := &maker{}
	s := stock{maker: m}
	var before int64
	var sizes []int64
	for range 400 {
		fd, err := s.take(unix.AF_INET, unix.SOCK_STREAM, false)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		if n := m.made.Load(); n != before {
			sizes = append(sizes, n-before)
			before = n
		}
	}
	if sizes[0] != firstBatch || sizes[len(sizes)-1] != mostBatch {
		t.Errorf("they are made by %v", sizes)
	}
	s.close()
	if _, err := s.take(unix.AF_INET, unix.SOCK_STREAM, false); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func (p *places) atMost(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = n
}

func TestLimitsFor(t *testing.T) {
	for _, c := range []struct {
		files           uint64
		conns, sessions int
	}{
		{0, 20, 8},
		{1024, 320, 128},
		{1 << 63, maxConns, maxSessions},
	} {
		conns, sessions := limitsFor(c.files)
		if conns != c.conns || sessions != c.sessions {
			t.Errorf("%d files: %d and %d", c.files, conns, sessions)
		}
	}
}

// TestDatagrams: each client has its answers, of as many as there may be.
func TestDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		b := make([]byte, maxDatagram)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:n], from)
		}
	}()
	f, _, at := publish(t, "udp", server.LocalAddr())
	f.sessions.atMost(2)
	for i, answered := range []bool{true, true, false} {
		c, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, size := range []int{0, 1, 60000} {
			want := pattern(size)
			if _, err := c.Write(want); err != nil {
				t.Fatal(err)
			}
			if !answered {
				continue
			}
			got := make([]byte, maxDatagram)
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("client %d: of %d bytes %d came: %v", i, size, n, err)
			}
		}
	}
	f.sessions.mu.Lock()
	if f.sessions.used != 2 {
		t.Errorf("there are %d sessions", f.sessions.used)
	}
	f.sessions.mu.Unlock()
	f.Close()
	wait(t, func() bool { f.sessions.mu.Lock(); defer f.sessions.mu.Unlock(); return f.sessions.used == 0 })
}

// TestTally: all bytes are told of in the end, of both directions.
func TestTally(t *testing.T) {
	l := listen(t)
	f := New(netns.Config{})
	bound, err := f.Listen([]netns.Port{{Protocol: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), Container: netip.MustParseAddrPort(l.Addr().String()).Port()}})
	if err != nil {
		t.Fatal(err)
	}
	var in, out atomic.Uint64
	f.Tell(func(i, o uint64) { in.Store(i); out.Store(o) })
	f.Serve(&maker{})
	defer f.Close()
	client, server := pair(t, bound[0].Address(), l)
	_, _ = client.Write(pattern(300000))
	_, _ = io.ReadFull(server, make([]byte, 300000))
	_, _ = server.Write([]byte("answer"))
	_, _ = io.ReadFull(client, make([]byte, 6))
	wait(t, func() bool { return in.Load() == 300000 && out.Load() == 6 })
	_, _ = client.Write([]byte("more"))
	_, _ = io.ReadFull(server, make([]byte, 4))
	wait(t, func() bool { return in.Load() == 300004 })
}
