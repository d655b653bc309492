package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// somewhere is a network namespace of another user namespace, with its loopback up.
func somewhere(t *testing.T) Place {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var l Place
	for kind, to := range map[string]**os.File{"user": &l.User, "net": &l.Net} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", cmd.Process.Pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		*to = f
	}
	t.Cleanup(l.Close)
	s := socketsIn(t, l, Socket{Family: unix.AF_INET, Type: unix.SOCK_DGRAM}, 1)[0]
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(int(s.Fd()), unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	return l
}

func socketsIn(t *testing.T, l Place, kind Socket, n int) []*os.File {
	t.Helper()
	fds, err := l.Sockets(kind, n)
	if err != nil {
		t.Fatal(err)
	}
	var all []*os.File
	for _, fd := range fds {
		_ = unix.SetNonblock(fd, false)
		all = append(all, os.NewFile(uintptr(fd), "socket"))
	}
	t.Cleanup(func() {
		for _, f := range all {
			f.Close()
		}
	})
	return all
}

func bind4(f *os.File, a [4]byte) error {
	return unix.Bind(int(f.Fd()), &unix.SockaddrInet4{Addr: a})
}

// Sockets are those of the place, as many as were asked for, and not inherited.
func TestSockets(t *testing.T) {
	l := somewhere(t)
	ours, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ours)
	here, err := unix.GetsockoptUint64(ours, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	all := socketsIn(t, l, Socket{Family: unix.AF_INET6, Type: unix.SOCK_STREAM | unix.SOCK_NONBLOCK}, 5)
	if len(all) != 5 {
		t.Fatalf("%d sockets", len(all))
	}
	var there uint64
	for i, f := range all {
		cookie, err := unix.GetsockoptUint64(int(f.Fd()), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if err != nil || cookie == here || i > 0 && cookie != there {
			t.Errorf("socket %d is in network %d, not %d, and ours is %d: %v", i, cookie, there, here, err)
		}
		there = cookie
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("socket %d is inherited: %v", i, err)
		}
	}
}

// A step that fails is named, and nothing is left open.
func TestSocketsFail(t *testing.T) {
	l := somewhere(t)
	all, err := l.Sockets(Socket{Family: unix.AF_MAX, Type: unix.SOCK_STREAM}, 2)
	if err == nil || !errors.Is(err, unix.EAFNOSUPPORT) || all != nil {
		t.Errorf("%v, %v", all, err)
	}
	l.Net = l.User
	if _, err := l.Sockets(Socket{Family: unix.AF_INET, Type: unix.SOCK_STREAM}, 1); err == nil || !strings.Contains(err.Error(), "join the network namespace") {
		t.Errorf("a user namespace in the place of the network's: %v", err)
	}
}

// TestChangeAddresses: an address is there, or it is an error; and nothing of it stays.
func TestChangeAddresses(t *testing.T) {
	l := somewhere(t)
	change := func(device string, kind AddressChange, a unix.Sockaddr) error {
		if b, ok := a.(*unix.SockaddrInet6); ok {
			return l.ChangeAddresses(device, Change{kind, b.Addr[:], 128})
		}
		return l.ChangeAddresses(device, Change{kind, a.(*unix.SockaddrInet4).Addr[:], 32})
	}
	for _, a := range []unix.Sockaddr{&unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 9}}, &unix.SockaddrInet6{Addr: [16]byte{0xfd, 1, 15: 9}}} {
		family := unix.AF_INET
		if _, ok := a.(*unix.SockaddrInet6); ok {
			family = unix.AF_INET6
		}
		all := socketsIn(t, l, Socket{Family: family, Type: unix.SOCK_DGRAM}, 3)
		bind := func(i int) error { return unix.Bind(int(all[i].Fd()), a) }
		if err := bind(0); !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Fatalf("it is there before: %v", err)
		}
		if err := change("lo", AddAddress, a); err != nil {
			t.Fatal(err)
		}
		if err := bind(0); err != nil {
			t.Errorf("it is not there: %v", err)
		}
		if err := change("lo", AddAddress, a); !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("once more: %v", err)
		}
		if err := change("lo", RemoveAddress, a); err != nil {
			t.Error(err)
		}
		if err := bind(1); !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("it is there after it was removed: %v", err)
		}
		if err := unix.Connect(int(all[2].Fd()), a); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("a route leads there after it was removed: %v", err)
		}
		if err := change("lo", RemoveAddress, a); !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("removed once more: %v", err)
		}
		if err := change("nosuch", AddAddress, a); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "find the interface nosuch") {
			t.Errorf("an interface that is not there: %v", err)
		}
	}
}

// TestRouteBy: all goes by the gateway, the second time by another one. (lo has none by IPv6.)
func TestRouteBy(t *testing.T) {
	l := somewhere(t)
	for i, gateway := range [][]byte{{192, 0, 2, 2}, {192, 0, 3, 2}} {
		own := append(append([]byte(nil), gateway[:len(gateway)-1]...), 9)
		if err := l.ChangeAddresses("lo", Change{AddAddress, own, len(own)*8 - 8}, Change{RouteBy, gateway, 0}); err != nil {
			t.Errorf("gateway %d: %v", i, err)
		}
	}
	s := socketsIn(t, l, Socket{Family: unix.AF_INET, Type: unix.SOCK_DGRAM}, 1)[0]
	if err := unix.Connect(int(s.Fd()), &unix.SockaddrInet4{Addr: [4]byte{198, 51, 100, 7}, Port: 9}); err != nil {
		t.Errorf("nothing leads out: %v", err)
	}
}

// TestTransparent: a connection from an address that nobody has gets its answers.
func TestTransparent(t *testing.T) {
	l := somewhere(t)
	if err := l.Transparent(); err != nil {
		t.Fatal(err)
	}
	stranger := [4]byte{198, 51, 100, 7}
	server := socketsIn(t, l, Socket{Family: unix.AF_INET, Type: unix.SOCK_STREAM}, 1)[0]
	if err := errors.Join(bind4(server, [4]byte{127, 0, 0, 1}), unix.Listen(int(server.Fd()), 1)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(int(server.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	plain := socketsIn(t, l, Socket{Family: unix.AF_INET, Type: unix.SOCK_STREAM}, 1)[0]
	if err := bind4(plain, stranger); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("any socket can have any address: %v", err)
	}
	client := socketsIn(t, l, Socket{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Transparent: true}, 1)[0]
	if err := bind4(client, stranger); err != nil {
		t.Fatal(err)
	}
	limit := unix.Timeval{Sec: 20}
	if err := unix.SetsockoptTimeval(int(client.Fd()), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(int(client.Fd()), at); err != nil {
		t.Fatalf("connect: %v", err)
	}
	fd, from, err := unix.Accept(int(server.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if got, ok := from.(*unix.SockaddrInet4); !ok || got.Addr != stranger {
		t.Errorf("the server sees %+v", from)
	}
}
