package spec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// moveNetDevices gives the container the interfaces of linux.netDevices
// (runtime-spec v1.3.0 config-linux.md#network-devices), with their permanent
// addresses of global scope, and sets them up. The kernel takes them back when
// the network namespace ends, which is all the specification wants of that.
// Validate has seen that the caller may.
func moveNetDevices(s *specs.Spec, pid int) error {
	if s.Linux == nil || len(s.Linux.NetDevices) == 0 {
		return nil
	}
	const field = "linux.netDevices"
	name := fmt.Sprintf("/proc/%d/ns/net", pid)
	target, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("%s: open the container's network namespace: %w", field, err)
	}
	defer target.Close()
	host, err := openNetlink()
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	defer host.close()
	box, err := openNetlinkIn(target)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	defer box.close()
	for _, dev := range sortedKeys(s.Linux.NetDevices) {
		if err := moveNetDevice(host, box, target, dev, s.Linux.NetDevices[dev].Name); err != nil {
			return fmt.Errorf("%s[%s]: %w", field, plainjson.Quote(dev), err)
		}
	}
	return nil
}

// loopbackUp is for a network namespace that somebody else has made.
func loopbackUp(pid int) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	defer f.Close()
	box, err := openNetlinkIn(f)
	if err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	defer box.close()
	links, err := box.links()
	if err == nil {
		_, err = box.do(unix.RTM_NEWLINK, 0, linkMessage(links["lo"], unix.IFF_UP, unix.IFF_UP))
	}
	if err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	return nil
}

func moveNetDevice(host, box *netlink, target *os.File, dev, name string) error {
	links, err := host.links()
	if err != nil {
		return err
	}
	index, ok := links[dev]
	if !ok {
		return errors.New("there is no such interface")
	}
	addresses, err := host.addresses(index)
	if err != nil {
		return err
	}
	before, err := box.links()
	if err != nil {
		return err
	}
	if name == "" {
		name = dev
	}
	// Looked for beforehand: the kernel would move it and then fail to rename it.
	if _, taken := before[name]; taken {
		return fmt.Errorf("the container has an interface %s", name)
	}
	msg := linkMessage(index, 0, 0)
	msg = appendAttr(msg, unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(target.Fd())))
	msg = appendAttr(msg, unix.IFLA_IFNAME, append([]byte(name), 0))
	if _, err := host.do(unix.RTM_NEWLINK, 0, msg); err != nil {
		return fmt.Errorf("move it to the container as %s: %w", name, err)
	}
	after, err := box.links()
	if err != nil {
		return err
	}
	// The kernel may have chosen another index, and a name for a %d.
	index = 0
	for n, i := range after {
		if _, old := before[n]; !old {
			name, index = n, i
		}
	}
	if index == 0 {
		return errors.New("it is not in the container's network namespace")
	}
	for _, a := range addresses {
		binary.NativeEndian.PutUint32(a[4:], uint32(index)) // ifa_index
		if _, err := box.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, a); err != nil {
			return fmt.Errorf("give %s its address again: %w", name, err)
		}
	}
	if _, err := box.do(unix.RTM_NEWLINK, 0, linkMessage(index, unix.IFF_UP, unix.IFF_UP)); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

// netlink is a socket to the kernel's network configuration, of the namespace
// in which it was opened.
type netlink struct {
	fd  int
	seq uint32
}

func openNetlink() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	// The kernel answers at once; nobody shall wait for ever if it does not.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &netlink{fd: fd}, nil
}

// openNetlinkIn opens one in another namespace, from a thread that ends there.
func openNetlinkIn(ns *os.File) (*netlink, error) {
	type result struct {
		n   *netlink
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread is spoilt for others
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("join the container's network namespace: %w", err)}
			return
		}
		n, err := openNetlink()
		done <- result{n, err}
	}()
	r := <-done
	return r.n, r.err
}

func (n *netlink) close() { unix.Close(n.fd) }

// do sends one request and reads the answer: the messages of a dump, or none.
func (n *netlink) do(kind uint16, flags uint16, body []byte) ([]syscall.NetlinkMessage, error) {
	n.seq++
	if flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP { // two bits, of which others use one
		flags |= unix.NLM_F_ACK
	}
	e := binary.NativeEndian
	msg := e.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = e.AppendUint16(msg, kind)
	msg = e.AppendUint16(msg, unix.NLM_F_REQUEST|flags)
	msg = e.AppendUint32(msg, n.seq)
	msg = e.AppendUint32(msg, 0)
	msg = append(msg, body...)
	if err := unix.Sendto(n.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send to netlink: %w", err)
	}
	var out []syscall.NetlinkMessage
	buf := make([]byte, 1<<16)
	for {
		size, _, err := unix.Recvfrom(n.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive from netlink: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(slices.Clone(buf[:size]))
		if err != nil {
			return nil, fmt.Errorf("receive from netlink: %w", err)
		}
		for _, m := range msgs {
			switch {
			case m.Header.Seq != n.seq:
			case m.Header.Type == unix.NLMSG_DONE:
				return out, nil
			case m.Header.Type == unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					if errno := -int32(e.Uint32(m.Data)); errno != 0 {
						return nil, syscall.Errno(errno)
					}
				}
				return out, nil
			default:
				out = append(out, m)
			}
		}
	}
}

// links are the interfaces, by name.
func (n *netlink) links() (map[string]int, error) {
	msgs, err := n.do(unix.RTM_GETLINK, unix.NLM_F_DUMP, linkMessage(0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	out := make(map[string]int)
	for i := range msgs {
		attrs, err := syscall.ParseNetlinkRouteAttr(&msgs[i])
		if err != nil {
			return nil, fmt.Errorf("list the interfaces: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				out[unix.ByteSliceToString(a.Value)] = int(binary.NativeEndian.Uint32(msgs[i].Data[4:]))
			}
		}
	}
	return out, nil
}

// addresses are the requests that give an interface its addresses anew.
func (n *netlink) addresses(index int) ([][]byte, error) {
	msgs, err := n.do(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	var out [][]byte
	for i := range msgs {
		d := msgs[i].Data // struct ifaddrmsg: family, prefixlen, flags, scope, index
		if len(d) < unix.SizeofIfAddrmsg || int(binary.NativeEndian.Uint32(d[4:])) != index ||
			d[2]&unix.IFA_F_PERMANENT == 0 || d[3] != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&msgs[i])
		if err != nil {
			return nil, fmt.Errorf("list the addresses: %w", err)
		}
		again := slices.Clone(d[:unix.SizeofIfAddrmsg])
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFA_LOCAL, unix.IFA_ADDRESS, unix.IFA_BROADCAST, unix.IFA_FLAGS:
				again = appendAttr(again, a.Attr.Type, a.Value)
			}
		}
		out = append(out, again)
	}
	return out, nil
}

// linkMessage lays out struct ifinfomsg.
func linkMessage(index int, flags, change uint32) []byte {
	e := binary.NativeEndian
	b := make([]byte, 4, unix.SizeofIfInfomsg)
	b = e.AppendUint32(b, uint32(index))
	b = e.AppendUint32(b, flags)
	return e.AppendUint32(b, change)
}

// appendAttr adds an attribute, padded to four bytes as the next one wants it.
func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}
