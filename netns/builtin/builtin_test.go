package builtin

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/netns"
)

// pattern is n bytes that do not repeat.
func pattern(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// TestTCP sends much in both directions, over both families and with any MTU, and
// ends one direction before the other.
func TestTCP(t *testing.T) {
	const size = 8 << 20
	data := pattern(size)
	want := sha256.Sum256(data)
	for _, options := range []string{"", "mtu=65520", "mtu=1280", testMAC, testMAC + ",mtu=65520"} {
		c := start(t, options)
		for _, addr := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
			got := make(chan [32]byte, 1)
			at := serveTCP(t, addr, func(s *net.TCPConn) {
				defer s.Close()
				h := sha256.New()
				_, _ = io.Copy(h, s) // to its end: only then is answered
				got <- [32]byte(h.Sum(nil))
				_, _ = s.Write(data)
			})
			s := c.mustDial("tcp", at)
			go func() {
				_, _ = s.Write(data)
				_ = s.(*net.TCPConn).CloseWrite()
			}()
			back, err := io.ReadAll(s)
			if err != nil || sha256.Sum256(back) != want {
				t.Errorf("%s %s: %d bytes came back: %v", options, addr, len(back), err)
			}
			if sum := <-got; sum != want {
				t.Errorf("%s %s: other bytes arrived than were sent", options, addr)
			}
		}
	}
}

// TestTCPEnds: the far end refuses, resets, and goes away; so it looks from within.
func TestTCPEnds(t *testing.T) {
	c := start(t, "")
	if _, err := c.dial("tcp", "192.0.2.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) {
		_, _ = io.ReadFull(s, make([]byte, 1))
		reset(s)
	})
	s := c.mustDial("tcp", at)
	_, _ = s.Write([]byte("x"))
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset from outside: %v", err)
	}
	// And the other way round.
	heard := make(chan error, 1)
	at = serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) {
		_, err := s.Read(make([]byte, 1))
		heard <- err
	})
	s = c.mustDial("tcp", at)
	reset(s.(*net.TCPConn))
	if err := <-heard; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset from within: %v", err)
	}
}

// TestSlowReader: who does not read holds up its own connection and no other.
func TestSlowReader(t *testing.T) {
	c := start(t, "")
	release := make(chan struct{})
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) {
		defer s.Close()
		<-release
		_, _ = io.Copy(s, s)
	})
	echo := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s); s.Close() })
	data := pattern(20 << 20)
	slow := c.mustDial("tcp", at)
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = slow.Write(data)
		_ = slow.(*net.TCPConn).CloseWrite()
	}()
	for range 20 {
		s := c.mustDial("tcp", echo)
		_, _ = s.Write([]byte("hello"))
		got := make([]byte, 5)
		if _, err := io.ReadFull(s, got); err != nil || string(got) != "hello" {
			t.Fatalf("another connection: %q, %v", got, err)
		}
		s.Close()
	}
	select {
	case <-wrote:
		t.Error("20 MB are in nobody's buffers: the test shows nothing")
	default:
	}
	close(release)
	if got, err := io.ReadAll(slow); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back: %v", len(got), err)
	}
}

// TestConnectionsEnd: nothing stays of connections that have ended.
func TestConnectionsEnd(t *testing.T) {
	c := start(t, "")
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s); s.Close() })
	for i := range 200 {
		s := c.mustDial("tcp", at)
		_, _ = s.Write([]byte("x"))
		_, _ = io.ReadFull(s, make([]byte, 1))
		if i%3 == 0 {
			reset(s.(*net.TCPConn))
		} else {
			s.Close()
		}
	}
	for range 1000 {
		c.n.mu.Lock()
		open := len(c.n.conns)
		c.n.mu.Unlock()
		if open == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("connections are still there: %d", len(c.n.conns))
}

