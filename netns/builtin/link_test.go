package builtin

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// blackHole is a network that nobody answers in, 198.18.0.0/15; what is sent there can
// be read.
func blackHole(t *testing.T) (fd int) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	flags := binary.NativeEndian.AppendUint16(nil, unix.IFF_TUN|unix.IFF_NO_PI)
	if err := ioctl(fd, unix.TUNSETIFF, ifreq("hole", flags...)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(setAddress("hole", netip.MustParsePrefix("198.18.0.1/15")), linkUp("hole", 0)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// sent is the source of the next packet of this protocol in the hole; again is done
// whenever there is none: an attempt may be lost, and tell that the old socket is of no
// use. Other packets are the kernel's own.
func sent(t *testing.T, hole int, proto byte, again func()) netip.Addr {
	t.Helper()
	var b [maxPacket]byte
	for range 1000 {
		n, err := unix.Read(hole, b[:])
		if err == nil && n >= ipv4Len && b[0]>>4 == 4 && b[9] == proto {
			return netip.AddrFrom4([4]byte(b[12:16]))
		}
		if err != nil {
			again()
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Fatal("nothing is sent")
	return netip.Addr{}
}

// TestLinkHeals: the host's link gets another address, goes down and comes up again,
// under connections and flows that the container has.
func TestLinkHeals(t *testing.T) {
	hole := blackHole(t)
	c := start(t, "")
	u := c.mustDial("udp", "198.18.0.9:7")
	send := func() { _, _ = u.Write([]byte("x")) } // an error is one of an earlier datagram
	first, second := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.19.0.7")
	if from := sent(t, hole, unix.IPPROTO_UDP, send); from != first {
		t.Fatalf("sent from %s", from)
	}
	if err := setAddress("hole", netip.PrefixFrom(second, 15)); err != nil {
		t.Fatal(err)
	}
	// What was sent before may still be there to be read.
	from := first
	for try := 0; from == first && try < 50; try++ {
		from = sent(t, hole, unix.IPPROTO_UDP, send)
	}
	if from != second {
		t.Errorf("with another address it is sent from %s", from)
	}
	if err := linkDown("hole"); err != nil {
		t.Fatal(err)
	}
	send()
	if _, err := c.dial("tcp", "198.18.0.9:7"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection without the link: %v", err)
	}
	if err := linkUp("hole", 0); err != nil {
		t.Fatal(err)
	}
	if from := sent(t, hole, unix.IPPROTO_UDP, send); from != second {
		t.Errorf("up again: sent from %s", from)
	}
}
