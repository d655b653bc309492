package userns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SendFD sends what the register holds over a socket, whose descriptor is a number
// or in a register.
func (p *Program) SendFD(label string, sock any, fd Reg) {
	oob := p.Bytes(make([]byte, unix.CmsgSpace(4)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	p.Poke(oob[unix.CmsgLen(0):], fd)
	payload := p.Bytes([]byte{0})
	iov := p.Bytes(make([]byte, unsafe.Sizeof(unix.Iovec{})))
	v := (*unix.Iovec)(unsafe.Pointer(&iov[0]))
	v.Base = &payload[0]
	v.SetLen(1)
	msg := p.Bytes(make([]byte, unsafe.Sizeof(unix.Msghdr{})))
	m := (*unix.Msghdr)(unsafe.Pointer(&msg[0]))
	m.Iov, m.Control = v, &oob[0]
	m.SetIovlen(1)
	m.SetControllen(len(oob))
	p.Call(label, unix.SYS_SENDMSG, sock, msg, unix.MSG_NOSIGNAL)
}

// Socket is what kind of socket is wanted: its family, its type, and whether it may
// have addresses that are not its network's (ip(7) IP_TRANSPARENT).
type Socket struct {
	Family, Type int
	Transparent  bool
}

// Place is a network namespace, and the user namespace that it belongs to; nil is
// the caller's own.
type Place struct {
	User, Net *os.File
}

// Close closes both.
func (l Place) Close() {
	for _, f := range []*os.File{l.User, l.Net} {
		if f != nil {
			f.Close()
		}
	}
}

// TransparentMark is what packets of transparent sockets are marked with, and the
// number of the routing table that their answers are found by, see Transparent.
const TransparentMark = 0x6f72

// enter begins a program with the steps into the place.
func (l Place) enter(p *Program) {
	p.Call("hide from the namespace's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if l.User != nil {
		p.Call("join the user namespace", unix.SYS_SETNS, l.User.Fd(), unix.CLONE_NEWUSER)
	}
	p.Call("join the network namespace", unix.SYS_SETNS, l.Net.Fd(), unix.CLONE_NEWNET)
}

// Sockets makes n sockets there, which do not block. They stay in that network, whoever
// uses them; to make them takes a process that goes in. (No os.File: that would try
// to wait for them, and give no descriptor that does not block.)
func (l Place) Sockets(kind Socket, n int) (out []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range out {
				_ = unix.Close(fd)
			}
			out, err = nil, fmt.Errorf("make a socket in the container's network: %w", err)
		}
	}()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	p := &Program{}
	l.enter(p)
	reg := p.NewReg()
	one := p.Bytes([]byte{1, 0, 0, 0})
	mark := p.Bytes([]byte{TransparentMark & 0xff, TransparentMark >> 8, 0, 0})
	for range n {
		p.Call("make a socket", unix.SYS_SOCKET, kind.Family, kind.Type|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0).To(reg)
		if kind.Transparent {
			level, name := unix.SOL_IP, unix.IP_TRANSPARENT
			if kind.Family == unix.AF_INET6 {
				level, name = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
			}
			p.Call("let it have any address", unix.SYS_SETSOCKOPT, reg, level, name, one, 4)
			p.Call("mark its packets", unix.SYS_SETSOCKOPT, reg, unix.SOL_SOCKET, unix.SO_MARK, mark, 4)
		}
		p.SendFD("send it", theirs.Fd(), reg)
		p.Call("close it", unix.SYS_CLOSE, reg)
	}
	err = l.carryOut(p, func() error {
		theirs.Close()
		for range n {
			fd, err := receiveFD(ours)
			if err != nil {
				return err
			}
			out = append(out, fd)
		}
		return nil
	})
	return out, err
}

// carryOut runs the program, and meanwhile what receives from it.
func (l Place) carryOut(p *Program, meanwhile func() error) error {
	p.Report("done", reportDone)
	p.Call("end", unix.SYS_EXIT_GROUP, 0)
	child, err := Start(p, 0)
	if err != nil {
		return err
	}
	if err = child.Release(); err == nil {
		err = meanwhile()
	}
	if told := child.Await(reportDone); told != nil {
		child.Abort()
		return told // says which step failed
	}
	_, _, werr := child.Wait()
	child.Close()
	return errors.Join(err, werr)
}