// TestLoopbackClosed: nothing leads to the host's loopback, whatever it is called;
// with host-loopback the gateway does.
func TestLoopbackClosed(t *testing.T) {
	at4 := serveTCP(t, "127.0.0.1:0", func(s *net.TCPConn) { _, _ = s.Write([]byte("in")); s.Close() })
	_, port, _ := net.SplitHostPort(at4)
	at6 := serveTCP(t, "[::1]:0", func(s *net.TCPConn) { _, _ = s.Write([]byte("in")); s.Close() })
	_, port6, _ := net.SplitHostPort(at6)
	secret := serveUDP(t, "127.0.0.1:0", func(u *net.UDPConn, from netip.AddrPort, _ []byte) { _, _ = u.WriteToUDPAddrPort([]byte("in"), from) })
	_, udpPort, _ := net.SplitHostPort(secret)
	c := start(t, "")
	for _, a := range []string{"10.0.2.2:" + port, "10.0.2.3:" + port, "[fd00::2]:" + port6, "[::ffff:10.0.2.2]:" + port} {
		if s, err := c.dial("tcp", a); err == nil {
			got, _ := io.ReadAll(s)
			t.Errorf("%s leads to %q", a, got)
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want a refusal at once", a, err)
		}
	}
	u := c.mustDial("udp", "10.0.2.2:"+udpPort)
	_, _ = u.Write([]byte("x"))
	if _, err := u.Read(make([]byte, 9)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("UDP: %v, want a refusal", err)
	}
	c = start(t, "host-loopback=true")
	for _, a := range []string{"10.0.2.2:" + port, "[fd00::2]:" + port6} {
		s := c.mustDial("tcp", a)
		if got, err := io.ReadAll(s); string(got) != "in" || err != nil {
			t.Errorf("%s with host-loopback: %q, %v", a, got, err)
		}
	}
	if _, err := c.dial("tcp", "10.0.2.3:"+port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the name server's address: %v", err)
	}
}

func TestUDP(t *testing.T) {
	c := start(t, "")
	for _, addr := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
		at := serveUDP(t, addr, func(u *net.UDPConn, from netip.AddrPort, b []byte) { _, _ = u.WriteToUDPAddrPort(b, from) })
		u := c.mustDial("udp", at)
		for _, n := range []int{1, 0, 1472, 1473, 9000, 60000} { // fragments, from 1473 on
			want := pattern(n)
			if _, err := u.Write(want); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, maxPacket)
			size, err := u.Read(got)
			if err != nil || !bytes.Equal(got[:size], want) {
				t.Errorf("%s: of %d bytes %d came back: %v", addr, n, size, err)
			}
		}
		// Nobody there: the answer is an error, not silence.
		gone, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		dead := gone.LocalAddr().String()
		gone.Close()
		u = c.mustDial("udp", dead)
		_, _ = u.Write([]byte("x"))
		if _, err := u.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a closed port: %v", err)
		}
	}
	c.n.udp.mu.Lock()
	defer c.n.udp.mu.Unlock()
	if len(c.n.udp.m) == 0 {
		t.Error("no flow is there: the test shows nothing")
	}
}

// TestFlowsAreFew: a container that talks to ever others has no more sockets of the
// host than it may.
func TestFlowsAreFew(t *testing.T) {
	c := start(t, "")
	at := serveUDP(t, "192.0.2.1:0", func(*net.UDPConn, netip.AddrPort, []byte) {})
	to := netip.MustParseAddrPort(at)
	for port := range maxFlows + 50 {
		key := flowKey{17, netip.AddrPortFrom(c.c.IPv4.Addr(), uint16(port+1)), to}
		if _, err := c.n.udp.find(key); err != nil {
			if errors.Is(err, syscall.EMFILE) && os.Getenv("CORACLE_MUST_WORK") != "1" {
				t.Skip("the limit on descriptors is lower")
			}
			t.Fatal(err)
		}
	}
	c.n.udp.mu.Lock()
	defer c.n.udp.mu.Unlock()
	if n := len(c.n.udp.m); n != maxFlows {
		t.Errorf("there are %d flows, not %d", n, maxFlows)
	}
}

func TestPing(t *testing.T) {
	c := start(t, "")
	for _, p := range []struct {
		network, to string
		request     byte
		reply       byte
	}{{"udp4", "192.0.2.1", 8, 0}, {"udp4", "10.0.2.2", 8, 0}, {"udp6", "2001:db8::1", 128, 129}, {"udp6", "fd00::2", 128, 129}} {
		got, err := c.ping(p.network, p.to, p.request, pattern(100))
		if err != nil || len(got) < echoLen || got[0] != p.reply || !bytes.Equal(got[echoLen:], pattern(100)) {
			t.Errorf("%s: %x, %v", p.to, got, err)
		}
	}
	if _, err := c.ping("udp4", "127.0.0.1", 8, nil); err != nil {
		t.Errorf("the container's own loopback: %v", err)
	}
}

