package builtin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// The tests run in a network of their own: a user namespace with a network
// namespace whose loopback has addresses that stand for the outside world. Each
// container is one more network namespace, in which a thread stays.

const (
	inWorld      = "CORACLE_TEST_WORLD"
	withoutPings = "without pings" // its value for a world that lets nobody send them
)

// The outside world: public addresses of one host.
var (
	world4 = netip.MustParseAddr("192.0.2.1")
	world6 = netip.MustParseAddr("2001:db8::1")
)

func TestMain(m *testing.M) {
	initialise()
	fuzzing := slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.fuzz") && !strings.HasPrefix(a, "-test.fuzzcachedir")
	})
	if os.Getenv(inWorld) == "" && !fuzzing {
		os.Exit(enterWorld("1", os.Args[1:]...))
	}
	if !fuzzing {
		must(makeWorld())
	}
	os.Exit(m.Run())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func enterWorld(kind string, args ...string) int {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inWorld+"="+kind)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "user namespaces cannot be had:", err)
		if os.Getenv("CORACLE_MUST_WORK") != "" {
			return 1
		}
	}
	return 0
}

func makeWorld() error {
	if err := linkUp("lo", 0); err != nil {
		return err
	}
	for _, a := range []netip.Addr{world4, world6} {
		name := "lo"
		if a.Is4() {
			name = "lo:1" // the first one is 127.0.0.1
		}
		if err := setAddress(name, netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	if os.Getenv(inWorld) == withoutPings {
		return nil // nobody may send them in a new namespace, and there is no way back
	}
	return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0)
}

// ifreq is struct ifreq with what follows the name.
func ifreq(name string, data ...byte) *[40]byte {
	var r [40]byte
	copy(r[:16], name)
	copy(r[16:], data)
	return &r
}

func ioctl(fd int, request uintptr, r *[40]byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
		return errno
	}
	return nil
}

func withSocket(family int, f func(fd int) error) error {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

func sockaddr4(a netip.Addr) []byte {
	b := a.As4()
	return append([]byte{unix.AF_INET, 0, 0, 0}, b[:]...)
}

func setAddress(name string, p netip.Prefix) error {
	if p.Addr().Is4() {
		mask := net.CIDRMask(p.Bits(), 32)
		return withSocket(unix.AF_INET, func(fd int) error {
			return errors.Join(ioctl(fd, unix.SIOCSIFADDR, ifreq(name, sockaddr4(p.Addr())...)),
				ioctl(fd, unix.SIOCSIFNETMASK, ifreq(name, append([]byte{unix.AF_INET, 0, 0, 0}, mask...)...)))
		})
	}
	// By netlink: an ioctl would have the address tentative, and unused, for a moment.
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	body := []byte{unix.AF_INET6, byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE}
	body = binary.NativeEndian.AppendUint32(body, uint32(dev.Index))
	if err := netlink(unix.RTM_NEWADDR, attribute(body, unix.IFA_ADDRESS, p.Addr().AsSlice())); err != nil {
		return err
	}
	// The kernel makes this route a moment later, and refuses packets until then.
	body = []byte{unix.AF_INET6, 128, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, unix.RT_SCOPE_UNIVERSE, unix.RTN_LOCAL, 0, 0, 0, 0}
	body = attribute(body, unix.RTA_DST, p.Addr().AsSlice())
	return netlink(unix.RTM_NEWROUTE, attribute(body, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(dev.Index))))
}

func linkUp(name string, mtu int) error {
	return withSocket(unix.AF_INET, func(fd int) error {
		if mtu > 0 {
			if err := ioctl(fd, unix.SIOCSIFMTU, ifreq(name, binary.NativeEndian.AppendUint32(nil, uint32(mtu))...)); err != nil {
				return err
			}
		}
		flags := ifreq(name)
		if err := ioctl(fd, unix.SIOCGIFFLAGS, flags); err != nil {
			return err
		}
		flags[16] |= unix.IFF_UP // amd64 and arm64: the low byte is the first
		return ioctl(fd, unix.SIOCSIFFLAGS, flags)
	})
}

// setHardware gives it the address of a TAP device, and has nobody ask for others'.
func setHardware(name string, m netns.MAC) error {
	if m == (netns.MAC{}) {
		return nil
	}
	return withSocket(unix.AF_INET, func(fd int) error {
		kind := binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)
		up := binary.NativeEndian.AppendUint16(nil, unix.IFF_UP|unix.IFF_NOARP)
		return errors.Join(ioctl(fd, unix.SIOCSIFHWADDR, ifreq(name, append(kind, m[:]...)...)), ioctl(fd, unix.SIOCSIFFLAGS, ifreq(name, up...)))
	})
}

