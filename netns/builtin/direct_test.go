package builtin

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDirect finds a connection by what its packets have, while it lasts, and looks
// whether its bytes went the short way.
func TestDirect(t *testing.T) {
	c := start(t, "")
	for _, addr := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
		at := serveTCP(t, addr, func(s *net.TCPConn) {
			_, _ = io.Copy(s, s)
			s.Close()
		})
		s := c.mustDial("tcp", at).(*net.TCPConn)
		echo := func() {
			t.Helper()
			if _, err := s.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
		}
		echo() // from now on the connection's goroutine waits
		key := flowKey{unix.IPPROTO_TCP, s.LocalAddr().(*net.TCPAddr).AddrPort(), netip.MustParseAddrPort(at)}
		found := c.n.connection(key)
		if found == nil {
			t.Fatalf("%v is not found", key)
		}
		before := c.n.link.direct.passed.Load()
		for range 100 {
			echo()
		}
		if c.n.link.direct.passed.Load() == before {
			t.Error("nothing went the short way")
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		wait(t, func() bool { return c.n.connection(key) == nil })
	}
}

func TestSegment(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.0.2.100:40000"), netip.MustParseAddrPort("192.0.2.1:80")
	from6, to6 := netip.MustParseAddrPort("[fd00::100]:40000"), netip.MustParseAddrPort("[2001:db8::1]:80")
	packet := func(from, to netip.AddrPort, n int) []byte {
		b := ipHeader(nil, unix.IPPROTO_TCP, from.Addr(), to.Addr(), 20)
		b = append(b, byte(from.Port()>>8), byte(from.Port()), byte(to.Port()>>8), byte(to.Port()))
		return append(b, make([]byte, n)...)
	}
	with := func(b []byte, at int, v byte) []byte {
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		b  []byte
		ok bool
	}{
		"IPv4":             {packet(from, to, 16), true},
		"IPv6":             {packet(from6, to6, 16), true},
		"short":            {packet(from, to, 15), false},
		"IPv6, short":      {packet(from6, to6, 15), false},
		"nothing":          {nil, false},
		"options":          {with(packet(from, to, 20), 0, 0x46), false},
		"a fragment":       {with(packet(from, to, 16), 7, 1), false},
		"more fragments":   {with(packet(from, to, 16), 6, 0x20), false},
		"UDP":              {with(packet(from, to, 16), 9, unix.IPPROTO_UDP), false},
		"IPv6, extensions": {with(packet(from6, to6, 16), 6, 0), false},
	} {
		key, ok := segment(c.b)
		if ok != c.ok {
			t.Errorf("%s: %v", name, ok)
		}
		want := flowKey{unix.IPPROTO_TCP, from, to}
		if len(c.b) > 0 && c.b[0]>>4 == 6 {
			want = flowKey{unix.IPPROTO_TCP, from6, to6}
		}
		if ok && key != want {
			t.Errorf("%s: %v", name, key)
		}
	}
}
