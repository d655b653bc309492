package builtin

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// sizes are of datagrams that go together, and of some that cannot.
var sizes = []int{1400, 1400, 1400, 700, 1400, 1400, 9000, 9000, 0, 1, 1, 2, 5000, 5000, 5000, 1400, 1400}

// TestBursts: datagrams that come at once arrive as they were, in both directions,
// where the kernel cuts them apart and where it does not.
func TestBursts(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
		for _, how := range []struct {
			options string
			apart   bool
		}{{"", false}, {testMAC, false}, {"", true}} {
			apart := how.apart
			c := start(t, how.options)
			got := make(chan []byte, 100)
			at := serveUDP(t, addr, func(u *net.UDPConn, from netip.AddrPort, b []byte) {
				got <- b
				if string(b) == "all" {
					for i, n := range sizes {
						_, _ = u.WriteToUDPAddrPort(datagramOf(i, n), from)
					}
				}
			})
			s := c.mustDial("udp", at)
			if _, err := s.Write([]byte("first")); err != nil {
				t.Fatal(err)
			}
			<-got
			if apart {
				sendApart(t, c, s)
				c.n.link.uncut.Store(true)
			}
			for i, n := range sizes {
				if _, err := s.Write(datagramOf(i, n)); err != nil {
					t.Fatal(err)
				}
			}
			for i, n := range sizes {
				if b := <-got; !bytes.Equal(b, datagramOf(i, n)) {
					t.Fatalf("%s, apart %v: datagram %d of %d bytes came with %d", addr, apart, i, n, len(b))
				}
			}
			if _, err := s.Write([]byte("all")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, maxPacket)
			for i, n := range sizes {
				m, err := s.Read(buf)
				if err != nil || !bytes.Equal(buf[:m], datagramOf(i, n)) {
					t.Fatalf("%s, apart %v: datagram %d of %d bytes came back with %d, %v", addr, apart, i, n, m, err)
				}
			}
			if c.n.link.uncut.Load() && !apart && os.Getenv("CORACLE_MUST_WORK") != "" {
				t.Error("this kernel cuts no datagrams apart for the container")
			}
		}
	}
}

// sendApart has the host's socket refuse datagrams that are to be cut.
func sendApart(t *testing.T, c *container, s net.Conn) {
	t.Helper()
	f := c.n.udp.known(flowKey{unix.IPPROTO_UDP, s.LocalAddr().(*net.UDPAddr).AddrPort(), s.RemoteAddr().(*net.UDPAddr).AddrPort()})
	if f == nil {
		t.Fatal("there is no flow")
	}
	if err := f.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func datagramOf(i, n int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, n) }

// TestFlush: a burst arrives, whether it can be sent together or not.
func TestFlush(t *testing.T) {
	for _, apart := range []bool{false, true} {
		c := start(t, "")
		got := make(chan []byte, 100)
		at := serveUDP(t, "192.0.2.1:0", func(_ *net.UDPConn, _ netip.AddrPort, b []byte) { got <- b })
		s := c.mustDial("udp", at)
		if _, err := s.Write([]byte("first")); err != nil {
			t.Fatal(err)
		}
		<-got
		if apart {
			sendApart(t, c, s)
		}
		f := c.n.udp.known(flowKey{unix.IPPROTO_UDP, s.LocalAddr().(*net.UDPAddr).AddrPort(), s.RemoteAddr().(*net.UDPAddr).AddrPort()})
		o := burst{n: c.n}
		for _, b := range []string{"abc", "def", "gh"} {
			o.add(f, []byte(b))
		}
		if len(got) > 0 || string(o.all) != "abcdefgh" {
			t.Errorf("%q waits", o.all)
		}
		o.flush()
		for _, want := range []string{"abc", "def", "gh"} {
			if b := <-got; string(b) != want {
				t.Errorf("%q arrived, want %q", b, want)
			}
		}
		if f.single != apart {
			t.Errorf("sent one by one: %v, want %v", f.single, apart)
		}
	}
}

func TestGathering(t *testing.T) {
	for _, c := range []struct {
		name   string
		single bool
		in     []int
		want   [][2]int // what is passed at once, and the size of each
	}{
		{"one size", false, []int{9, 9, 9}, [][2]int{{27, 9}}},
		{"a shorter one is the last", false, []int{9, 9, 4, 9}, [][2]int{{22, 9}, {9, 9}}},
		{"a larger one", false, []int{4, 9, 9}, [][2]int{{4, 4}, {18, 9}}},
		{"an empty one", false, []int{9, 0, 9}, [][2]int{{9, 9}, {0, 0}, {9, 9}}},
		{"an empty one first", false, []int{0, 9}, [][2]int{{0, 0}, {9, 9}}},
		{"each by itself", true, []int{9, 9}, [][2]int{{9, 9}, {9, 9}}},
		{"as much as a packet holds", false, []int{30000, 30000, 30000}, [][2]int{{60000, 30000}, {30000, 30000}}},
		{"as many as the kernel cuts", false, slices.Repeat([]int{1}, 100), [][2]int{{63, 1}, {37, 1}}},
		{"the largest", false, []int{65507, 65507}, [][2]int{{65507, 65507}, {65507, 65507}}},
	} {
		var got [][2]int
		g := gathering{single: c.single, room: new(inRoom), pass: func(all []byte, size int) { got = append(got, [2]int{len(all), size}) }}
		for _, n := range c.in {
			if len(g.next()) < maxPacket {
				t.Errorf("%s: there is no room for one more", c.name)
			}
			g.add(n)
		}
		g.flush()
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: passed %v, want %v", c.name, got, c.want)
		}
	}
}
