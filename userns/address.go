package userns

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// AddressChange is what is done to an interface's addresses and routes.
type AddressChange uint16

// Changes of addresses.
const (
	AddAddress    AddressChange = unix.RTM_NEWADDR
	RemoveAddress AddressChange = unix.RTM_DELADDR
	// RouteBy has all go by a gateway, in the place of one before.
	RouteBy AddressChange = unix.RTM_NEWROUTE
)

// Change is one: of an address of four or sixteen bytes, with the length of its
// network. (No netip.Prefix: net/netip comes late, and this package early.)
type Change struct {
	Kind AddressChange
	IP   []byte
	Bits int
}

// ChangeAddresses gives an interface addresses, and the routes to their networks, or
// takes them away, one after the other up to the first that the kernel refuses.
func (l Place) ChangeAddresses(device string, changes ...Change) error {
	p := &Program{}
	l.enter(p)
	sock, index := p.NewReg(), p.NewReg()
	req := make([]byte, 40) // struct ifreq
	copy(req[:15], device)
	req = p.Bytes(req)
	p.Call("find the interface "+device, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).To(sock)
	p.Call("find the interface "+device, unix.SYS_IOCTL, sock, unix.SIOCGIFINDEX, req)
	p.Peek(req[16:], index)
	p.Call("close it", unix.SYS_CLOSE, sock)
	label := "change the addresses of " + device
	p.Call(label, unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE).To(sock)
	for _, c := range changes {
		for _, m := range c.messages() {
			msg, answer := p.Bytes(m.bytes), p.Bytes(make([]byte, 1024))
			p.Poke(msg[m.index:], index)
			p.Call(label, unix.SYS_SENDTO, sock, msg, uintptr(len(msg)), 0, 0, 0)
			p.Call(label, unix.SYS_RECVFROM, sock, answer, 1024, 0, 0, 0)
			if !m.optional {
				// struct nlmsgerr: no error, and behind it the request's header, its length first.
				p.NeedWord(label, answer[unix.NLMSG_HDRLEN:], wordOf(0, uint32(len(msg))), unix.EADDRNOTAVAIL)
			}
		}
	}
	return l.carryOut(p, func() error { return nil })
}

// netlinkMessage is a request, with where it names the interface; what becomes of an optional
// one does not matter.
type netlinkMessage struct {
	bytes    []byte
	index    int
	optional bool
}

func (c Change) messages() []netlinkMessage {
	family := byte(unix.AF_INET)
	if len(c.IP) == 16 {
		family = unix.AF_INET6
	}
	switch {
	case c.Kind == RouteBy:
		body := []byte{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
		return []netlinkMessage{routeMessage(unix.RTM_NEWROUTE, unix.NLM_F_REPLACE, attributeOf(body, unix.RTA_GATEWAY, c.IP), false)}
	case family == unix.AF_INET:
		body := append([]byte{family, byte(c.Bits), 0, unix.RT_SCOPE_UNIVERSE}, make([]byte, 4)...)
		body = attributeOf(attributeOf(body, unix.IFA_LOCAL, c.IP), unix.IFA_ADDRESS, c.IP)
		return []netlinkMessage{{bytes: request(uint16(c.Kind), body), index: unix.NLMSG_HDRLEN + 4}}
	}
	// At once, without looking for duplicates; and the route that makes the address
	// local, which the kernel makes a moment later, and would leave behind if it is ours.
	body := append([]byte{family, byte(c.Bits), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE}, make([]byte, 4)...)
	address := netlinkMessage{bytes: request(uint16(c.Kind), attributeOf(body, unix.IFA_ADDRESS, c.IP)), index: unix.NLMSG_HDRLEN + 4}
	local := attributeOf([]byte{family, 128, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, unix.RT_SCOPE_UNIVERSE, unix.RTN_LOCAL, 0, 0, 0, 0}, unix.RTA_DST, c.IP)
	if c.Kind == AddAddress {
		return []netlinkMessage{address, routeMessage(unix.RTM_NEWROUTE, 0, local, true)}
	}
	return []netlinkMessage{address, routeMessage(unix.RTM_DELROUTE, 0, local, true)}
}

// routeMessage is a request about a route by the interface.
func routeMessage(kind, flags uint16, body []byte, optional bool) netlinkMessage {
	b := request(kind, attribute32(body, unix.RTA_OIF, 0))
	binary.NativeEndian.PutUint16(b[6:], binary.NativeEndian.Uint16(b[6:])|flags)
	return netlinkMessage{b, len(b) - 4, optional}
}

// attributeOf appends an attribute, whose length must be a multiple of four.
func attributeOf(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	return append(b, value...)
}
