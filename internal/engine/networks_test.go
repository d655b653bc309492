package engine

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/netns"
	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func networked(t *testing.T, e *Engine, c Container) *box {
	t.Helper()
	c.ID = newID()
	b, err := e.newBox(t.Context(), c, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.remove(t.Context()) })
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	return b
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// TestConnect: what could never start is refused before it is written down.
func TestConnect(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	for name, subnet := range map[string]string{"front": "10.9.0.0/24", "clash": "10.0.2.0/25"} {
		if _, err := e.CreateNetwork(CreateNetworkOptions{Name: name, Subnets: []string{subnet}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, mode, network, ip string
		aliases                 []string
		want                    string
	}{
		{"plain", "private", "front", "", []string{"web", "web.example", "_x"}, ""},
		{"fixed", "builtin:mtu=9000", "front", "10.9.0.9", nil, ""},
		{"taken", "private", "front", "10.9.0.9", nil, "container"},
		{"far", "private", "front", "10.8.0.9", nil, "not in the container's network"},
		{"over", "private", "clash", "", nil, "10.0.2.0/25 overlaps with the container's own network 10.0.2.0/24"},
		{"beside", "builtin:cidr=10.0.3.0/24", "clash", "", nil, ""},
		{"wide", "builtin:cidr=10.0.0.0/8", "front", "", nil, "overlaps"},
		{"bad", "private", "front", "", []string{"b d"}, `--alias "b d"`},
		{"dots", "private", "front", "", []string{"x..y"}, `--alias "x..y"`},
		{"hosts", "host", "front", "", nil, "it has --network host"},
		{"lost", "private", "nowhere", "", nil, "no such network"},
	} {
		b := networked(t, e, Container{Name: c.name, Network: c.mode, Status: Created})
		err := e.ConnectNetwork(c.network, c.name, EndpointOptions{IP: c.ip, Aliases: c.aliases})
		says(t, c.name, err, c.want)
		in := len(e.networksOf(b.ID))
		if want := map[bool]int{true: 1}[c.want == ""]; in != want {
			t.Errorf("%s: it is in %d networks, not %d", c.name, in, want)
		}
		if err == nil {
			says(t, c.name, e.ConnectNetwork(c.network, c.name, EndpointOptions{}), "it is connected")
			says(t, c.name, e.DisconnectNetwork(c.network, c.name), "")
			says(t, c.name, e.DisconnectNetwork(c.network, c.name), "it is not connected")
			says(t, c.name, e.ConnectNetwork(c.network, c.name, EndpointOptions{IP: c.ip, Aliases: c.aliases}), "")
		}
	}
}

// TestConnectRules: nobody with rules gets a second way out, running or not.
func TestConnectRules(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	if _, err := e.CreateNetwork(CreateNetworkOptions{Name: "front"}); err != nil {
		t.Fatal(err)
	}
	b := networked(t, e, Container{Name: "ruled", Network: "private", Status: Created})
	p := blueprint{Options: RunOptions{Options: spec.Options{Network: "private"}, NetworkOptions: NetworkOptions{EgressOptions: EgressOptions{AllowNet: []string{"a.example"}}}}}
	if err := writeJSON(filepath.Join(b.dir, blueprintFile), p, false); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(filepath.Join(b.dir, "config.json"), specs.Spec{Version: "1.2.0", Root: &specs.Root{Path: "root"}, Process: &specs.Process{}, Linux: &specs.Linux{}}, false); err != nil {
		t.Fatal(err)
	}
	says(t, "connect", e.ConnectNetwork("front", "ruled", EndpointOptions{}), "a container with rules for what it may reach")
	if n := len(e.networksOf(b.ID)); n != 0 {
		t.Errorf("it is in %d networks", n)
	}
}

// TestPlanSeveral: --network more than once.
func TestPlanSeveral(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	for name, subnet := range map[string]string{"front": "10.9.0.0/24", "back": "10.9.1.0/24", "clash": "10.0.2.0/25"} {
		if _, err := e.CreateNetwork(CreateNetworkOptions{Name: name, Subnets: []string{subnet}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		mode    string
		further []string
		aliases []string
		rules   []string
		want    string
	}{
		{"front", []string{"back"}, []string{"a"}, nil, ""},
		{"private", []string{"front", "back"}, []string{"a"}, nil, ""},
		{"front", nil, []string{"b d"}, nil, `--network-alias "b d"`},
		{"private", nil, []string{"a"}, nil, "only in a network that containers share"},
		{"front", []string{"front"}, nil, nil, "it is named twice"},
		{"front", []string{"back", "back"}, nil, nil, "it is named twice"},
		{"front", []string{"private"}, nil, nil, "--network private: behind another only networks that containers share can stand"},
		{"front", []string{"container:x"}, nil, nil, "behind another"},
		{"host", []string{"front"}, nil, nil, "--network host: it cannot be one of several"},
		{"slirp4netns", []string{"front"}, nil, nil, "it cannot be one of several"},
		{"front", []string{"nowhere"}, nil, nil, "no such network"},
		{"private", []string{"clash"}, nil, nil, "overlaps"},
		{"private", []string{"front"}, nil, []string{"a.example"}, "a container with rules"},
		{"front", nil, nil, []string{"a.example"}, "a container with rules"},
	} {
		b := networked(t, e, Container{Network: c.mode, Status: Created})
		o := RunOptions{Options: spec.Options{Network: c.mode}, NetworkOptions: NetworkOptions{Networks: c.further, Aliases: c.aliases, EgressOptions: EgressOptions{AllowNet: c.rules}}}
		n, err := e.planNetworks(o, b.ID)
		says(t, c.mode+" "+strings.Join(c.further, " "), err, c.want)
		if c.want != "" {
			continue
		}
		if tun := n.tun(); len(tun.More) != len(c.further) {
			t.Errorf("%s: further addresses: %v", c.mode, tun.More)
		}
		all := e.networksOf(b.ID)
		if want := len(c.further) + map[bool]int{true: 1}[named(c.mode)]; len(all) != want {
			t.Errorf("%s: it is in %d networks, not %d", c.mode, len(all), want)
		}
		for _, n := range all {
			if got := n.Containers[b.ID].Aliases; strings.Join(got, " ") != "a" {
				t.Errorf("%s: aliases in %s: %q", c.mode, n.Name, got)
			}
		}
	}
}

// TestPublisher: who has another address of the host does not stand in the way.
func TestPublisher(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	networked(t, e, Container{Name: "web", Status: Running, Ports: []netns.Port{{Protocol: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), Host: 8080, Container: 80}}})
	networked(t, e, Container{Name: "ended", Status: Stopped, Ports: []netns.Port{{Protocol: "tcp", Host: 8081, Container: 80}}})
	for _, c := range []struct {
		port netns.Port
		want string
	}{
		{netns.Port{Protocol: "tcp", Host: 8080}, "web"},
		{netns.Port{Protocol: "tcp", HostIP: netip.MustParseAddr("0.0.0.0"), Host: 8080}, "web"},
		{netns.Port{Protocol: "tcp", HostIP: netip.MustParseAddr("192.0.2.1"), Host: 8080}, ""},
		{netns.Port{Protocol: "tcp", HostIP: netip.MustParseAddr("::"), Host: 8080}, ""},
		{netns.Port{Protocol: "udp", Host: 8080}, ""},
		{netns.Port{Protocol: "tcp", Host: 8081}, ""},
	} {
		if got := e.publisher(c.port); got != c.want {
			t.Errorf("%v: %q, not %q", c.port, got, c.want)
		}
	}
}

// TestNetworkLost: a container in the network of another loses it when that one ends.
func TestNetworkLost(t *testing.T) {
	e := openTest(t, t.TempDir(), t.TempDir())
	began := time.Now()
	owner := networked(t, e, Container{Name: "owner", Network: "private", Status: Running, Started: began})
	joined := networked(t, e, Container{Name: "joined", Network: ofContainer + owner.ID, Status: Running, Started: began.Add(time.Second)})
	lost := func() bool {
		c, err := e.load(joined.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c.NetworkLost
	}
	if lost() {
		t.Error("lost, and its owner runs")
	}
	owner.Started = began.Add(2 * time.Second)
	if err := owner.save(); err != nil {
		t.Fatal(err)
	}
	if !lost() {
		t.Error("its owner has another network since it was started again, and it is not lost")
	}
	owner.Started, owner.Status = began, Stopped
	if err := owner.save(); err != nil {
		t.Fatal(err)
	}
	if !lost() {
		t.Error("its owner has ended, and it is not lost")
	}
	owner.Status, owner.NetworkLost = Running, true
	if err := owner.save(); err != nil {
		t.Fatal(err)
	}
	if !lost() {
		t.Error("its owner has lost its network, and it has not")
	}
}
