package netns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Port is a port of the host's that leads to one of the container's.
type Port struct {
	Protocol  string     // tcp or udp
	HostIP    netip.Addr // the zero Addr: all of the host's
	Host      uint16     // 0: one that is free
	Container uint16
}

// String is the port as docker and podman print it.
func (p Port) String() string {
	host := p.Address()
	return fmt.Sprintf("%s->%d/%s", host, p.Container, p.Protocol)
}

// Address is the host's side.
func (p Port) Address() string {
	ip := "0.0.0.0"
	if p.HostIP.IsValid() {
		ip = p.HostIP.String()
	}
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	return ip + ":" + strconv.Itoa(int(p.Host))
}

// PortError is a word of --publish that says nothing.
type PortError struct {
	Word, Why, Help string
}

func (e *PortError) Error() string { return "--publish " + e.Word + ": " + e.Why }

// Hint is what to type instead; "" for none.
func (e *PortError) Hint() string { return e.Help }

// ParsePorts reads words of docker's and podman's --publish,
// [[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL].
func ParsePorts(words []string) ([]Port, error) {
	var out []Port
	for _, word := range words {
		ports, err := parsePort(word)
		if err != nil {
			return nil, err
		}
		out = append(out, ports...)
	}
	return out, checkTwice(out)
}

func parsePort(word string) ([]Port, error) {
	refuse := func(why string, args ...any) ([]Port, error) {
		return nil, &PortError{word, fmt.Sprintf(why, args...), "it is [IP:][HOST:]CONTAINER, for example 8080:80 or 127.0.0.1:8080:80/tcp"}
	}
	rest, protocol, _ := strings.Cut(word, "/")
	switch protocol {
	case "tcp", "udp":
	case "":
		if strings.HasSuffix(word, "/") {
			return refuse("the protocol is missing")
		}
		protocol = "tcp"
	case "sctp":
		return nil, &PortError{word, "SCTP is not carried by a network in user space", "tcp and udp are"}
	default:
		return nil, &PortError{word, fmt.Sprintf("%q is not a protocol", protocol), "there are tcp and udp"}
	}
	ip, host, ctr, err := splitPort(rest)
	if err != nil {
		return refuse("%v", err)
	}
	c0, c1, err := portRange(ctr)
	if err != nil || c0 == 0 {
		return refuse("%q is not a port of the container", ctr)
	}
	var h0, h1 uint16
	if host != "" {
		if h0, h1, err = portRange(host); err != nil {
			return refuse("%q is not a port of the host", host)
		}
	}
	var ports []Port
	switch {
	case h0 == 0 && h1 == 0:
	case h1-h0 != c1-c0:
		return refuse("the ranges have %d and %d ports", int(h1-h0)+1, int(c1-c0)+1)
	}
	for i := range int(c1-c0) + 1 {
		p := Port{Protocol: protocol, HostIP: ip, Container: c0 + uint16(i)}
		if h0 != 0 {
			p.Host = h0 + uint16(i)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// splitPort takes IP:HOST:CONTAINER apart.
func splitPort(s string) (ip netip.Addr, host, ctr string, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return ip, "", s, nil
	}
	ctr, s = s[i+1:], s[:i]
	i = strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return ip, s, ctr, nil
	}
	host, s = s[i+1:], s[:i]
	if s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"); s == "" {
		return ip, host, ctr, nil
	}
	if ip, err = netip.ParseAddr(s); err != nil || ip.Zone() != "" {
		return ip, "", "", fmt.Errorf("%q is not an IP address", s)
	}
	return ip.Unmap(), host, ctr, nil
}

func portRange(s string) (from, to uint16, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if !ranged {
		b = a
	}
	x, err1 := strconv.ParseUint(a, 10, 16)
	y, err2 := strconv.ParseUint(b, 10, 16)
	if err := cmp.Or(err1, err2); err != nil {
		return 0, 0, err
	}
	if y < x || ranged && x == 0 {
		return 0, 0, fmt.Errorf("a range from %d to %d", x, y)
	}
	return uint16(x), uint16(y), nil
}

// checkTwice fails where two entries want one port of the host.
func checkTwice(ports []Port) error {
	for i, p := range ports {
		if p.Host == 0 {
			continue
		}
		if slices.ContainsFunc(ports[:i], func(q Port) bool {
			return q.Host == p.Host && q.Protocol == p.Protocol && SameHost(q.HostIP, p.HostIP)
		}) {
			return &PortError{fmt.Sprintf("%s/%s", p.Address(), p.Protocol), "it is published twice", ""}
		}
	}
	return nil
}

// SameHost says whether sockets with these addresses of the host cannot have the same
// port: the zero Addr is all addresses, 0.0.0.0 and :: are all of their families.
func SameHost(a, b netip.Addr) bool {
	return a == b || !a.IsValid() || !b.IsValid() || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// ListenError is a port of the host's that could not be had.
type ListenError struct {
	Port Port
	Err  error
}

func (e *ListenError) Error() string {
	why := e.Err.Error()
	var errno syscall.Errno
	if errors.As(e.Err, &errno) {
		switch errno {
		case syscall.EADDRINUSE:
			why = "it is taken"
		case syscall.EADDRNOTAVAIL:
			why = "the host has no such address"
		case syscall.EACCES:
			why = "only root may use it"
		default:
			why = errno.Error()
		}
	}
	return fmt.Sprintf("publish %s/%s: %s", e.Port.Address(), e.Port.Protocol, why)
}

func (e *ListenError) Unwrap() error { return e.Err }
