package spec

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tun is an interface that the container's first process makes in its network
// namespace: a TUN device, whose descriptor it sends to the launcher, who carries
// the packets. Only a process in there can make it, and only from outside can
// packets get anywhere.
type Tun struct {
	Name       string
	MTU        int
	MAC        []byte // nil: none, a TUN device; else six bytes, of a TAP device
	IPv4, Gw4  [4]byte
	Bits4      int // 0: none
	IPv6, Gw6  [16]byte
	Bits6      int          // 0: none
	More       []TunAddress // in networks with other containers
	ResolvConf string       // lines for /etc/resolv.conf, see Input.Tun
	Address    string       // IPv4, as text
	Gateway    string       // Gw4, as text

	sock *os.File // the child's end of what it is sent by
}

// TunAddress is an IPv4 address more of the interface, or an IPv6 address: of 4 or 16
// bytes.
type TunAddress struct {
	Address string // as text
	IP      []byte
	Bits    int
}

const tunDevice = "/dev/net/tun"

// The flags of the device: packets without any header but virtio-net's, TCP in
// pieces of up to 64 KiB, no checksums. netns/builtin reads it so.
const (
	tunFlags    = unix.IFF_NO_PI | unix.IFF_VNET_HDR // and IFF_TUN or IFF_TAP
	tunOffloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
)

// ifreq is struct ifreq, with what follows the name.
func ifreq(name string, data ...byte) []byte {
	r := make([]byte, 40)
	copy(r[:15], name)
	copy(r[16:], data)
	return r
}

// sockaddr4 is struct sockaddr_in without a port.
func sockaddr4(a [4]byte) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	copy(b[4:], a[:])
	return b
}

func mask4(bits int) (m [4]byte) {
	binary.BigEndian.PutUint32(m[:], ^uint32(0)<<(32-bits))
	return m
}

// tun makes the interface.
func (c *child) tun() {
	t := c.x.Tun
	if t == nil {
		return
	}
	if c.ns.fresh&unix.CLONE_NEWNET == 0 {
		c.fail(fmt.Errorf("make the network interface %s: the network namespace is not the container's own", t.Name))
		return
	}
	label := "make the network interface " + t.Name
	c.p.Call("open "+tunDevice, unix.SYS_OPENAT, atFDCWD, tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0).To(c.dir)
	kind := uint16(unix.IFF_TUN)
	if t.MAC != nil {
		kind = unix.IFF_TAP
	}
	c.p.Call(label, unix.SYS_IOCTL, c.dir, unix.TUNSETIFF, ifreq(t.Name, binary.NativeEndian.AppendUint16(nil, tunFlags|kind)...))
	c.p.Call(label, unix.SYS_IOCTL, c.dir, unix.TUNSETOFFLOAD, tunOffloads)
	// Without its launcher it carries nothing any more, and it goes with its namespace,
	// which the kernel does by itself; else the launcher's close would wait for it.
	c.p.Call(label, unix.SYS_IOCTL, c.dir, unix.TUNSETPERSIST, 1)
	c.tunIPv4(t)
	c.tunIPv6(t)
	c.closeReg(c.tmp)
	c.sendFD("hand the network interface to the launcher", t.sock.Fd(), c.dir)
	c.closeReg(c.dir)
}

// tunIPv4 leaves its socket in c.tmp.
func (c *child) tunIPv4(t *Tun) {
	c.p.Call("set up "+t.Name, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).To(c.tmp)
	flags := uint16(unix.IFF_UP | unix.IFF_RUNNING)
	if t.MAC != nil {
		flags |= unix.IFF_NOARP // nobody is asked who has an address, nor would answer
		address := append(binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER), t.MAC...)
		c.p.Call(fmt.Sprintf("give %s its hardware address", t.Name), unix.SYS_IOCTL, c.tmp, unix.SIOCSIFHWADDR, ifreq(t.Name, address...))
	}
	if t.Bits4 > 0 {
		label := fmt.Sprintf("give %s the address %s/%d", t.Name, t.Address, t.Bits4)
		c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCSIFADDR, ifreq(t.Name, sockaddr4(t.IPv4)...))
		c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCSIFNETMASK, ifreq(t.Name, sockaddr4(mask4(t.Bits4))...))
	}
	label := fmt.Sprintf("bring %s up", t.Name)
	c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCSIFMTU, ifreq(t.Name, binary.NativeEndian.AppendUint32(nil, uint32(t.MTU))...))
	c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCSIFFLAGS, ifreq(t.Name, binary.NativeEndian.AppendUint16(nil, flags)...))
	if t.Bits4 == 0 {
		return
	}
	route := make([]byte, 120) // struct rtentry: after a word destination, gateway, mask, flags
	copy(route[8:], sockaddr4([4]byte{}))
	copy(route[24:], sockaddr4(t.Gw4))
	copy(route[40:], sockaddr4([4]byte{}))
	binary.NativeEndian.PutUint16(route[56:], unix.RTF_UP|unix.RTF_GATEWAY)
	c.p.Call("route all to "+t.Gateway, unix.SYS_IOCTL, c.tmp, unix.SIOCADDRT, route)
	if c.x.NoLoopback { // else what is for 127.0.0.1 would go that way, too
		own := make([]byte, 120)
		copy(own[8:], sockaddr4([4]byte{127}))
		copy(own[40:], sockaddr4(mask4(8)))
		binary.NativeEndian.PutUint16(own[56:], unix.RTF_UP|unix.RTF_REJECT)
		c.p.Call("route the loopback nowhere", unix.SYS_IOCTL, c.tmp, unix.SIOCADDRT, own)
	}
	for i, a := range t.More {
		if len(a.IP) != 4 {
			continue
		}
		label := fmt.Sprintf("give %s the address %s/%d", t.Name, a.Address, a.Bits)
		alias := fmt.Sprintf("%s:%d", t.Name, i+1) // what further addresses are called in this interface
		c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCSIFADDR, ifreq(alias, sockaddr4([4]byte(a.IP))...))
		c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCSIFNETMASK, ifreq(alias, sockaddr4(mask4(a.Bits))...))
	}
}

