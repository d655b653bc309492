package netns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRoutes(t *testing.T) {
	four := parseRoutes4("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"tun0\t00000080\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n" +
		"tun0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n" +
		"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nbroken\n")
	if got := fmt.Sprint(four); got != "[10.0.0.0/8 on tun0 192.0.2.0/24 on eth0]" {
		t.Errorf("IPv4: %s", got)
	}
	zero := "00000000000000000000000000000000"
	rest := " " + zero + " 00 " + zero + " 00000100 00000001 00000000 00000001 "
	six := parseRoutes6("fd000000000000000000000000000000 40" + rest + "eth0\n" + zero + " 00" + rest + "eth0\n" +
		"00000000000000000000000000000001 80" + rest + "lo\n" + "fd000000000000000000000000000002 80" + rest + "eth0\n" +
		"ff000000000000000000000000000000 08" + rest + "eth0\n" + "20010db8000000000000000000000000 20" + rest + "lo\nbroken\n")
	if got := fmt.Sprint(six); got != "[fd00::/64 on eth0]" {
		t.Errorf("IPv6: %s", got)
	}
}

// TestHostNetworks: the loopback is not among them, whatever else this machine has.
func TestHostNetworks(t *testing.T) {
	for _, n := range HostNetworks() {
		if n.Prefix.Contains(netip.MustParseAddr("127.0.0.1")) || n.Prefix.Contains(netip.IPv6Loopback()) || !n.Prefix.IsValid() {
			t.Errorf("%v", n)
		}
	}
}

func TestPublic(t *testing.T) {
	for p, want := range map[string]bool{
		"8.8.8.0/24": true, "10.0.0.0/8": false, "10.89.0.0/24": false, "172.32.0.0/16": true, "172.16.0.0/11": true, "100.64.0.0/24": false,
		"192.0.2.0/24": false, "2001:4860::/32": true, "fd00:1::/64": false, "2001:db8:1::/64": false,
	} {
		if got := Public(netip.MustParsePrefix(p)); got != want {
			t.Errorf("%s: %v", p, got)
		}
	}
}

func TestIPv6Networks(t *testing.T) {
	for value, want := range map[string]string{
		"fd12:3456:789a::/64": "", "2001:db8::/120": "", "10.0.0.0/24": "must be an IPv6 network", "x": "must be an IPv6 network",
		"fd12::1/64": "did you mean fd12::/64?", "fd12::/121": "from /16 to /120", "fc00::/7": "from /16 to /120", "fe80::/64": "no host can have such addresses",
		"ff02::/64": "no host can have such addresses", "::/64": "no host can have such addresses", "::ffff:10.0.0.0/120": "must be an IPv6 network",
		"fd00::/64": "containers of networks without IPv6 have it", "fd00::/32": "containers of networks without IPv6 have it",
	} {
		_, err := ParseIPv6Network("--subnet", value)
		mustSay(t, value, err, want)
	}
	p := netip.MustParsePrefix("fd12::/120")
	for ip, want := range map[string]string{
		"fd12::9": "", "fd12:0::00ff": "", "fd13::9": "it is not in the network fd12::/120", "10.0.0.9": "must be an IPv6 address", "fd12::9%eth0": "must be an IPv6 address",
		"fd12::": "it is the network's own address", "fd12::2": "the gateway and the name server have fd12::2 and fd12::3", "fd12::3": "the gateway and", "nine": "must be an IPv6 address",
	} {
		_, err := ChooseIPv6(p, ip)
		mustSay(t, ip, err, want)
	}
}

func mustSay(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}