const reportDone = 9

func receiveFD(sock *os.File) (int, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		_, n, _, _, err := unix.Recvmsg(int(sock.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, err
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(msgs) != 1 {
			return -1, errors.New("the process that makes it has ended")
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			return -1, errors.New("no descriptor came")
		}
		return fds[0], nil
	}
}

// Transparent makes the place one in which connections from foreign addresses can be
// made: what answers a packet with the mark has the mark, too, and is delivered there
// whatever its address. Without it answers would go out by the default route.
func (l Place) Transparent() error {
	p := &Program{}
	l.enter(p)
	reg := p.NewReg()
	for _, name := range []string{
		"/proc/sys/net/ipv4/tcp_fwmark_accept", // connections, of both families
		"/proc/sys/net/ipv4/fwmark_reflect",    // refusals: where nobody listens there is no socket to have a mark
		"/proc/sys/net/ipv6/fwmark_reflect",
	} {
		next := p.NewSpot()
		open := p.Call("mark what answers a marked packet", unix.SYS_OPENAT, ^uintptr(99), name, unix.O_WRONLY|unix.O_CLOEXEC, 0).To(reg)
		if strings.Contains(name, "ipv6") { // a host without it
			open.Catch(unix.ENOENT, next)
		}
		p.Call("mark what answers a marked packet", unix.SYS_WRITE, reg, p.Bytes([]byte("1")), 1)
		p.Call("close it", unix.SYS_CLOSE, reg)
		p.Mark(next)
	}
	p.Call("ask for rules", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE).To(reg)
	answer := p.Bytes(make([]byte, 1024))
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		next := p.NewSpot()
		for _, msg := range [][]byte{markRoute(family), markRule(family)} {
			call := p.Call("route what has the mark", unix.SYS_SENDTO, reg, p.Bytes(msg), uintptr(len(msg)), 0, 0, 0)
			got := p.Call("route what has the mark", unix.SYS_RECVFROM, reg, answer, uintptr(len(answer)), 0, 0, 0)
			if family == unix.AF_INET6 { // a host without it
				call.Catch(0, next)
				got.Catch(0, next)
			}
		}
		p.Mark(next)
	}
	if err := l.carryOut(p, func() error { return nil }); err != nil {
		return fmt.Errorf("have the container see its clients' addresses: %w", err)
	}
	return nil
}

// markRoute is "ip route add local default dev lo table MARK", as rtnetlink(7) has it.
func markRoute(family byte) []byte {
	body := []byte{family, 0, 0, 0, unix.RT_TABLE_UNSPEC, unix.RTPROT_STATIC, unix.RT_SCOPE_HOST, unix.RTN_LOCAL, 0, 0, 0, 0}
	body = attribute32(body, unix.RTA_TABLE, TransparentMark)
	body = attribute32(body, unix.RTA_OIF, 1) // lo is the first of every namespace
	return request(unix.RTM_NEWROUTE, body)
}

// markRule is "ip rule add fwmark MARK table MARK": struct fib_rule_hdr.
func markRule(family byte) []byte {
	body := []byte{family, 0, 0, 0, unix.RT_TABLE_UNSPEC, 0, 0, unix.FR_ACT_TO_TBL, 0, 0, 0, 0}
	body = attribute32(body, unix.FRA_FWMARK, TransparentMark)
	body = attribute32(body, unix.FRA_TABLE, TransparentMark)
	body = attribute32(body, unix.FRA_PRIORITY, 100)
	return request(unix.RTM_NEWRULE, body)
}

func attribute32(b []byte, kind uint16, value uint32) []byte {
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, kind)
	return binary.NativeEndian.AppendUint32(b, value)
}

func request(kind uint16, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	return append(append(b, make([]byte, 8)...), body...)
}

// wordOf is the word that two halves make in memory.
func wordOf(a, b uint32) uint64 {
	return binary.NativeEndian.Uint64(binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, a), b))
}