// tunIPv6 is by netlink: only so can an address be used at once, without the time in
// which its duplicates are looked for (IFA_F_NODAD), and its own route be there, which
// the kernel makes a moment later. A host without IPv6 has none for the container.
func (c *child) tunIPv6(t *Tun) {
	var at []int // where the messages name the interface
	msgs := tunMessages(t, c.x.NoLoopback, &at)
	if msgs == nil {
		return
	}
	label := "give " + t.Name + " an IPv6 address"
	done := c.p.NewSpot()
	index := c.p.Bytes(ifreq(t.Name))
	c.p.Call(label, unix.SYS_IOCTL, c.tmp, unix.SIOCGIFINDEX, index)
	c.closeReg(c.tmp)
	c.p.Peek(index[16:], c.tmp)
	msgs = c.p.Bytes(msgs)
	for _, i := range at {
		c.p.Poke(msgs[i:], c.tmp)
	}
	c.p.Call(label, unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE).To(c.tmp)
	c.p.Call(label, unix.SYS_SENDTO, c.tmp, msgs, uintptr(len(msgs)), 0, 0, 0).Catch(0, done)
	c.p.Mark(done)
}

// tunMessages are the interface's IPv6 addresses, and the route by its gateway; nil for
// none.
func tunMessages(t *Tun, noLoopback bool, at *[]int) (msgs []byte) {
	all := t.More
	if t.Bits6 > 0 {
		all = append([]TunAddress{{IP: t.IPv6[:], Bits: t.Bits6}}, all...)
	}
	for _, a := range all {
		if len(a.IP) != 16 {
			continue
		}
		*at = append(*at, len(msgs)+unix.NLMSG_HDRLEN+4)
		address := append([]byte{unix.AF_INET6, byte(a.Bits), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE}, make([]byte, 4)...)
		msgs = netlinkRequest(msgs, unix.RTM_NEWADDR, address, at, unix.IFA_ADDRESS, a.IP)
		local := []byte{unix.AF_INET6, 128, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, unix.RT_SCOPE_UNIVERSE, unix.RTN_LOCAL, 0, 0, 0, 0}
		msgs = netlinkRequest(msgs, unix.RTM_NEWROUTE, local, at, unix.RTA_DST, a.IP)
	}
	if t.Bits6 > 0 {
		gateway := []byte{unix.AF_INET6, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
		msgs = netlinkRequest(msgs, unix.RTM_NEWROUTE, gateway, at, unix.RTA_GATEWAY, t.Gw6[:])
	}
	if t.Bits6 > 0 && noLoopback {
		nowhere := []byte{unix.AF_INET6, 128, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNREACHABLE, 0, 0, 0, 0}
		loopback := [16]byte{15: 1}
		msgs = netlinkRequest(msgs, unix.RTM_NEWROUTE, nowhere, at, unix.RTA_DST, loopback[:])
	}
	return msgs
}

// netlinkRequest appends one with an attribute and, for routes, one more that names
// the interface; at gets the place of its number.
func netlinkRequest(msgs []byte, kind uint16, body []byte, at *[]int, attr uint16, value []byte) []byte {
	body = netlinkAttr(body, attr, value)
	if kind == unix.RTM_NEWROUTE {
		body = netlinkAttr(body, unix.RTA_OIF, make([]byte, 4))
		*at = append(*at, len(msgs)+unix.NLMSG_HDRLEN+len(body)-4)
	}
	msgs = binary.NativeEndian.AppendUint32(msgs, uint32(unix.NLMSG_HDRLEN+len(body)))
	msgs = binary.NativeEndian.AppendUint16(msgs, kind)
	msgs = binary.NativeEndian.AppendUint16(msgs, unix.NLM_F_REQUEST|unix.NLM_F_CREATE)
	return append(append(msgs, make([]byte, 8)...), body...)
}

// netlinkAttr appends an attribute, whose length must be a multiple of four.
func netlinkAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, value...)
}

// tunSock is the child's end of the socket; nil without one.
func (x *Extra) tunSock() *os.File {
	if x.Tun == nil {
		return nil
	}
	return x.Tun.sock
}