// route makes the default routes, by netlink.
func route(name string, c netns.Config) error {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	for _, gw := range []netip.Addr{c.Gateway4, c.Gateway6} {
		if !gw.IsValid() {
			continue
		}
		family := byte(unix.AF_INET)
		if gw.Is6() {
			family = unix.AF_INET6
		}
		body := []byte{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
		body = attribute(body, unix.RTA_GATEWAY, gw.AsSlice())
		body = attribute(body, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(dev.Index)))
		if err := netlink(unix.RTM_NEWROUTE, body); err != nil {
			return fmt.Errorf("add the route by %s: %w", gw, err)
		}
	}
	return nil
}

func attribute(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, data...)
}

// netlink sends one request and waits for its answer.
func netlink(kind uint16, body []byte) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	m := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	m = append(m, make([]byte, 8)...)
	if err := unix.Sendto(s, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	if _, _, err := unix.Recvfrom(s, buf, 0); err != nil {
		return err
	}
	if code := int32(binary.NativeEndian.Uint32(buf[16:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// container is a network namespace, a thread in it, and its network.
type container struct {
	t   testing.TB
	n   *Network
	c   netns.Config
	run chan func()
}

// start makes a container with this network.
func start(t *testing.T, options string, ports ...string) *container {
	t.Helper()
	return startFor(t, options, nil, ports...)
}

// everywhere are options of all containers; see TestEthernet.
var everywhere string

// startFor prepares the network before it begins.
func startFor(t testing.TB, options string, prepare func(*container), ports ...string) *container {
	t.Helper()
	config, err := netns.ParseOptions(options+","+everywhere, "")
	if err != nil {
		t.Fatal(err)
	}
	c := &container{t: t, n: New(config), c: config, run: make(chan func())}
	if len(ports) > 0 {
		parsed, err := netns.ParsePorts(ports)
		if err == nil {
			_, err = c.n.Listen(parsed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range c.run {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(c.run) })
	var dev *os.File
	c.do(func() error {
		dev, err = openTUN(config)
		return err
	})
	if prepare != nil {
		prepare(c)
	}
	if err := c.n.Attach(dev); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.n.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// do runs f in the container.
func (c *container) do(f func() error) {
	c.t.Helper()
	done := make(chan error, 1)
	c.run <- func() { done <- f() }
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
}

// dial connects from within.
func (c *container) dial(network, addr string) (conn net.Conn, err error) {
	done := make(chan struct{})
	c.run <- func() {
		defer close(done)
		d := net.Dialer{Timeout: 30 * time.Second, KeepAlive: -1}
		conn, err = d.Dial(network, addr)
	}
	<-done
	if err == nil {
		c.t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return conn, err
}

func (c *container) mustDial(network, addr string) net.Conn {
	c.t.Helper()
	conn, err := c.dial(network, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// listen listens within.
func (c *container) listen(addr string) net.Listener {
	c.t.Helper()
	var l net.Listener
	c.do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	c.t.Cleanup(func() { l.Close() })
	return l
}

func openTUN(c netns.Config) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	kind := uint16(unix.IFF_TUN)
	if c.MAC != (netns.MAC{}) {
		kind = unix.IFF_TAP
	}
	flags := binary.NativeEndian.AppendUint16(nil, kind|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
	if err := ioctl(fd, unix.TUNSETIFF, ifreq(c.Interface, flags...)); err != nil {
		return nil, err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
		return nil, err
	}
	err = errors.Join(linkUp("lo", 0), setHardware(c.Interface, c.MAC), setAddress(c.Interface, c.IPv4), linkUp(c.Interface, c.MTU))
	if c.IPv6.IsValid() {
		err = errors.Join(err, setAddress(c.Interface, c.IPv6))
	}
	if err := errors.Join(err, route(c.Interface, c)); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

// serveTCP accepts on the outside.
func serveTCP(t testing.TB, addr string, f func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

// serveUDP answers on the outside.
func serveUDP(t testing.TB, addr string, f func(u *net.UDPConn, from netip.AddrPort, b []byte)) string {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		buf := make([]byte, maxPacket)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			f(u, from, bytes.Clone(buf[:n]))
		}
	}()
	return u.LocalAddr().String()
}

func linkDown(name string) error {
	return withSocket(unix.AF_INET, func(fd int) error { return ioctl(fd, unix.SIOCSIFFLAGS, ifreq(name)) })
}

// ping sends an echo request from within, and returns the answer.
func (c *container) ping(network, to string, request byte, data []byte) (got []byte, err error) {
	a := netip.MustParseAddr(to)
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	var sa unix.Sockaddr = &unix.SockaddrInet4{Addr: as4(a)}
	if a.Is6() {
		family, proto, sa = unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: a.As16()}
	}
	done := make(chan struct{})
	c.run <- func() {
		defer close(done)
		if err = os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
			return
		}
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.Connect(fd, sa); err != nil {
			return
		}
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30})
		if err = unix.Send(fd, append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, data...), 0); err != nil {
			return
		}
		b := make([]byte, 2048)
		var n int
		if n, err = unix.Read(fd, b); err == nil {
			got = b[:n]
		}
	}
	<-done
	return got, err
}
