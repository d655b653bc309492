package builtin

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// The container sends and receives on one connection (B/s). Only of use beside the
// others in the same run: make bench compares the drivers.
func benchmarkTCP(b *testing.B, options string, receive bool) {
	c := startFor(b, options, nil)
	chunk := pattern(128 << 10)
	done := make(chan struct{})
	at := serveTCP(b, "192.0.2.1:0", func(s *net.TCPConn) {
		defer close(done)
		defer s.Close()
		if receive {
			for range b.N {
				_, _ = s.Write(chunk)
			}
			return
		}
		_, _ = io.Copy(io.Discard, s)
	})
	s, err := c.dial("tcp", at)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(chunk)))
	b.ResetTimer()
	if receive {
		_, _ = io.Copy(io.Discard, s)
	} else {
		for range b.N {
			_, _ = s.Write(chunk)
		}
		s.Close()
	}
	<-done
}

func BenchmarkSend(b *testing.B)         { benchmarkTCP(b, "", false) }
func BenchmarkReceive(b *testing.B)      { benchmarkTCP(b, "", true) }
func BenchmarkSendLarge(b *testing.B)    { benchmarkTCP(b, "mtu=65520", false) }
func BenchmarkReceiveLarge(b *testing.B) { benchmarkTCP(b, "mtu=65520", true) }

func BenchmarkConnect(b *testing.B) {
	c := startFor(b, "", nil)
	at := serveTCP(b, "192.0.2.1:0", func(s *net.TCPConn) { s.Close() })
	for b.Loop() {
		s, err := c.dial("tcp", at)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = s.Read(make([]byte, 1))
		s.Close()
	}
}

func BenchmarkUDPSend(b *testing.B) {
	c := startFor(b, "", nil)
	at := serveUDP(b, "192.0.2.1:0", func(*net.UDPConn, netip.AddrPort, []byte) {})
	s, err := c.dial("udp", at)
	if err != nil {
		b.Fatal(err)
	}
	chunk := pattern(1400)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		_, _ = s.Write(chunk)
	}
}

func BenchmarkSendEthernet(b *testing.B)    { benchmarkTCP(b, testMAC, false) }
func BenchmarkReceiveEthernet(b *testing.B) { benchmarkTCP(b, testMAC, true) }
