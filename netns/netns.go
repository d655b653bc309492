// Package netns is how a container talks: what its side of a network looks like,
// which ports of the host lead to it, who answers its questions about names, and
// the drivers that carry its packets. It knows nothing of containers: a driver is
// given a network device in a namespace that somebody else has made.
package netns

import (
	"net"
	"net/netip"
	"os"
)

// Driver carries the packets of one network namespace to the outside, and back.
// It is made with what the namespace's side is to look like (Config), so that
// this can be set up before anything else, and printed.
type Driver interface {
	// Listen takes the ports of the host, or fails as a whole; what comes in
	// waits until Attach. It returns them with the numbers that were chosen.
	Listen(ports []Port) ([]Port, error)
	// Publish takes one more, at any time, and Unpublish gives one back; false: it
	// was not published.
	Publish(p Port) (Port, error)
	Unpublish(p Port) bool
	// Attach begins to serve the namespace. The device is the driver's from then on.
	Attach(device *os.File) error
	// Close ends all connections; the device goes, and with it its interface.
	// It is called once.
	Close() error
}

// Config is the container's side of a network: what its interface is given.
type Config struct {
	Interface string
	MTU       int
	// IPv4 and IPv6 are its addresses, with the length of the network; IPv6 is
	// the zero Prefix where there is none.
	IPv4, IPv6 netip.Prefix
	// Gateway is the host as the container sees it, and DNS who answers
	// questions there; each once for either family.
	Gateway4, Gateway6 netip.Addr
	DNS4, DNS6         netip.Addr
	// HostLoopback lets the gateway's address lead to the host's own loopback.
	HostLoopback bool
	// Internal leads nowhere but to other containers.
	Internal bool
	// MAC is the hardware address of its interface; the zero MAC without one: then it
	// carries packets without an Ethernet header.
	MAC MAC
}

// MAC is a hardware address.
type MAC [6]byte

// String is as it is written: "" without one.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// Lan is a network between containers, as one of them sees it: its addresses, and
// which it has itself, with the names that mean it. One with both families is two.
type Lan struct {
	Prefix netip.Prefix
	Own    netip.Addr
	Names  []string
}

// Gateway is the gateway's address in the family of a.
func (c Config) Gateway(a netip.Addr) netip.Addr {
	if a.Is4() {
		return c.Gateway4
	}
	return c.Gateway6
}

// Address is the container's address in the family of a; the zero Addr without one.
func (c Config) Address(a netip.Addr) netip.Addr {
	if a.Is4() {
		return c.IPv4.Addr()
	}
	return c.IPv6.Addr()
}

// HostNames are what containers call the host: podman's name and docker's.
var HostNames = []string{"host.containers.internal", "host.docker.internal"}
