package engine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
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
		if who := e.publisher(l.Port); who != "" {
			out.Err = fmt.Errorf("%w, by container %s", err, who)
			out.Help = "stop that container, or publish another port"
		} else {
			out.Help = fmt.Sprintf("see who has it: ss -lnp 'sport = :%d'; without a number a free one is chosen: -p %d", l.Port.Host, l.Port.Container)
		}
	}
	return out
}

// publisher is the name of the running container that has the port, "" if none has.
func (e *Engine) publisher(p netns.Port) string {
	boxes, err := e.Containers()
	if err != nil {
		return ""
	}
	for _, c := range boxes {
		for _, q := range c.Ports {
			if c.Running() && q.Host == p.Host && q.Protocol == p.Protocol {
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
	out := ContainerNetwork{Ports: portsByContainer(in.c.PortsOf()), Networks: map[string]struct{}{}}
	_, options, own := networkMode(in.c.Network)
	if !own || !in.c.Running() {
		return out
	}
	if c, err := netns.ParseOptions(options, in.p.Options.IP); err == nil {
		out.IPAddress, out.Gateway, out.IPPrefixLen = c.IPv4.Addr().String(), c.Gateway4.String(), c.IPv4.Bits()
		if c.IPv6.IsValid() {
			out.GlobalIPv6Address, out.IPv6Gateway = c.IPv6.Addr().String(), c.Gateway6.String()
		}
	}
	return out
}
