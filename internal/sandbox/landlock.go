package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"coracle/spec"

	"golang.org/x/sys/unix"
)

// The rights of Landlock, as they came: with each version of its ABI more is handled.
const (
	mayRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	mayMake = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	mayNever = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	mayWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	mayAll   = mayRead | mayMake | mayWrite
)

// The least version that is used: the one before can move no file from one directory
// to another, whatever its rules.
const leastLandlock = 2

// handled is what a version restricts; scoped likewise, of what is no file.
func handled(abi int) (files, scoped uint64) {
	files = mayRead | mayMake | mayNever | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	if abi >= 3 {
		files |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return files, scoped
}

// Landlock says the plan once more, in rules that do not depend on mounts: all may be
// read, and written to what is in memory, copy-on-write or given. What is read-only
// within something writable only the mounts hold: rules of a directory and of one in it
// are added up. Ports are part of it where the command's own loopback is closed to it: a
// rule knows no address.
func (pl *Plan) Landlock() spec.Landlock {
	if pl.facts.Landlock < leastLandlock {
		return spec.Landlock{}
	}
	var l spec.Landlock
	l.Handled, l.Scoped = handled(pl.facts.Landlock)
	allow := func(path string, access uint64) {
		l.Rules = append(l.Rules, spec.LandlockRule{Path: path, Access: access & l.Handled})
	}
	root := uint64(mayRead)
	if pl.Root != HostRoot {
		root = mayAll // in memory; what is the host's is bound into it
	}
	allow("/", root)
	allow("/proc", mayWrite)
	allow("/dev", mayWrite|unix.LANDLOCK_ACCESS_FS_IOCTL_DEV)
	allow("/dev/shm", mayAll)
	for _, at := range pl.Places {
		switch at.Kind {
		case KindTmpfs, KindRW, KindOverlay:
			allow(at.Path, mayAll)
		}
	}
	l.Net, l.Ports = pl.landlockPorts()
	return l
}

// leastPorts is the version that knows of TCP's ports.
const leastPorts = 4

// landlockPorts is what the loopback's being closed leaves of TCP: to listen nowhere, and
// to connect where the network's rules can lead.
func (pl *Plan) landlockPorts() (net uint64, ports []uint16) {
	switch {
	case pl.Network.Loopback != DenyLoopback || pl.facts.Landlock < leastPorts:
		return 0, nil
	case pl.Network.AllPorts:
		return unix.LANDLOCK_ACCESS_NET_BIND_TCP, nil
	}
	return unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, pl.Network.Ports
}

// ClosesPort says whether Landlock refuses to connect to a port.
func (pl *Plan) ClosesPort(port uint16) bool {
	net, ports := pl.landlockPorts()
	return net&unix.LANDLOCK_ACCESS_NET_CONNECT_TCP != 0 && !slices.Contains(ports, port)
}

// ClosesBind says whether Landlock refuses to listen.
func (pl *Plan) ClosesBind() bool {
	net, _ := pl.landlockPorts()
	return net != 0
}

// PortsUnheld is why the ports are held by the network alone; "" where they are not, or
// nobody asked.
func (pl *Plan) PortsUnheld() string {
	switch abi := pl.facts.Landlock; {
	case pl.Network.Loopback != DenyLoopback || abi >= leastPorts:
		return ""
	case abi == 0:
		return "this kernel has no Landlock, or does not let us use it"
	default:
		return fmt.Sprintf("version %d of Landlock knows no ports", abi)
	}
}

// portRules are what holds where the loopback is closed.
func (pl *Plan) portRules() []Rule {
	if pl.Network.Loopback != DenyLoopback {
		return nil
	}
	what, how := "it listens at no port of TCP, and connects to none", fmt.Sprintf("Landlock, version %d", pl.facts.Landlock)
	switch n := pl.Network; {
	case n.AllPorts:
		what = "it listens at no port of TCP"
	case len(n.Ports) > 0:
		words := make([]string, len(n.Ports))
		for i, p := range n.Ports {
			words[i] = strconv.Itoa(int(p))
		}
		what += " but " + strings.Join(words, ", ")
	}
	if why := pl.PortsUnheld(); why != "" {
		how = "nothing: " + why
	}
	return []Rule{{"nobody can be connected to on its own loopback", "the interface is down"}, {what + ", also by another way than that", how}}
}

func (pl *Plan) landlockRule() Rule {
	const what = "what is read-only stays so, also by another way than these mounts"
	switch abi := pl.facts.Landlock; {
	case abi == 0:
		return Rule{what, "nothing: this kernel has no Landlock, or does not let us use it"}
	case abi < leastLandlock:
		return Rule{what, fmt.Sprintf("nothing: version %d of Landlock could not move files between directories", abi)}
	default:
		return Rule{what, fmt.Sprintf("Landlock, version %d", abi)}
	}
}
