package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"coracle/netns"
)

func create(t *testing.T, e *Engine, name string, ipv6 bool, subnets ...string) Network {
	t.Helper()
	if _, err := e.CreateNetwork(CreateNetworkOptions{Name: name, Subnets: subnets, IPv6: ipv6}); err != nil {
		t.Fatal(err)
	}
	n, err := e.Network(name) // as it was written down
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCreateNetwork: which subnets a network gets.
func TestCreateNetwork(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	if n := create(t, e, "four", false); n.Subnet.String() != "10.89.0.0/24" || n.Subnet6.IsValid() || n.Gateway6.IsValid() {
		t.Errorf("four: %v", n)
	}
	both := create(t, e, "both", true)
	if both.Subnet.String() != "10.89.1.0/24" || both.Subnet6.Bits() != 64 || both.Subnet6.Addr().As16()[0] != 0xfd || both.Gateway6 != both.Subnet6.Addr().Next().Next() {
		t.Errorf("both: %v", both)
	}
	if other := create(t, e, "other", true); other.Subnet6 == both.Subnet6 {
		t.Errorf("other has both's %v", both.Subnet6)
	}
	if n := create(t, e, "asked", false, "fd12:1::/112", "10.7.0.0/24"); n.Subnet.String() != "10.7.0.0/24" || n.Subnet6.String() != "fd12:1::/112" || n.Gateway6.String() != "fd12:1::2" {
		t.Errorf("asked: %v", n)
	}
	if n := create(t, e, "half", true, "10.8.0.0/24"); n.Subnet.String() != "10.8.0.0/24" || !n.Subnet6.IsValid() {
		t.Errorf("half: %v", n)
	}
	for _, c := range []struct {
		subnets []string
		want    string
	}{
		{[]string{"fd12:1::/64"}, "fd12:1::/64 overlaps with network asked, which has fd12:1::/112"},
		{[]string{"10.7.0.0/16"}, "10.7.0.0/16 overlaps with network asked, which has 10.7.0.0/24"},
		{[]string{"10.5.0.0/24", "10.6.0.0/24"}, "--subnet 10.6.0.0/24: there is 10.5.0.0/24 already"},
		{[]string{"fd13::/64", "fd14::/64"}, "--subnet fd14::/64: there is fd13::/64 already"},
		{[]string{"fd13::1/64"}, "did you mean fd13::/64?"},
		{[]string{"fd00::/64"}, "containers of networks without IPv6 have it"},
		{[]string{"x"}, "cidr=x: must be an IPv4 network"},
	} {
		_, err := e.CreateNetwork(CreateNetworkOptions{Name: "bad", Subnets: c.subnets})
		says(t, strings.Join(c.subnets, " "), err, c.want)
	}
}

// TestHostNetworks: what the host has itself is refused, what it has routes to said, and
// neither is chosen.
func TestHostNetworks(t *testing.T) {
	var warned []string
	e, err := Open(Config{Root: t.TempDir(), RunRoot: t.TempDir(), Warn: func(msg, _ string) { warned = append(warned, msg) }})
	if err != nil {
		t.Fatal(err)
	}
	host := []netns.HostNetwork{
		{Prefix: netip.MustParsePrefix("10.89.0.0/23"), Device: "eth0", Own: true}, {Prefix: netip.MustParsePrefix("10.89.2.0/24"), Device: "tun0"},
		{Prefix: netip.MustParsePrefix("fd12::/64"), Device: "eth0", Own: true},
	}
	e.hostNetworks = func() []netns.HostNetwork { return host }
	if n := create(t, e, "free", false); n.Subnet.String() != "10.89.3.0/24" {
		t.Errorf("%v is chosen", n.Subnet)
	}
	for subnet, want := range map[string]string{"10.89.1.0/24": "overlaps with the host's own 10.89.0.0/23 on eth0", "fd12::/112": "overlaps with the host's own fd12::/64 on eth0"} {
		_, err := e.CreateNetwork(CreateNetworkOptions{Name: "clash", Subnets: []string{subnet}})
		says(t, subnet, err, want)
	}
	if len(warned) != 0 {
		t.Errorf("warned: %q", warned)
	}
	create(t, e, "routed", false, "10.89.2.0/24")
	create(t, e, "public", false, "8.8.8.0/24", "2600::/64")
	want := []string{
		"network routed: 10.89.2.0/24 overlaps with the host's route to 10.89.2.0/24 on tun0: its containers cannot reach all that is there",
		"network public: 8.8.8.0/24 are public addresses: its containers cannot reach those who have them",
		"network public: 2600::/64 are public addresses: its containers cannot reach those who have them",
	}
	if !slices.Equal(warned, want) {
		t.Errorf("warned: %q", warned)
	}
	// Where the host has a route to every private network one is chosen all the same.
	host = nil
	for _, p := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} {
		host = append(host, netns.HostNetwork{Prefix: netip.MustParsePrefix(p), Device: "vpn0"})
	}
	if n := create(t, e, "vpn", false); n.Subnet.String() != "10.89.0.0/24" {
		t.Errorf("%v is chosen", n.Subnet)
	}
}
