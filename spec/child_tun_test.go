package spec

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func testTun() *Tun {
	return &Tun{
		Name: "eth0", MTU: 1500, IPv4: [4]byte{10, 0, 2, 100}, Gw4: [4]byte{10, 0, 2, 2}, Bits4: 24,
		IPv6: [16]byte{0xfd, 15: 9}, Gw6: [16]byte{0xfd, 15: 2}, Bits6: 64,
		Address: "10.0.2.100", Gateway: "10.0.2.2", ResolvConf: "nameserver 10.0.2.3\n",
	}
}

// The interface comes up before anything of the container's is mounted, and is
// handed over before the root is entered.
func TestTunSteps(t *testing.T) {
	s := testSpec("/r", "true")
	s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.UserNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}}
	x := Extra{Tun: testTun()}
	x.Tun.More = []TunAddress{{"10.7.0.4", []byte{10, 7, 0, 4}, 16}, {"fd01::4", []byte{0xfd, 1, 15: 4}, 64}, {"10.8.0.4", []byte{10, 8, 0, 4}, 24}}
	x.Stub = os.Stdin
	p, _, err := Compile(s, &x)
	if err != nil {
		t.Fatal(err)
	}
	labels := p.Labels()
	at := -1
	for _, want := range []string{
		"bring the loopback interface up", "open /dev/net/tun", "make the network interface eth0", "give eth0 the address 10.0.2.100/24",
		"bring eth0 up", "route all to 10.0.2.2", "give eth0 the address 10.7.0.4/16", "give eth0 the address 10.8.0.4/24", "give eth0 an IPv6 address", "hand the network interface to the launcher", "pivot_root",
	} {
		i := slices.Index(labels[at+1:], want)
		if i < 0 {
			t.Fatalf("no step %q behind the one before in\n%s", want, strings.Join(labels, "\n"))
		}
		at += i + 1
	}
	x = Extra{Tun: testTun()}
	x.Stub, x.Tun.Bits6 = os.Stdin, 0
	if p, _, err = Compile(s, &x); err != nil || slices.Contains(p.Labels(), "give eth0 an IPv6 address") {
		t.Errorf("without IPv6: %v", err)
	}
	if slices.Contains(labels, "give eth0 its hardware address") {
		t.Error("a TUN device gets a hardware address")
	}
	x = Extra{Tun: testTun()}
	x.Stub, x.Tun.MAC = os.Stdin, []byte{2, 0, 0, 0, 0, 9}
	if p, _, err = Compile(s, &x); err != nil || slices.Index(p.Labels(), "give eth0 its hardware address") > slices.Index(p.Labels(), "bring eth0 up") || !slices.Contains(p.Labels(), "give eth0 its hardware address") {
		t.Errorf("with a hardware address: %v", err)
	}
	x = Extra{Tun: testTun()}
	x.Stub, x.Tun.Bits4 = os.Stdin, 0
	if p, _, err = Compile(s, &x); err != nil || slices.Contains(p.Labels(), "route all to 10.0.2.2") || !slices.Contains(p.Labels(), "bring eth0 up") {
		t.Errorf("without an address: %v", err)
	}
	s.Linux.Namespaces = s.Linux.Namespaces[:2]
	x = Extra{Tun: testTun()}
	x.Stub = os.Stdin
	if _, _, err = Compile(s, &x); err == nil || !strings.Contains(err.Error(), "not the container's own") {
		t.Errorf("in the host's network: %v", err)
	}
}

func TestNetlinkRequests(t *testing.T) {
	var at []int
	address := append([]byte{unix.AF_INET6, 64, unix.IFA_F_NODAD, 0}, make([]byte, 4)...)
	msgs := netlinkRequest(nil, unix.RTM_NEWADDR, address, &at, unix.IFA_ADDRESS, make([]byte, 16))
	if len(msgs) != unix.NLMSG_HDRLEN+8+20 || len(at) != 0 {
		t.Errorf("an address: %x, %v", msgs, at)
	}
	first := len(msgs)
	msgs = netlinkRequest(msgs, unix.RTM_NEWROUTE, make([]byte, 12), &at, unix.RTA_DST, make([]byte, 16))
	if n := binary.NativeEndian.Uint32(msgs[first:]); int(n) != len(msgs)-first {
		t.Errorf("a route says that it has %d bytes, not %d", n, len(msgs)-first)
	}
	// The interface's number stands at the end, in an attribute of eight bytes.
	if len(at) != 1 || at[0] != len(msgs)-4 || binary.NativeEndian.Uint16(msgs[at[0]-2:]) != unix.RTA_OIF || binary.NativeEndian.Uint16(msgs[at[0]-4:]) != 8 {
		t.Errorf("a route: %x, %v", msgs[first:], at)
	}
	if m := mask4(24); m != [4]byte{255, 255, 255, 0} {
		t.Errorf("/24: %v", m)
	}
}

// With a network of its own a container gets files that say so.
func TestGenerateTun(t *testing.T) {
	in := input()
	in.Tun = testTun()
	in.Options.Network = "private"
	in.Options.AddHosts = []string{"me:host-gateway"}
	in.Options.Hostname = "boat"
	res, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(res.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace && n.Path == "" }) {
		t.Error("it has no network namespace of its own")
	}
	hosts, resolv := string(res.Files["hosts"]), string(res.Files["resolv.conf"])
	for _, want := range []string{"10.0.2.2\tme\n", "10.0.2.2\thost.containers.internal host.docker.internal\n", "10.0.2.100\tboat"} {
		if !strings.Contains(hosts, want) {
			t.Errorf("hosts has no %q:\n%s", want, hosts)
		}
	}
	if strings.Count(resolv, "nameserver") != 1 || !strings.HasSuffix(resolv, "nameserver 10.0.2.3\n") {
		t.Errorf("resolv.conf:\n%s", resolv)
	}
	got := string(throughTun([]byte("# x\nnameserver 127.0.0.53\nsearch\ta b\nnameserver 9.9.9.9\noptions edns0 trust-ad\n"), in.Tun))
	if got != "search\ta b\noptions edns0 trust-ad\nnameserver 10.0.2.3\n" {
		t.Errorf("of a resolv.conf of systemd-resolved's becomes\n%s", got)
	}
}
