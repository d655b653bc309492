package builtin

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// wire is a container of packets only: the other end of the link, without a kernel.
type wire struct {
	t  *testing.T
	n  *Network
	fd int

	packet [maxPacket]byte
}

func startWire(t *testing.T, prepare func(*Network)) *wire {
	t.Helper()
	config, err := netns.ParseOptions("", "")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[1], false); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, n: New(config), fd: fds[1]}
	prepare(w.n)
	if err := w.n.Attach(os.NewFile(uintptr(fds[0]), "wire")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.n.Close(); unix.Close(w.fd) })
	return w
}

// send sends a packet without data.
func (w *wire) send(from uint16, to netip.AddrPort, flags header.TCPFlags, seq, ack uint32) {
	w.t.Helper()
	b := make([]byte, vnetHeader, vnetHeader+ipv4Len+header.TCPMinimumSize)
	b = ipHeader(b, unix.IPPROTO_TCP, w.n.config.IPv4.Addr(), to.Addr(), header.TCPMinimumSize)
	h := make(header.TCP, header.TCPMinimumSize)
	h.Encode(&header.TCPFields{SrcPort: from, DstPort: to.Port(), SeqNum: seq, AckNum: ack, DataOffset: header.TCPMinimumSize, Flags: flags, WindowSize: 65535})
	if _, err := unix.Write(w.fd, append(b, h...)); err != nil {
		w.t.Fatal(err)
	}
}

// receive gives the next packet's header, and its source.
func (w *wire) receive() (header.TCP, netip.AddrPort) {
	w.t.Helper()
	h, from, ok := w.hear(30 * time.Second)
	if !ok {
		w.t.Fatal("no packet came")
	}
	return h, from
}

// hear waits for a packet no longer than that.
func (w *wire) hear(limit time.Duration) (header.TCP, netip.AddrPort, bool) {
	w.t.Helper()
	for end := time.Now().Add(limit); ; {
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, int(max(0, time.Until(end).Milliseconds()))); n <= 0 {
			if time.Now().After(end) {
				return nil, netip.AddrPort{}, false
			}
			continue
		}
		n, err := unix.Read(w.fd, w.packet[:])
		if err != nil {
			w.t.Fatal(err)
		}
		p := bytes.Clone(w.packet[vnetHeader:n])
		if len(p) >= ipv4Len+header.TCPMinimumSize && p[0]>>4 == 4 && p[9] == unix.IPPROTO_TCP {
			h := header.TCP(p[ipv4Len:])
			return h, netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[12:16])), h.SourcePort()), true
		}
	}
}

// wait waits for a condition.
func wait(t *testing.T, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it has not come to that")
}
