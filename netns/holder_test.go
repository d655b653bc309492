package netns

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestFindHolder(t *testing.T) {
	for _, network := range []string{"tcp", "tcp4", "udp", "udp4"} {
		p := Port{Protocol: network[:3]}
		var c interface{ Close() error }
		if p.Protocol == "tcp" {
			l, err := net.Listen(network, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c, p.Host = l, uint16(l.Addr().(*net.TCPAddr).Port)
		} else {
			u, err := net.ListenPacket(network, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c, p.Host = u, uint16(u.LocalAddr().(*net.UDPAddr).Port)
		}
		name, err := os.ReadFile("/proc/self/comm")
		if err != nil {
			t.Fatal(err)
		}
		want := Holder{os.Geteuid(), os.Getpid(), strings.TrimSpace(string(name))}
		if h, ok := FindHolder(p); !ok || h != want {
			t.Errorf("%s: %+v, %v, want %+v", network, h, ok, want)
		}
		c.Close()
	}
}

func TestFindSocket(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0000000000000000 100 0 0 10 0
   2: 00000000:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0000000000000000 100 0 0 10 0
   3: 00000000000000000000000000000000:1F93 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 7 0 14 1
   4: B80D0120000000000000000001000000:1F94 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 8 0 15 1
   5: short
   6: 0100007:1F95 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 16 1
`
	for _, c := range []struct {
		host  string
		port  uint16
		uid   int
		inode string
	}{
		{"", 8080, 1000, "11"},
		{"127.0.0.1", 8080, 1000, "11"},
		{"127.0.0.2", 8080, 0, ""},
		{"0.0.0.0", 8080, 1000, "11"},
		{"", 8081, 0, ""}, // a connection
		{"192.0.2.1", 8082, 0, "13"},
		{"192.0.2.1", 8083, 7, "14"}, // of both families
		{"2001:db8::1", 8084, 8, "15"},
		{"192.0.2.1", 8084, 0, ""},
		{"", 8085, 0, ""},
	} {
		p := Port{Protocol: "tcp", Host: c.port}
		if c.host != "" {
			p.HostIP = netip.MustParseAddr(c.host)
		}
		uid, inode, ok := findSocket(bufio.NewScanner(strings.NewReader(table)), p)
		if uid != c.uid || inode != c.inode || ok != (c.inode != "") {
			t.Errorf("%s %d: %d, %q, %v, want %d, %q", c.host, c.port, uid, inode, ok, c.uid, c.inode)
		}
	}
}