func TestPublish(t *testing.T) {
	config, err := netns.ParseOptions("", "")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "192.0.2.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := netip.MustParseAddrPort(taken.Addr().String())
	other := New(config)
	_, err = other.Listen([]netns.Port{{Protocol: "tcp", HostIP: port.Addr(), Container: 80}, {Protocol: "tcp", HostIP: port.Addr(), Host: port.Port(), Container: 80}})
	var listen *netns.ListenError
	if !errors.As(err, &listen) || !strings.Contains(err.Error(), "it is taken") || len(other.ports.Bound()) != 0 {
		t.Errorf("a port that is taken: %v", err)
	}
	for _, host := range []string{"192.0.2.1", "127.0.0.1", "[2001:db8::1]", "[::1]", ""} {
		t.Run("at "+host, func(t *testing.T) { testPublish(t, host, start) })
		t.Run("inside, at "+host, func(t *testing.T) { testPublish(t, host, startInside) })
	}
}

// testPublish comes in at an address of the host's, over TCP and UDP.
func testPublish(t *testing.T, host string, start func(*testing.T, string, ...string) *container) {
	t.Helper()
	prefix := ""
	if host != "" {
		prefix = host + ":"
	}
	c := start(t, "", prefix+"18080:80", prefix+"18081:81", prefix+"15353:53/udp")
	l := c.listen(":80")
	peer := make(chan string, 1)
	go func() {
		s, err := l.Accept()
		if err != nil {
			return
		}
		ip, _, _ := net.SplitHostPort(s.RemoteAddr().String())
		peer <- ip
		_, _ = io.Copy(s, s)
		s.Close()
	}()
	via := host
	if host == "" {
		via = "192.0.2.1"
	}
	s, err := net.Dial("tcp", via+":18080")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Write([]byte("hello"))
	_ = s.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
		t.Fatalf("%q: %q came back: %v", host, got, err)
	}
	want := map[string]string{"127.0.0.1": "10.0.2.2", "[::1]": "fd00::2", "": "192.0.2.1"}[host]
	if want == "" {
		want = strings.Trim(host, "[]") // the client's own address, as this host's is
	}
	if got := <-peer; got != want {
		t.Errorf("%q: the container sees %s, not %s", host, got, want)
	}
	// Nobody listens within: the client hears it.
	s, err = net.Dial("tcp", via+":18081")
	if err == nil {
		_, err = s.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%q: nobody listens within: %v", host, err)
	}
	var u net.PacketConn
	c.do(func() (err error) {
		u, err = net.ListenPacket("udp", ":53")
		return err
	})
	defer u.Close()
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b[:n], from)
		}
	}()
	for range 2 { // two clients
		d, err := net.Dial("udp", via+":15353")
		if err != nil {
			t.Fatal(err)
		}
		_ = d.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = d.Write([]byte("hello"))
		b := make([]byte, 9)
		if n, err := d.Read(b); err != nil || string(b[:n]) != "hello" {
			t.Errorf("%q: UDP: %q, %v", host, b[:n], err)
		}
		d.Close()
	}
}

// TestDNS asks the network's own server, which asks the host's.
func TestDNS(t *testing.T) {
	c := start(t, "")
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04host\x0acontainers\x08internal\x00\x00\x01\x00\x01")
	for _, at := range []string{"10.0.2.3:53", "[fd00::3]:53"} {
		u := c.mustDial("udp", at)
		_, _ = u.Write(query)
		b := make([]byte, 512)
		n, err := u.Read(b)
		if err != nil || !bytes.HasSuffix(b[:n], []byte{10, 0, 2, 2}) {
			t.Errorf("%s over UDP: %x, %v", at, b[:n], err)
		}
		s := c.mustDial("tcp", at)
		for range 2 { // on one connection
			if err := netns.WriteMessage(s, query); err != nil {
				t.Fatal(err)
			}
			if msg, err := netns.ReadMessage(s); err != nil || !bytes.HasSuffix(msg, []byte{10, 0, 2, 2}) {
				t.Errorf("%s over TCP: %x, %v", at, msg, err)
			}
		}
	}
}

// TestClose: the container's interface goes with its network, and its connections
// are reset.
func TestClose(t *testing.T) {
	config, err := netns.ParseOptions("", "")
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, "") // for its thread
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s); s.Close() })
	config.Interface = "eth1"
	n := New(config)
	var dev *os.File
	c.do(func() (err error) {
		if err := linkDown(c.c.Interface); err != nil { // else the routes are there already
			return err
		}
		dev, err = openTUN(config)
		return err
	})
	if err := n.Attach(dev); err != nil {
		t.Fatal(err)
	}
	s := c.mustDial("tcp", at)
	_, _ = s.Write([]byte("x"))
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	c.do(func() error {
		if _, err := net.InterfaceByName("eth1"); err == nil {
			return errors.New("eth1 is still there")
		}
		return nil
	})
	if _, err := c.dial("tcp", at); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("a connection after the end: %v", err)
	}
}
