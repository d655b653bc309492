package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLandlock(t *testing.T) {
	for _, tt := range []struct {
		abi           int
		o             Options
		files, scoped uint64
		writable      string // paths
	}{
		{abi: 0}, {abi: 1},
		{abi: 2, files: 0x3fff, writable: "/dev/shm /home/u /home/u/p /run /tmp /var/tmp"},
		{abi: 3, files: 0x7fff, writable: "/dev/shm /home/u /home/u/p /run /tmp /var/tmp"},
		{abi: 7, o: Options{Cwd: RO}, files: 0xffff, scoped: 3, writable: "/dev/shm /home/u /run /tmp /var/tmp"},
		{abi: 7, o: Options{Cwd: RW}, files: 0xffff, scoped: 3, writable: "/dev/shm /home/u /home/u/p /run /tmp /var/tmp"},
		{abi: 7, o: Options{Root: NoRoot, Cwd: None}, files: 0xffff, scoped: 3, writable: "/ /dev/shm /home/u /run /tmp /var/tmp"},
	} {
		t.Run(fmt.Sprint(tt.abi, tt.o.Cwd, tt.o.Root), func(t *testing.T) {
			f := facts()
			f.Landlock = tt.abi
			pl, err := New(tt.o, f, newFake())
			if err != nil {
				t.Fatal(err)
			}
			l := pl.Landlock()
			if l.Handled != tt.files || l.Scoped != tt.scoped {
				t.Errorf("handled %#x, scoped %#x", l.Handled, l.Scoped)
			}
			var writable []string
			for _, r := range l.Rules {
				if r.Access&^l.Handled != 0 || r.Access&mayNever != 0 {
					t.Errorf("%s: %#x", r.Path, r.Access)
				}
				if r.Access&unix.LANDLOCK_ACCESS_FS_MAKE_REG != 0 {
					writable = append(writable, r.Path)
				}
			}
			slices.Sort(writable)
			if got := strings.Join(writable, " "); got != tt.writable {
				t.Errorf("writable: %s", got)
			}
		})
	}
}

// Ports are told Landlock where the loopback is closed, and only there.
func TestLandlockPorts(t *testing.T) {
	const bind, connect = unix.LANDLOCK_ACCESS_NET_BIND_TCP, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	for _, tt := range []struct {
		abi  int
		n    Network
		net  uint64
		said string // in --explain
	}{
		{7, Network{Mode: NoNetwork}, 0, ""},
		{7, Network{Mode: NoNetwork, Loopback: AllowLoopback}, 0, ""},
		{7, Network{Mode: NoNetwork, Loopback: DenyLoopback}, bind | connect, "and connects to none, also by another way than that\n      by: Landlock, version 7\n"},
		{7, Network{Mode: PrivateNetwork, Loopback: DenyLoopback, Ports: []uint16{53, 443}}, bind | connect, "none but 53, 443, also"},
		{7, Network{Mode: PrivateNetwork, Loopback: DenyLoopback, AllPorts: true}, bind, "it listens at no port of TCP, also"},
		{3, Network{Mode: NoNetwork, Loopback: DenyLoopback}, 0, "by: nothing: version 3 of Landlock knows no ports\n"},
		{0, Network{Mode: NoNetwork, Loopback: DenyLoopback}, 0, "by: nothing: this kernel has no Landlock, or"},
	} {
		f := facts()
		f.Landlock = tt.abi
		pl, err := New(Options{Command: []string{"true"}, Network: tt.n}, f, newFake("/etc/resolv.conf=file"))
		if err != nil {
			t.Fatal(err)
		}
		l := pl.Landlock()
		if l.Net != tt.net || l.Net&connect != 0 && !slices.Equal(l.Ports, tt.n.Ports) {
			t.Errorf("%d %+v: %#x, %v", tt.abi, tt.n, l.Net, l.Ports)
		}
		text := pl.Explain()
		if down := strings.Contains(text, "by: the interface is down\n"); !strings.Contains(text, tt.said) || down != (tt.said != "") {
			t.Errorf("%d %+v:\n%s", tt.abi, tt.n, text)
		}
	}
	if err := (Options{Command: []string{"true"}, Network: Network{Loopback: "no"}}).Check(); err == nil {
		t.Error("a choice that is none was taken")
	}
}
