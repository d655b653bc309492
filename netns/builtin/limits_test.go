package builtin

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func TestLimitsFor(t *testing.T) {
	for _, c := range []struct {
		files uint64
		want  limits
	}{
		{0, limits{64, 40, 20, 8}},
		{256, limits{256, 160, 80, 32}},
		{1024, limits{1024, 640, 320, 128}},
		{20000, limits{20000, 13976, 1024, 1024}},
		{1 << 63, limits{1 << 20, maxConns, maxPending, maxFlows}},
	} {
		got := limitsFor(c.files)
		if got != c.want {
			t.Errorf("%d files: %+v, want %+v", c.files, got, c.want)
		}
		if uint64(got.conns+got.flows) > got.files*3/4 {
			t.Errorf("%d files: nothing is left for the rest: %+v", c.files, got)
		}
	}
	total := 0
	for i := range maxConns {
		size := bufferSize(i)
		if size == 0 {
			size = 1 << 20
		}
		total += size
	}
	if total > 1<<30 {
		t.Errorf("the buffers of one direction can take %d MiB", total>>20)
	}
}

// TestManyFlows has 10,000 connections open at once: each takes one descriptor and a
// bounded piece of memory, and when they end nothing stays.
func TestManyFlows(t *testing.T) {
	const flows, together = 10000, 64
	w := startWire(t, func(*Network) {})
	if w.n.limits.conns < flows {
		if os.Getenv("CORACLE_MUST_WORK") != "" {
			t.Fatalf("the limit on open files is %d", w.n.limits.files)
		}
		t.Skip("the limit on open files is lower")
	}
	// Nobody accepts: the kernel has them all, in the queues of as many listeners as it takes.
	var servers []netip.AddrPort
	for range flows/4000 + 1 {
		l, err := net.Listen("tcp", "192.0.2.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		servers = append(servers, netip.MustParseAddrPort(l.Addr().String()))
	}
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	target := func(port uint16) netip.AddrPort { return servers[int(port)%len(servers)] }
	next, open := uint16(1), 0
	for ; next <= together; next++ {
		w.send(next, target(next), header.TCPFlagSyn, 1000, 0)
	}
	for open < flows {
		h, from := w.receive()
		if h.Flags()&header.TCPFlagRst != 0 {
			t.Fatalf("port %d is refused; %d are open", h.DestinationPort(), open)
		}
		if h.Flags() != header.TCPFlagSyn|header.TCPFlagAck {
			continue
		}
		w.send(h.DestinationPort(), from, header.TCPFlagAck, 1001, h.SequenceNumber()+1)
		if open++; next <= flows {
			w.send(next, target(next), header.TCPFlagSyn, 1000, 0)
			next++
		}
	}
	wait(t, func() bool { w.n.mu.Lock(); defer w.n.mu.Unlock(); return len(w.n.conns) == flows })
	each := (memory() - before) / flows
	t.Logf("%d bytes for each flow", each)
	if each > 64<<10 {
		t.Errorf("an idle flow takes %d bytes", each)
	}
	for port := range uint16(flows) {
		w.send(port+1, target(port+1), header.TCPFlagRst, 1001, 0)
	}
	wait(t, func() bool {
		w.n.mu.Lock()
		defer w.n.mu.Unlock()
		w.n.places.mu.Lock()
		defer w.n.places.mu.Unlock()
		return len(w.n.conns) == 0 && w.n.places.used == 0 && w.n.places.buffer == 0
	})
}

// connecting counts the host's sockets that wait for an answer.
func connecting(t *testing.T) (n int) {
	t.Helper()
	// Not self: the first thread may be in a container.
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == "02" {
			n++
		}
	}
	return n
}

