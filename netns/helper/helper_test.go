package helper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// program is one of that name in a $PATH of its own, which has nothing else but sh's.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func newNetwork(t *testing.T, name, options string) *Network {
	t.Helper()
	c, err := netns.ParseOptions(options, "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(name, c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The host's loopback is closed in each of them unless it was opened, and nothing is
// published by the programs themselves.
func TestArguments(t *testing.T) {
	for _, c := range []struct {
		program, options string
		has, hasNot      []string
	}{
		{Slirp4netns, "", []string{"--disable-host-loopback", "--enable-sandbox", "--enable-ipv6", "--mtu=1500", "--cidr=10.0.2.0/24", "--exit-fd=3", "--ready-fd=4", "4711 eth0"}, nil},
		{Slirp4netns, "host-loopback=true,ipv6=false,mtu=9000,cidr=10.9.0.0/16", []string{"--mtu=9000", "--cidr=10.9.0.0/16"}, []string{"--disable-host-loopback", "--enable-ipv6"}},
		{Pasta, "", []string{"--no-map-gw", "--tcp-ports none", "--udp-ports none", "--tcp-ns none", "--udp-ns none", "--address 10.0.2.100", "--netmask 24", "--gateway 10.0.2.2",
			"--dns-forward 10.0.2.3", "--address fd00::100", "--gateway fd00::2", "--mtu 1500", "--pid /x/pid", "--netns /proc/4711/ns/net", "--userns /proc/4711/ns/user", "--ns-ifname eth0"}, []string{"--ipv4-only"}},
		{Slirp4netns, "mac=02:00:5e:10:00:01", []string{"--macaddress=02:00:5e:10:00:01"}, nil},
		{Pasta, "mac=02:00:5e:10:00:01", []string{"--ns-mac-addr 02:00:5e:10:00:01"}, nil},
		{Pasta, "host-loopback=true,ipv6=false,mtu=65520", []string{"--ipv4-only", "--mtu 65520"}, []string{"--no-map-gw", "fd00::"}},
	} {
		program(t, c.program, "")
		n := newNetwork(t, c.program, c.options)
		words := n.slirpArgs(4711)
		if c.program == Pasta {
			words = n.pastaArgs(4711, "/x/pid")
		}
		line := strings.Join(words, " ") + " "
		for _, w := range c.has {
			if !strings.Contains(line, w+" ") {
				t.Errorf("%s:%s: no %s in %s", c.program, c.options, w, line)
			}
		}
		for _, w := range c.hasNot {
			if strings.Contains(line, w) {
				t.Errorf("%s:%s: %s in %s", c.program, c.options, w, line)
			}
		}
		// As root pasta becomes nobody, who may not join.
		if runas := slices.Contains(words, "--runas"); runas != (c.program == Pasta && os.Geteuid() == 0) {
			t.Errorf("%s: --runas %v", c.program, runas)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, pkg := range map[string]string{Slirp4netns: "slirp4netns", Pasta: "passt"} {
		_, err := New(name, netns.Config{})
		var missing *MissingError
		if !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "apt-get install "+pkg+",") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A program that does not come up is an error with its last words, and it has ended.
func TestRefuses(t *testing.T) {
	for name, want := range map[string]string{Slirp4netns: "it has not come up: no tap", Pasta: "exit status 3: no tap"} {
		program(t, name, "echo first; echo no tap >&2; exit 3\n")
		n := newNetwork(t, name, "")
		if err := n.Join(Place{PID: os.Getpid()}); err == nil || err.Error() != "start "+name+": "+want {
			t.Errorf("%s: %v", name, err)
		}
		if name == Slirp4netns {
			ended(t, n)
		}
	}
}

// noSockets is a maker who is never asked, for nothing is published.
type noSockets struct{}

func (noSockets) Make(int, int, bool, int) ([]int, error) { return nil, errors.New("no sockets") }
func (noSockets) Transparent() bool                       { return false }

func ended(t *testing.T, n *Network) {
	t.Helper()
	select {
	case <-n.Lost():
	case <-time.After(time.Minute):
		t.Fatalf("%s has not ended", n.program)
	}
}

const (
	slirpWaits = "echo $$ >\"$TOLD\"; echo 1 >&4; exec 4>&-; read word <&3\n" // slirp4netns ends with its exit descriptor
	pastaWaits = `while [ "$1" != --pid ]; do shift; done
sleep 1000 >/dev/null 2>&1 & echo $! >"$2"; echo $! >"$TOLD"
`
)

func told(t *testing.T) (path string, pid func() int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pid")
	t.Setenv("TOLD", path)
	return path, func() int {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// TestEnds: the program ends with the network, a process that is no child of ours, too;
// and when it ends by itself, that is told.
func TestEnds(t *testing.T) {
	for name, script := range map[string]string{Slirp4netns: slirpWaits, Pasta: pastaWaits} {
		for _, killed := range []bool{false, true} {
			_, pid := told(t)
			program(t, name, script)
			n := newNetwork(t, name, "")
			guarded, stopped := 0, 0
			err := n.Join(Place{PID: os.Getpid(), Sockets: noSockets{}, Guard: func(pidfd *os.File) (func(), error) {
				guarded++
				return func() { stopped++ }, unix.PidfdSendSignal(int(pidfd.Fd()), 0, nil, 0)
			}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			select {
			case <-n.Lost():
				t.Errorf("%s: lost at once", name)
			default:
			}
			if killed {
				if err := unix.Kill(pid(), unix.SIGKILL); err != nil {
					t.Error(err)
				}
				ended(t, n)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
			ended(t, n)
			if want := map[bool]int{true: 1}[name == Pasta]; guarded != want || stopped != want {
				t.Errorf("%s: %d guards, %d stopped", name, guarded, stopped)
			}
		}
	}
}

// TestUnguarded: without a guard pasta would outlive a launcher that is killed.
func TestUnguarded(t *testing.T) {
	_, pid := told(t)
	program(t, Pasta, pastaWaits)
	n := newNetwork(t, Pasta, "")
	err := n.Join(Place{PID: os.Getpid(), Sockets: noSockets{}, Guard: func(*os.File) (func(), error) { return nil, errors.New("no guard") }})
	if err == nil || err.Error() != "start pasta: no guard" {
		t.Errorf("%v", err)
	}
	for range 1000 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid()) + "/stat")
		if err != nil || strings.Contains(string(text), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it still runs")
}

// TestAttach: the program has the device, and a second one is closed.
func TestAttach(t *testing.T) {
	program(t, Pasta, "")
	n := newNetwork(t, Pasta, "")
	if err := n.Attach(nil); err != nil {
		t.Error(err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Attach(f); err == nil {
		t.Error("it takes a device")
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the device is open: %v", err)
	}
}
