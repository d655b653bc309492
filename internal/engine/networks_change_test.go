package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"coracle/netns"
	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// made is a container that was made with a network, and its plan.
func made(t *testing.T, e *Engine, name string, o RunOptions) *box {
	t.Helper()
	b := networked(t, e, Container{Name: name, Network: o.Network, Status: Created})
	if err := writeJSON(b.dir+"/config.json", specs.Spec{Version: "1.2.0", Root: &specs.Root{Path: "root"}, Process: &specs.Process{}, Linux: &specs.Linux{}}, false); err != nil {
		t.Fatal(err)
	}
	if err := (blueprint{Options: o}).write(b.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := e.planNetworks(o, b.ID); err != nil {
		t.Fatal(err)
	}
	return b
}

// starts is how the container's next start would have it.
func starts(t *testing.T, e *Engine, b *box) string {
	t.Helper()
	p, err := e.readBlueprint(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	n, err := e.planNetwork(p.Options, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %v", strings.Trim(fmt.Sprint(n.addresses()), "[]"), n.config.DNS4, n.config.Internal)
}

// TestAddresses6: both families have their leases.
func TestAddresses6(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	create(t, e, "both", true, "10.7.0.0/24", "fd12::/64")
	create(t, e, "four", false, "10.8.0.0/24")
	plan := func(network string, o NetworkOptions) (*network, error) {
		b := networked(t, e, Container{Network: network, Status: Created})
		return e.planNetworks(RunOptions{Options: spec.Options{Network: network}, NetworkOptions: o}, b.ID)
	}
	for _, c := range []struct {
		network string
		o       NetworkOptions
		want    string // its addresses
		err     string
	}{
		{"both", NetworkOptions{}, "10.7.0.4/24 fd12::4/64", ""},
		{"both", NetworkOptions{IP6: "fd12::99"}, "10.7.0.5/24 fd12::99/64", ""},
		{"both", NetworkOptions{IP6: "fd12::99"}, "", "--ip6 fd12::99: container"},
		{"both", NetworkOptions{IP6: "fd13::1"}, "", "--ip6 fd13::1: it is not in the network fd12::/64"},
		{"both", NetworkOptions{Networks: []string{"four"}}, "10.7.0.6/24 fd12::5/64 10.8.0.4/24", ""},
		{"four", NetworkOptions{Networks: []string{"both"}}, "10.8.0.5/24 fd00::100/64 10.7.0.7/24 fd12::6/64", ""},
		{"four", NetworkOptions{IP6: "fd12::9"}, "", "network four has no IPv6 addresses"},
		{"private", NetworkOptions{Networks: []string{"both"}}, "10.0.2.100/24 fd00::100/64 10.7.0.8/24 fd12::7/64", ""},
		{"private", NetworkOptions{IP6: "fd00::77"}, "10.0.2.100/24 fd00::77/64", ""},
		{"private", NetworkOptions{IP6: "fd00::2"}, "", "the gateway and the name server have"},
		{"builtin:ipv6=false", NetworkOptions{IP6: "fd00::77"}, "", "the network has ipv6=false"},
		{"private", NetworkOptions{MAC: "02-00-5E-10-00-01"}, "10.0.2.100/24 fd00::100/64", ""},
		{"both", NetworkOptions{MAC: "02:00:5e:10:00:01"}, "10.7.0.9/24 fd12::8/64", ""},
		{"both", NetworkOptions{MAC: "02:00"}, "", "--mac-address 02:00: must be six bytes"},
		{"private", NetworkOptions{MAC: "03:00:5e:10:00:01"}, "", "it is the address of a group"},
		{"builtin:mac=02:00:5e:10:00:02", NetworkOptions{MAC: "02:00:5e:10:00:01"}, "", "the network has mac=02:00:5e:10:00:02"},
		{"host", NetworkOptions{MAC: "02:00:5e:10:00:01"}, "", "--mac-address 02:00:5e:10:00:01"},
		{"none", NetworkOptions{MAC: "02:00:5e:10:00:01"}, "", "--mac-address 02:00:5e:10:00:01"},
		{"host", NetworkOptions{IP6: "fd00::77"}, "", "--ip6 fd00::77"},
		{"none", NetworkOptions{IP6: "fd00::77"}, "", "--ip6 fd00::77"},
	} {
		n, err := plan(c.network, c.o)
		says(t, fmt.Sprint(c.network, c.o), err, c.err)
		if err == nil {
			if got := strings.Trim(fmt.Sprint(n.addresses()), "[]"); got != c.want {
				t.Errorf("%s %+v: %s, not %s", c.network, c.o, got, c.want)
			}
			if tun := n.tun(); (tun.MAC != nil) != (c.o.MAC != "") || tun.MAC != nil && netns.MAC(tun.MAC).String() != "02:00:5e:10:00:01" {
				t.Errorf("%s %+v: hardware address %x", c.network, c.o, tun.MAC)
			}
			if tun := n.tun(); len(tun.More) != len(n.addresses())-2 {
				t.Errorf("%s %+v: %v", c.network, c.o, tun.More)
			}
		}
	}
}

// TestLeave: a container leaves the network that it was made with, and comes back.
func TestLeave(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	create(t, e, "front", true, "10.7.0.0/24", "fd12::/64")
	create(t, e, "back", false, "10.8.0.0/24")
	if _, err := e.CreateNetwork(CreateNetworkOptions{Name: "vault", Subnets: []string{"10.9.0.0/24"}, Internal: true}); err != nil {
		t.Fatal(err)
	}
	b := made(t, e, "web", RunOptions{Options: spec.Options{Network: "front"}})
	steps := []struct{ do, network, want string }{
		{"", "", "10.7.0.4/24 fd12::4/64 10.7.0.3 false"},
		{"leave", "front", " 10.7.0.3 true"},
		{"enter", "vault", "10.9.0.4/24 fd00::100/64 10.7.0.3 true"},
		{"enter", "back", "10.8.0.4/24 fd00::100/64 10.9.0.4/24 10.7.0.3 false"},
		{"enter", "front", "10.7.0.4/24 fd12::4/64 10.8.0.4/24 10.9.0.4/24 10.7.0.3 false"},
		{"leave", "front", "10.8.0.4/24 fd00::100/64 10.9.0.4/24 10.7.0.3 false"},
		{"remove", "front", "10.8.0.4/24 fd00::100/64 10.9.0.4/24 10.7.0.3 false"},
		{"leave", "back", "10.9.0.4/24 fd00::100/64 10.7.0.3 true"},
		{"remove", "vault", " 10.7.0.3 true"},
	}
	for _, s := range steps {
		var err error
		switch s.do {
		case "leave":
			err = e.DisconnectNetwork(s.network, "web")
		case "enter":
			err = e.ConnectNetwork(s.network, "web", EndpointOptions{})
		case "remove":
			err = e.RemoveNetwork(s.network, true)
		}
		says(t, s.do+" "+s.network, err, "")
		if got := starts(t, e, b); got != s.want {
			t.Errorf("after %s %s: %q, not %q", s.do, s.network, got, s.want)
		}
	}
	says(t, "remove back", e.RemoveNetwork("back", true), "")
	create(t, e, "wide", false, "10.0.0.0/8")
	says(t, "wide", e.ConnectNetwork("wide", "web", EndpointOptions{}), "whose name server the container asks")
}

// TestRemoveForced: a container whose network is removed starts without it.
func TestRemoveForced(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	create(t, e, "front", false, "10.7.0.0/24")
	b := made(t, e, "web", RunOptions{Options: spec.Options{Network: "front"}})
	says(t, "remove", e.RemoveNetwork("front", false), "containers have it: web")
	says(t, "remove", e.RemoveNetwork("front", true), "")
	if got := starts(t, e, b); got != " 10.7.0.3 true" {
		t.Errorf("%q", got)
	}
	if gone, err := e.PruneNetworks(); err != nil || len(gone) != 0 {
		t.Errorf("%v, %v", gone, err)
	}
}

// TestMemberships: networks of connect count, and prune leaves them.
func TestMemberships(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	for _, name := range []string{"back", "front", "idle"} {
		create(t, e, name, false)
	}
	b := made(t, e, "web", RunOptions{Options: spec.Options{Network: "front"}})
	says(t, "connect", e.ConnectNetwork("back", "web", EndpointOptions{}), "")
	if got := e.Memberships()[b.ID]; !slices.Equal(got, []string{"back", "front"}) {
		t.Errorf("%q", got)
	}
	if gone, err := e.PruneNetworks(); err != nil || !slices.Equal(gone, []string{"idle"}) {
		t.Errorf("pruned: %q, %v", gone, err)
	}
	says(t, "rm", e.RemoveNetwork("back", false), "containers have it: web")
}

// TestAddressChanges: what an interface is told.
func TestAddressChanges(t *testing.T) {
	all := []Network{}
	for i, name := range []string{"a", "b"} {
		c, _ := netns.ParseOptions(fmt.Sprintf("cidr=10.7.%d.0/24", i), "")
		all = append(all, Network{Name: name, Subnet: c.IPv4.Masked(), Containers: map[string]Endpoint{"x": {IPv4: c.IPv4.Addr()}}})
	}
	at := func(in ...Network) *network {
		n := &network{id: "x", name: "a"}
		n.settle(in)
		return n
	}
	words := func(changes []userns.Change) string {
		var out []string
		for _, c := range changes {
			out = append(out, fmt.Sprintf("%d:%d.%d", c.Kind, c.IP[len(c.IP)-2], c.IP[len(c.IP)-1]))
		}
		return strings.Join(out, " ")
	}
	add, del, route := userns.AddAddress, userns.RemoveAddress, userns.RouteBy
	for _, c := range []struct {
		before, after *network
		come, goes    string
	}{
		{at(all[0]), at(all...), fmt.Sprintf("%d:1.100", add), ""},
		{at(all...), at(all[1]), fmt.Sprintf("%d:1.2", route), fmt.Sprintf("%d:0.100", del)},
		{at(all[0]), at(), "", fmt.Sprintf("%d:0.100 %d:1.0", del, del)},
		{at(), at(all[1]), fmt.Sprintf("%d:1.100 %d:1.0 %d:1.2 %d:0.2", add, add, route, route), ""},
	} {
		come, goes := addressChanges(c.before, c.after)
		if words(come) != c.come || words(goes) != c.goes {
			t.Errorf("%v to %v: %s, %s; not %s, %s", c.before.addresses(), c.after.addresses(), words(come), words(goes), c.come, c.goes)
		}
	}
}