// TestFloodOfSYNs: a container that connects to where nobody answers has a bounded
// number of the host's sockets, and its other connections are made all the same.
func TestFloodOfSYNs(t *testing.T) {
	blackHole(t)
	w := startWire(t, func(n *Network) { n.limits.pending = 50 })
	at := netip.MustParseAddrPort(serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s) }))
	for i := range 20 {
		for j := range 50 {
			port := uint16(10000 + i*50 + j)
			w.send(port, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i), byte(j + 2)}), 80), header.TCPFlagSyn, 1, 0)
		}
		w.send(uint16(100+i), at, header.TCPFlagSyn, 1, 0)
		for tries := 0; ; {
			h, from, ok := w.hear(100 * time.Millisecond)
			if !ok { // as a kernel does, but sooner
				if tries++; tries > 100 {
					t.Fatal("beside the flood no connection is made")
				}
				w.send(uint16(100+i), at, header.TCPFlagSyn, 1, 0)
				continue
			}
			if from == at && h.DestinationPort() == uint16(100+i) {
				if h.Flags() != header.TCPFlagSyn|header.TCPFlagAck {
					t.Fatalf("beside the flood a connection gets flags %s", h.Flags())
				}
				break
			}
			if h.Flags()&header.TCPFlagRst != 0 {
				t.Fatalf("an attempt that makes room is refused, and not tried again")
			}
		}
	}
	var pending, sockets int
	wait(t, func() bool {
		w.n.places.mu.Lock()
		pending = w.n.places.pending.Len()
		w.n.places.mu.Unlock()
		sockets = connecting(t)
		return sockets > 0 && sockets == pending && pending <= 50
	})
	t.Logf("%d wait, by %d sockets", pending, sockets)
}

// TestFull: one connection more than there may be is refused, which is said once; when
// another has ended there is a place.
func TestFull(t *testing.T) {
	told := make(chan string, 10)
	w := startWire(t, func(n *Network) {
		n.limits.conns = 3
		n.Tell(func(msg, _ string) { told <- msg })
	})
	at := netip.MustParseAddrPort(serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s) }))
	seq := uint32(1)
	open := func(port uint16) header.TCPFlags {
		w.send(port, at, header.TCPFlagSyn, seq, 0)
		h, _ := w.receive()
		if h.Flags()&header.TCPFlagSyn != 0 {
			w.send(port, at, header.TCPFlagAck, seq+1, h.SequenceNumber()+1)
		}
		return h.Flags()
	}
	for i := range uint16(6) {
		if got, refused := open(100+i), i >= 3; (got&header.TCPFlagRst != 0) != refused {
			t.Errorf("connection %d gets flags %s", i+1, got)
		}
	}
	if msg := <-told; !strings.Contains(msg, "3 connections") || !strings.Contains(msg, fmt.Sprint(w.n.limits.files)) || len(told) > 0 {
		t.Errorf("said: %q, and %d more", msg, len(told))
	}
	w.send(100, at, header.TCPFlagRst, seq+1, 0)
	wait(t, func() bool { w.n.places.mu.Lock(); defer w.n.places.mu.Unlock(); return w.n.places.used == 2 })
	if got := open(200); got&header.TCPFlagSyn == 0 {
		t.Errorf("there is a place, and flags %s", got)
	}
}

// TestNoDescriptors: when the process has no descriptors left a connection is refused,
// and the reason is said.
func TestNoDescriptors(t *testing.T) {
	told := make(chan [2]string, 1)
	w := startWire(t, func(n *Network) { n.Tell(func(msg, hint string) { told <- [2]string{msg, hint} }) })
	at := netip.MustParseAddrPort(serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s) }))
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: had.Max}); err != nil {
		t.Fatal(err)
	}
	w.send(100, at, header.TCPFlagSyn, 1, 0)
	h, _ := w.receive()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	if h.Flags()&header.TCPFlagRst == 0 {
		t.Errorf("flags %s", h.Flags())
	}
	if said := <-told; !strings.Contains(said[0], "open files") || !strings.Contains(said[1], "ulimit -n") {
		t.Errorf("said: %q", said)
	}
	w.send(101, at, header.TCPFlagSyn, 1, 0)
	if h, _ = w.receive(); h.Flags()&header.TCPFlagSyn == 0 {
		t.Errorf("afterwards: flags %s", h.Flags())
	}
}
