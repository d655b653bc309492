package engine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// explainListen names who has the port.
func (e *Engine) explainListen(err error) error {
	var l *netns.ListenError
	if !errors.As(err, &l) {
		return err
	}
	out := &Error{Err: err}
	switch {
	case errors.Is(err, os.ErrPermission):
		out.Help = "ports from " + unprivilegedPort() + " on are everybody's: publish one of them, or ask for less: sudo sysctl net.ipv4.ip_unprivileged_port_start=" + strconv.Itoa(int(l.Port.Host))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		out.Help = "see which it has: ip addr"
	default:
		out.Help = fmt.Sprintf("see who has it: ss -lnp 'sport = :%d'; without a number a free one is chosen: -p %d", l.Port.Host, l.Port.Container)
		if who := e.publisher(l.Port); who != "" {
			out.Err = fmt.Errorf("%w, by container %s", err, who)
			out.Help = "stop that container, or publish another port"
		} else if who := holder(l.Port); who != "" {
			out.Err = fmt.Errorf("%w, by %s", err, who)
			out.Help = fmt.Sprintf("without a number a free one is chosen: -p %d", l.Port.Container)
		}
	}
	return out
}

// holder says who else on this machine has the port; "" where nobody is seen.
func holder(p netns.Port) string {
	h, ok := netns.FindHolder(p)
	switch {
	case !ok:
		return ""
	case h.PID != 0:
		return fmt.Sprintf("%s (pid %d)", h.Program, h.PID)
	}
	name := strconv.Itoa(h.UID)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return "a process of user " + name
}

// publisher is the name of the running container that has the port, "" if none has.
func (e *Engine) publisher(p netns.Port) string {
	boxes, err := e.Containers()
	if err != nil {
		return ""
	}
	for _, c := range boxes {
		for _, q := range c.Ports {
			if c.Running() && q.Host == p.Host && q.Protocol == p.Protocol && netns.SameHost(q.HostIP, p.HostIP) {
				return c.Name
			}
		}
	}
	return ""
}

// unprivilegedPort is the first port that needs no privilege.
func unprivilegedPort() string {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if text := strings.TrimSpace(string(data)); err == nil && text != "" {
		return text
	}
	return "1024"
}

// PortsOf are what the container publishes while it runs, and nothing otherwise.
func (c Container) PortsOf() []netns.Port {
	if !c.Running() {
		return nil
	}
	return c.Ports
}

// PortWords are the container's ports as ps prints them.
func (c Container) PortWords() []string {
	var out []string
	for _, p := range c.PortsOf() {
		out = append(out, p.String())
	}
	return out
}

// Ports are a container's as `port` prints them, "80/tcp -> 0.0.0.0:8080"; only, unless
// "", is the one that is asked for, "80" or "80/tcp", whose host's side is the line.
func (e *Engine) Ports(name, only string) ([]string, error) {
	c, err := e.find(name)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range c.PortsOf() {
		inside := fmt.Sprintf("%d/%s", p.Container, p.Protocol)
		switch {
		case only == "":
			out = append(out, inside+" -> "+p.Address())
		case only == inside, only+"/tcp" == inside:
			out = append(out, p.Address())
		}
	}
	return out, nil
}

func portsByContainer(ports []netns.Port) map[string][]ContainerPort {
	out := map[string][]ContainerPort{}
	for _, p := range ports {
		ip := ""
		if p.HostIP.IsValid() {
			ip = p.HostIP.String()
		}
		key := fmt.Sprintf("%d/%s", p.Container, p.Protocol)
		host := strconv.Itoa(int(p.Host))
		if p.Host == 0 {
			host = "" // docker's: any that is free
		}
		out[key] = append(out[key], ContainerPort{cmp.Or(ip, "0.0.0.0"), host})
	}
	return out
}

// asked are the ports that were asked for.
func (in inspector) asked() []netns.Port {
	ports, _ := netns.ParsePorts(in.p.Options.Publish) // they were read when the container was made
	return ports
}

// network is how it can be reached, as long as it runs.
func (in inspector) network() ContainerNetwork {
	out := ContainerNetwork{Ports: portsByContainer(in.c.PortsOf()), Networks: map[string]ContainerEndpoint{}}
	all, mac := in.e.networksOf(in.c.ID), ""
	if m, err := netns.ParseMAC("", in.p.Options.MAC); err == nil {
		mac = m.String()
	}
	for _, n := range all {
		p := n.Containers[in.c.ID]
		at := ContainerEndpoint{NetworkID: n.ID, IPAddress: p.IPv4.String(), IPPrefixLen: n.Subnet.Bits(), Gateway: n.Gateway.String(), Aliases: append([]string{}, p.Aliases...), MacAddress: mac}
		if n.Subnet6.IsValid() {
			at.GlobalIPv6Address, at.GlobalIPv6PrefixLen, at.IPv6Gateway = p.IPv6.String(), n.Subnet6.Bits(), n.Gateway6.String()
		}
		out.Networks[n.Name] = at
	}
	if named(in.c.Network) {
		place := network{id: in.c.ID, name: in.c.Network}
		place.settle(all)
		if in.c.Running() && chooseMAC(in.p.Options, &place.config) == nil {
			out.addresses(place.config)
		}
		return out
	}
	_, options, own := networkMode(in.c.Network)
	if !own || !in.c.Running() {
		return out
	}
	if c, err := netns.ParseOptions(options, in.p.Options.IP); err == nil && chooseIPv6(in.p.Options, &c) == nil && chooseMAC(in.p.Options, &c) == nil {
		out.addresses(c)
	}
	return out
}

// addresses notes those of the interface.
func (out *ContainerNetwork) addresses(c netns.Config) {
	out.MacAddress = c.MAC.String()
	if c.IPv4.IsValid() {
		out.IPAddress, out.Gateway, out.IPPrefixLen = c.IPv4.Addr().String(), netns.GatewayOf(c.IPv4).String(), c.IPv4.Bits()
	}
	if c.IPv6.IsValid() {
		out.GlobalIPv6Address, out.IPv6Gateway, out.GlobalIPv6PrefixLen = c.IPv6.Addr().String(), netns.GatewayOf(c.IPv6).String(), c.IPv6.Bits()
	}
}
