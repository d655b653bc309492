package builtin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// lanOf is a network of the tests, as one of its containers sees it.
func lanOf(n int, host byte, names ...string) []netns.Lan {
	four := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(n), host}), 24)
	six := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 9, 7: byte(n), 15: host}), 64)
	return []netns.Lan{{Prefix: four.Masked(), Own: four.Addr(), Names: names}, {Prefix: six.Masked(), Own: six.Addr(), Names: names}}
}

// startPeer makes a container with an address of each family in each of the networks.
func startPeer(t *testing.T, options string, lans ...netns.Lan) (*container, *os.File) {
	t.Helper()
	var dev *os.File
	c := startFor(t, options, func(c *container) {
		for i, l := range lans {
			name := "eth0"
			if l.Own.Is4() {
				name = fmt.Sprintf("eth0:%d", i+1)
			}
			c.do(func() error { return setAddress(name, netip.PrefixFrom(l.Own, l.Prefix.Bits())) })
		}
	})
	c.n.Join(lans, c.c)
	if err := c.n.link.raw.Control(func(fd uintptr) {
		d, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Error(err)
		}
		dev = os.NewFile(uintptr(d), "peer")
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return c, dev
}

func meet(t *testing.T, c *container, mac netns.MAC, dev *os.File, lans ...netns.Lan) (part func()) {
	t.Helper()
	var addrs []netip.Addr
	for _, l := range lans {
		addrs = append(addrs, l.Own)
	}
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		part, err = c.n.Meet(Peer{addrs, lans[0].Names, mac}, os.NewFile(uintptr(fd), "peer"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return part
}

// TestPeers: two of a network reach each other by both families, and nobody else's,
// whichever kinds of devices they have.
func TestPeers(t *testing.T) {
	for _, options := range [][2]string{{"", ""}, {"", testMAC}, {testMAC, ""}, {testMAC, testMAC}} {
		testPeers(t, options)
	}
}

func testPeers(t *testing.T, options [2]string) {
	t.Helper()
	one, two, other := lanOf(1, 4, "one", "uno"), lanOf(1, 5, "two"), lanOf(2, 4, "other")
	a, devA := startPeer(t, options[0], one...)
	b, devB := startPeer(t, options[1], two...)
	c, devC := startPeer(t, "", other...)
	meet(t, a, b.c.MAC, devB, two...)
	meet(t, b, a.c.MAC, devA, one...)
	_ = devC
	for _, l := range append(two, other...) {
		at := net.JoinHostPort(l.Own.String(), "80")
		in := b
		if l.Names[0] == "other" {
			in = c
		}
		server := in.listen(at)
		go func() {
			for {
				s, err := server.Accept()
				if err != nil {
					return
				}
				from, _, _ := net.SplitHostPort(s.RemoteAddr().String())
				_, _ = io.WriteString(s, from)
				s.Close()
			}
		}()
		s, err := a.dial("tcp", at)
		if in == c {
			if err == nil {
				t.Errorf("%s in another network can be reached", at)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		said, err := io.ReadAll(s)
		want := one[0].Own
		if l.Own.Is6() {
			want = one[1].Own
		}
		if string(said) != want.String() {
			t.Errorf("%s sees %q, not %s: %v", at, said, want, err)
		}
	}
	for _, l := range two {
		if _, err := a.ping("", l.Own.String(), map[bool]byte{false: echoRequest4, true: echoRequest6}[l.Own.Is6()], pattern(20000)); err != nil {
			t.Errorf("ping %s: %v", l.Own, err)
		}
	}
}

// TestPeerNames: names have the addresses of both families, and those the first name.
func TestPeerNames(t *testing.T) {
	one, two := lanOf(1, 4, "one", "a-alias"), lanOf(1, 5, "two", "an-alias")
	a, _ := startPeer(t, "", one...)
	b, devB := startPeer(t, "", two...)
	part := meet(t, a, b.c.MAC, devB, two...)
	lookup := func(name string) string {
		r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return a.dial("udp", net.JoinHostPort(a.c.DNS4.String(), "53"))
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if addr, err := netip.ParseAddr(name); err == nil {
			names, _ := r.LookupAddr(ctx, addr.String())
			return strings.Join(names, " ")
		}
		four, _ := r.LookupNetIP(ctx, "ip4", name+".")
		six, _ := r.LookupNetIP(ctx, "ip6", name+".")
		return strings.Trim(fmt.Sprint(append(four, six...)), "[]")
	}
	for _, c := range [][2]string{
		{"two", "10.9.1.5 fd09:0:0:1::5"}, {"an-alias", "10.9.1.5 fd09:0:0:1::5"}, {"one", "10.9.1.4 fd09:0:0:1::4"},
		{"10.9.1.5", "two."}, {"fd09:0:0:1::5", "two."}, {"fd09:0:0:1::4", "one."},
	} {
		if got := lookup(c[0]); got != c[1] {
			t.Errorf("%s: %q, not %q", c[0], got, c[1])
		}
	}
	part()
	if got := lookup("two"); got != "" {
		t.Errorf("who has left is %q", got)
	}
}

// TestPeerSpoofs: what a container sends as somebody else reaches nobody.
func TestPeerSpoofs(t *testing.T) {
	one, two := lanOf(1, 4, "one"), lanOf(1, 5, "two")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	dev := os.NewFile(uintptr(fds[0]), "peer")
	t.Cleanup(func() { unix.Close(fds[1]) })
	w := startWire(t, func(n *Network) { n.Join(one, n.config) })
	if _, err := w.n.Meet(Peer{Addrs: []netip.Addr{two[0].Own, two[1].Own}}, dev); err != nil {
		t.Fatal(err)
	}
	var head heading
	packet := func(from, to netip.Addr) []byte {
		return udpHeaders(nil, netip.AddrPortFrom(from, 7), netip.AddrPortFrom(to, 7), 0)
	}
	for i, l := range two {
		for _, from := range []netip.Addr{two[i].Own.Next(), w.n.config.Address(l.Own), one[i].Own} {
			came := make([]byte, 256)
			passed := w.n.toPeer(&head, packet(from, l.Own))
			n, _ := unix.Read(fds[1], came)
			if want := from == one[i].Own; passed != want || (n > 0) != want {
				t.Errorf("from %s to %s: passed %v, %d bytes came", from, l.Own, passed, n)
			}
		}
	}
}

// TestCut: when the outside is closed, what goes on with it ends, and nothing begins.
func TestCut(t *testing.T) {
	c := start(t, "")
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) { _, _ = io.Copy(s, s); s.Close() })
	s := c.mustDial("tcp", at)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	closed := c.c
	closed.Internal = true
	c.n.Join(nil, closed)
	if _, err := s.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("it goes on: %v", err)
	}
	if s, err := c.dial("tcp", at); err == nil {
		s.Close()
		t.Error("another begins")
	}
	c.n.Join(nil, c.c)
	c.mustDial("tcp", at)
}
