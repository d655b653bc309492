package denial

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Dial is an internet address that a command wants to connect to, or to listen at.
type Dial struct {
	IP     string // "" for a port of the loopback that only the host has
	Port   uint16
	TCP    bool
	Own    bool // it is of the sandbox's own loopback
	Listen bool
}

// connect says whom connect(2) is for; nil for nobody of interest.
func (t task) connect(args [6]uint64) func() {
	size := min(args[2], unix.SizeofSockaddrAny)
	const family = 2
	addr, ok := t.memory(args[1], max(int(size), family))
	if !ok || len(addr) < family {
		return nil
	}
	switch binary.NativeEndian.Uint16(addr) {
	case unix.AF_UNIX:
		return t.connectUnix(addr[family:])
	case unix.AF_INET, unix.AF_INET6:
		return t.connectIP(addr, args[0])
	}
	return nil
}

func (t task) connectUnix(name []byte) func() {
	if len(name) == 0 {
		return nil
	}
	if name[0] == 0 { // of the network's, not of the file system's
		if abstract := string(name[1:]); t.hostAbstract(abstract) {
			return func() { t.l.Named(abstract) }
		}
		return nil
	}
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	full := string(name)
	if full[0] != '/' {
		base, ok := t.link("cwd")
		if !ok {
			return nil
		}
		full = base + "/" + full
	}
	a := Access{Action: Connect}
	if !t.resolve(&a, full, false) {
		return nil
	}
	return func() { t.l.Tried(a) }
}

func (t task) connectIP(addr []byte, fd uint64) func() {
	ip, port, ok := internet(addr)
	if !ok || port == 0 {
		return nil
	}
	d := Dial{IP: ip.String(), Port: port, TCP: true}
	if t.l.Closed {
		d.TCP = t.isTCP(fd)
	}
	if ip.IsLoopback() || ip.IsUnspecified() {
		d.Own = true
		switch {
		case t.hostPort(port):
			d.IP = ""
		case !t.l.Closed:
			return nil
		}
	}
	return func() { t.l.Dialled(d) }
}

// bind says at which port bind(2) is for listening; nil where nobody wants to know.
func (t task) bind(args [6]uint64) func() {
	if !t.l.Closed {
		return nil
	}
	addr, ok := t.memory(args[1], int(min(args[2], unix.SizeofSockaddrAny)))
	if !ok || len(addr) < 2 {
		return nil
	}
	ip, port, ok := internet(addr)
	if !ok {
		return nil
	}
	d := Dial{IP: ip.String(), Port: port, TCP: t.isTCP(args[0]), Own: ip.IsLoopback(), Listen: true}
	return func() { t.l.Dialled(d) }
}

// internet reads a struct sockaddr_in or sockaddr_in6.
func internet(addr []byte) (ip netip.Addr, port uint16, ok bool) {
	const v4, v6 = 8, 24
	family := binary.NativeEndian.Uint16(addr)
	switch {
	case family == unix.AF_INET && len(addr) >= v4:
		ip, ok = netip.AddrFromSlice(addr[4:v4])
	case family == unix.AF_INET6 && len(addr) >= v6:
		ip, ok = netip.AddrFromSlice(addr[8:v6])
	}
	if !ok {
		return ip, 0, false
	}
	return ip.Unmap(), binary.BigEndian.Uint16(addr[2:]), true
}

// isTCP looks at a socket of the task's; where it cannot, it takes it for one of TCP.
func (t task) isTCP(fd uint64) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(t.pid) + "/status")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(status), "\nTgid:\t")
	word, _, _ := strings.Cut(rest, "\n")
	process, err := strconv.Atoi(word)
	if err != nil {
		return true
	}
	pidfd, err := unix.PidfdOpen(process, 0)
	if err != nil {
		return true
	}
	defer unix.Close(pidfd)
	socket, err := unix.PidfdGetfd(pidfd, int(uint32(fd)), 0)
	if err != nil {
		return true
	}
	defer unix.Close(socket)
	kind, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE)
	return err != nil || kind == unix.SOCK_STREAM
}
