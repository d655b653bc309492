package spec

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// onNewNetwork puts the test into a network namespace of its own, for good: the
// thread ends with the test.
func onNewNetwork(t *testing.T) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to have interfaces to move")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// ip runs busybox's on this thread's network.
func ip(t *testing.T, words string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "busybox", append([]string{"ip"}, strings.Fields(words)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", words, err, out)
	}
	return string(out)
}

// Interfaces of the host come with their addresses, are up before the payload
// runs, and are gone from the host. What is of the link only stays behind.
func TestNetDevices(t *testing.T) {
	onNewNetwork(t)
	for _, words := range []string{
		"link add v0 type veth", "link add v1 type veth", "addr add 10.1.2.3/24 dev v0", "addr add 10.9.9.9/32 scope link dev v0",
		"-6 addr add fd00::5/64 dev v0", "link set v0 up", "link add v2 type veth",
	} {
		ip(t, words)
	}
	r, root := testRuntime(t)
	o, out := boxOf(t, root, "sh", "-c", "busybox ip -o addr; busybox ip link; echo done; exec sleep 1000")
	o.Config.Linux.NetDevices = map[string]specs.LinuxNetDevice{"v0": {Name: "eth0"}, "v1": {}, "v2": {Name: "port%d"}}
	ctx := context.Background()
	c, p, err := r.Run(ctx, "box", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(ctx, true) })
	var inside string
	waitFor(t, "the container's output", func() bool {
		data, err := os.ReadFile(out)
		inside = string(data)
		return err == nil && strings.HasSuffix(inside, "done\n")
	})
	left := ip(t, "link") // the pairs end with the container's network
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if ws, _, err := p.Wait(); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("%v, %v", ws, err)
	}
	for _, want := range []string{"inet 10.1.2.3/24", "inet6 fd00::5/64", " eth0@", " v1@", " port0@"} {
		if !strings.Contains(inside, want) {
			t.Errorf("the container has no %q:\n%s", want, inside)
		}
	}
	for line := range strings.Lines(inside) {
		if strings.Contains(line, "eth0@") && strings.Contains(line, "mtu") && !strings.Contains(line, "UP") {
			t.Errorf("not up: %s", line)
		}
	}
	if strings.Contains(inside, "10.9.9.9") {
		t.Errorf("an address of the link came along:\n%s", inside)
	}
	if strings.Contains(left, " v0@") || strings.Contains(left, " v1@") || strings.Contains(left, " v2@") || !strings.Contains(left, "@") {
		t.Errorf("still on the host:\n%s", left)
	}
}

// Whoever cannot be moved stops the start, and nothing is left of it.
func TestNetDevicesRefused(t *testing.T) {
	onNewNetwork(t)
	ip(t, "link add v0 type veth")
	ctx := context.Background()
	for _, c := range []struct {
		devices map[string]specs.LinuxNetDevice
		want    string
	}{
		{map[string]specs.LinuxNetDevice{"none0": {}}, `linux.netDevices["none0"]: there is no such interface`},
		{map[string]specs.LinuxNetDevice{"v0": {Name: "lo"}}, `linux.netDevices["v0"]: the container has an interface lo`},
		{map[string]specs.LinuxNetDevice{"lo": {Name: "lo1"}}, `linux.netDevices["lo"]: move it to the container as lo1: invalid argument`},
	} {
		r, root := testRuntime(t)
		o, out := boxOf(t, root, "sh", "-c", "echo ran")
		o.Config.Linux.NetDevices = c.devices
		if _, _, err := r.Create(ctx, "box", o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
		if boxes, err := r.List(); err != nil || len(boxes) > 0 {
			t.Errorf("left: %v, %v", boxes, err)
		}
		if data, _ := os.ReadFile(out); len(data) > 0 {
			t.Errorf("the payload ran: %s", data)
		}
	}
	if !strings.Contains(ip(t, "link"), "v0@") {
		t.Errorf("v0 has not stayed:\n%s", ip(t, "link"))
	}
}
