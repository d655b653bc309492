package builtin

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"coracle/netns/forward"

	"golang.org/x/sys/unix"
)

// startInside makes a container whose published ports lead to sockets of its own network.
func startInside(t *testing.T, options string, ports ...string) *container {
	t.Helper()
	return startFor(t, options, inside, ports...)
}

func inside(c *container) {
	s := forward.NewStreams()
	s.Use(&maker{c: c})
	c.n.Inside(s)
}

// maker is a forward.Maker whose thread is in the container.
type maker struct {
	c       *container
	once    sync.Once
	visible bool
}

const testMark = 0x77

func (m *maker) in(f func() error) error {
	done := make(chan error, 1)
	m.c.run <- func() { done <- f() }
	return <-done
}

func (m *maker) Make(family, kind int, transparent bool, n int) (fds []int, err error) {
	level, name := unix.SOL_IP, unix.IP_TRANSPARENT
	if family == unix.AF_INET6 {
		level, name = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	err = m.in(func() error {
		for range n {
			fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
			if transparent {
				if err := errors.Join(unix.SetsockoptInt(fd, level, name, 1), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, testMark)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return fds, err
}

// Transparent does what userns.Place does.
func (m *maker) Transparent() bool {
	m.once.Do(func() { m.visible = m.in(prepareTransparent) == nil })
	return m.visible
}

func prepareTransparent() error {
	var err error
	for _, name := range []string{"ipv4/tcp_fwmark_accept", "ipv4/fwmark_reflect", "ipv6/fwmark_reflect"} {
		err = errors.Join(err, os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0))
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		route := []byte{family, 0, 0, 0, unix.RT_TABLE_UNSPEC, unix.RTPROT_STATIC, unix.RT_SCOPE_HOST, unix.RTN_LOCAL, 0, 0, 0, 0}
		route = attribute(route, unix.RTA_TABLE, binary.NativeEndian.AppendUint32(nil, testMark))
		route = attribute(route, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, 1))
		rule := []byte{family, 0, 0, 0, unix.RT_TABLE_UNSPEC, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0}
		for kind, value := range map[uint16]uint32{unix.FRA_FWMARK: testMark, unix.FRA_TABLE: testMark, unix.FRA_PRIORITY: 100} {
			rule = attribute(rule, kind, binary.NativeEndian.AppendUint32(nil, value))
		}
		err = errors.Join(err, netlink(unix.RTM_NEWROUTE, route), netlink(unix.RTM_NEWRULE, rule))
	}
	return err
}

// TestInsideBounds: what comes by published ports and goes on inside counts twice,
// as each has two descriptors; none of it is in the stack, and all places come back.
func TestInsideBounds(t *testing.T) {
	c := startInside(t, "", "192.0.2.1:18100:80")
	l := c.listen(":80")
	c.n.places.mu.Lock()
	c.n.limits = limits{files: 16, conns: 8} // 12 for connections
	c.n.places.mu.Unlock()
	var open []net.Conn
	echo := func() error {
		s, err := net.Dial("tcp", "192.0.2.1:18100")
		if err != nil {
			return err
		}
		open = append(open, s)
		_, err = s.Write([]byte("x"))
		if err == nil {
			_, err = io.ReadFull(s, make([]byte, 1))
		}
		return err
	}
	go func() {
		for {
			s, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(s, s); s.Close() }()
		}
	}()
	for range 6 {
		if err := echo(); err != nil {
			t.Fatal(err)
		}
	}
	if err := echo(); err == nil {
		t.Error("a seventh connection has descriptors that are for others")
	}
	c.n.places.mu.Lock()
	if c.n.places.used != 0 || c.n.places.inside != 6 {
		t.Errorf("%d in the stack, %d inside", c.n.places.used, c.n.places.inside)
	}
	c.n.places.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	wait(t, func() bool { c.n.places.mu.Lock(); defer c.n.places.mu.Unlock(); return c.n.places.inside == 0 })
}

// tapped hears of packets.
type tapped chan struct{}

func (t tapped) Packet(...[]byte) {
	select {
	case t <- struct{}{}:
	default:
	}
}

// TestTapHearsClients: with a tap what comes by a published port is in the packets.
func TestTapHearsClients(t *testing.T) {
	heard := make(tapped, 1)
	port := netip.MustParseAddrPort("192.0.2.1:18101")
	c := startFor(t, "", func(c *container) {
		c.n.Tap(heard)
		inside(c)
	}, port.String()+":80")
	c.listen(":80")
	client, err := net.Dial("tcp", port.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wait(t, func() bool { c.n.mu.Lock(); defer c.n.mu.Unlock(); return len(c.n.conns) == 1 })
}
