package netns

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		words, ip string
		own       string
		mtu       int
		v6, open  bool
		err       string
	}{
		{"", "", "10.0.2.100/24", 1500, true, false, ""},
		{"mtu=65520,ipv6=false,host-loopback=true", "", "10.0.2.100/24", 65520, false, true, ""},
		{"cidr=192.168.7.0/28", "", "192.168.7.4/28", 1500, true, false, ""},
		{"cidr=172.20.0.0/16", "172.20.9.9", "172.20.9.9/16", 1500, true, false, ""},
		{"allow_host_loopback,enable_ipv6=false", "", "10.0.2.100/24", 1500, false, true, ""},
		{"mtu=0", "", "", 0, false, false, "mtu=0: must be a number from 1280 to 65520"},
		{"mtu=70000", "", "", 0, false, false, "from 1280 to 65520"},
		{"mtu=", "", "", 0, false, false, "mtu=: must be a number"},
		{"cidr=10.0.2.5/24", "", "", 0, false, false, "did you mean 10.0.2.0/24?"},
		{"cidr=10.0.2.0/30", "", "", 0, false, false, "from /8 to /29"},
		{"cidr=0.0.0.0/0", "", "", 0, false, false, "from /8 to /29"},
		{"cidr=127.0.0.0/8", "", "", 0, false, false, "no host can have such addresses"},
		{"cidr=224.0.0.0/24", "", "", 0, false, false, "no host can have such addresses"},
		{"cidr=169.254.0.0/16", "", "", 0, false, false, "no host can have such addresses"},
		{"cidr=fd00::/64", "", "", 0, false, false, "must be an IPv4 network"},
		{"ipv6=maybe", "", "", 0, false, false, "true or false"},
		{"color=red", "", "", 0, false, false, "color=red: there is no such option"},
		{"mtu=1500,mtu=9000", "", "", 0, false, false, "mtu=9000: it is given twice"},
		{"mac=02:00:5e:10:00:01", "", "10.0.2.100/24", 1500, true, false, ""},
		{"mac=01:00:5e:10:00:01", "", "", 0, false, false, "mac=01:00:5e:10:00:01: it is the address of a group"},
		{"mac=00:00:00:00:00:00", "", "", 0, false, false, "no interface can have it"},
		{"mac=02:00:5e:10:00:01:02:03", "", "", 0, false, false, "must be six bytes"},
		{"mac=", "", "", 0, false, false, "must be six bytes"},
		{"ipv6=true,enable_ipv6=false", "", "", 0, false, false, "ipv6=false: it is given twice"},
		{"", "10.0.3.1", "", 0, false, false, "not in the container's network 10.0.2.0/24"},
		{"", "10.0.2.2", "", 0, false, false, "the gateway and the name server have 10.0.2.2 and 10.0.2.3"},
		{"", "10.0.2.255", "", 0, false, false, "broadcast"},
		{"", "10.0.2.0", "", 0, false, false, "the network's own"},
		{"", "fd00::9", "", 0, false, false, "must be an IPv4 address"},
		{"", "ten", "", 0, false, false, "must be an IPv4 address"},
	} {
		got, err := ParseOptions(c.words, c.ip)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q %q: %v, want %q", c.words, c.ip, err, c.err)
			}
			continue
		}
		if err != nil || got.IPv4.String() != c.own || got.MTU != c.mtu || got.IPv6.IsValid() != c.v6 || got.HostLoopback != c.open {
			t.Errorf("%q %q: %+v, %v", c.words, c.ip, got, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for a, refused := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "0.0.0.0": true, "0.1.2.3": true, "::": true, "::1": true,
		"::ffff:127.0.0.1": true, "::ffff:0.0.0.0": true, "224.0.0.1": true, "255.255.255.255": true, "240.0.0.1": true,
		"fe80::1": true, "ff02::1": true,
		"192.0.2.1": false, "10.0.0.1": false, "169.254.169.254": false, "2001:db8::1": false, "fd00::9": false, "::ffff:192.0.2.1": false,
	} {
		if got := Refused(netip.MustParseAddr(a)) != ""; got != refused {
			t.Errorf("%s: refused %v, want %v", a, got, refused)
		}
	}
	if Refused(netip.Addr{}) == "" {
		t.Error("no address is taken")
	}
}

func TestNth(t *testing.T) {
	for _, c := range []struct {
		from string
		n    uint16
		want string
	}{{"10.0.2.0", 2, "10.0.2.2"}, {"10.0.255.255", 1, "10.1.0.0"}, {"fd00::", 0x100, "fd00::100"}, {"10.0.0.200", 100, "10.0.1.44"}} {
		if got := nth(netip.MustParseAddr(c.from), c.n); got.String() != c.want {
			t.Errorf("%s + %d: %s, want %s", c.from, c.n, got, c.want)
		}
	}
}
