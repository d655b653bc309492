package builtin

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"testing"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// testMAC has a container begin with a TAP device.
const testMAC = "mac=02:00:5e:10:00:01"

// TestHeading: a packet has Ethernet's header before it, and the offsets count from there.
func TestHeading(t *testing.T) {
	var head heading
	head[0] = needsCsum
	putHost(head[2:], 54)
	putHost(head[6:], 20)
	putHost(head[8:], 16)
	plain := head
	frame(&head, netns.MAC{}, false)
	if head != plain || headingLen(netns.MAC{}) != vnetHeader {
		t.Errorf("without an address: %x", head)
	}
	frame(&head, netns.MAC{2, 0, 0, 0, 0, 9}, true)
	want := heading{0: needsCsum, 8: 16, 10: 2, 15: 9, 16: 2, 17: 'c', 18: 'o', 19: 'r', 20: 'a', 21: 'c', 22: 0x86, 23: 0xdd}
	putHost(want[2:], 68)
	putHost(want[6:], 34)
	if head != want || headingLen(netns.MAC{2}) != len(head) {
		t.Errorf("%x, not %x", head, want)
	}
	shift(&head, -etherLen)
	if [vnetHeader]byte(head[:vnetHeader]) != [vnetHeader]byte(plain[:vnetHeader]) {
		t.Errorf("and back: %x", head)
	}
	shift(&want, 0)
	var none heading
	if shift(&none, etherLen); none != (heading{}) {
		t.Errorf("a packet without offloads gets offsets: %x", none)
	}
}

// TestHardwareAddress: the interface has the address that was asked for.
func TestHardwareAddress(t *testing.T) {
	c := start(t, testMAC)
	c.do(func() error {
		i, err := net.InterfaceByName(c.c.Interface)
		if err == nil && "mac="+i.HardwareAddr.String() != testMAC {
			t.Errorf("it has %s", i.HardwareAddr)
		}
		return err
	})
}

// TestEthernet: with an Ethernet header all works as without.
func TestEthernet(t *testing.T) {
	everywhere = testMAC
	defer func() { everywhere = "" }()
	t.Run("UDP", TestUDP)
	t.Run("ping", TestPing)
	t.Run("publish", TestPublish)
	t.Run("names", TestDNS)
	t.Run("loopback", TestLoopbackClosed)
}

// TestUnframed: what comes from a TAP device goes to others without its Ethernet header,
// and with offsets that count from IP's; what is written has both again.
func TestUnframed(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	mac := netns.MAC{2, 0, 0, 0, 0, 9}
	l, err := newLink(os.NewFile(uintptr(fds[0]), "tap"), netns.Config{MAC: mac, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan []byte, 1)
	l.toPeer = func(head *heading, b []byte) bool {
		came <- append(append([]byte(nil), head[:vnetHeader]...), b...)
		return true
	}
	go l.serve()
	defer l.stop()
	a, b := netip.MustParseAddrPort("[fd09::4]:7"), netip.MustParseAddrPort("[fd09::5]:9")
	packet := append(udpHeaders(nil, a, b, 2), "hi"...)
	head := heading{0: needsCsum}
	putHost(head[6:], ipv6Len)
	putHost(head[8:], 6)
	framed := head
	frame(&framed, mac, true)
	if _, err := unix.Write(fds[1], append(framed[:], packet...)); err != nil {
		t.Fatal(err)
	}
	if got, want := <-came, append(head[:vnetHeader:vnetHeader], packet...); !bytes.Equal(got, want) {
		t.Errorf("%x, not %x", got, want)
	}
	l.inject(packet[:ipv6Len+udpLen], ipv6Len, 6, packet[ipv6Len+udpLen:])
	got := make([]byte, 256)
	n, err := unix.Read(fds[1], got)
	if want := append(framed[:], packet...); err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("%x, not %x: %v", got[:n], want, err)
	}
}
