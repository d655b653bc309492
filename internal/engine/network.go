package engine

import (
	"errors"
	"strings"

	"coracle/netns"
	"coracle/netns/builtin"
	"coracle/spec"
)

// NetworkOptions say how a container with a network of its own is reached.
type NetworkOptions struct {
	IP         string   `json:",omitempty"` // --ip
	Publish    []string `json:",omitempty"` // --publish
	PublishAll bool     `json:",omitempty"` // --publish-all
}

// network is what connects one container with the outside, from this process.
type network struct {
	config netns.Config
	ports  []netns.Port // that were asked for
	driver netns.Driver // nil while it is not connected
}

// defaultNetwork is what a container has that nobody asked about. Records without a
// word are of versions that had no default: none is what those have.
const defaultNetwork = "private"

// ownNetwork says whether a value of --network means a network of the container's
// own in user space, and with which options.
func ownNetwork(mode string) (options string, own bool) {
	name, options, _ := strings.Cut(mode, ":")
	return options, name == "private" && options == "" || name == "builtin"
}

// planNetwork reads the options; no network is nil.
func planNetwork(o RunOptions) (*network, error) {
	options, own := ownNetwork(o.Network)
	if !own {
		return nil, refuseNetworkOptions(o)
	}
	n := &network{}
	var err error
	if n.config, err = netns.ParseOptions(options, o.IP); err != nil {
		op := "--network " + o.Network
		if wrong := new(netns.OptionError); errors.As(err, &wrong) && wrong.Option == "--ip" {
			op = ""
		}
		return nil, hinted(op, err)
	}
	if n.ports, err = netns.ParsePorts(o.Publish); err != nil {
		return nil, hinted("", err)
	}
	return n, nil
}

// refuseNetworkOptions is for a container without a network of its own.
func refuseNetworkOptions(o RunOptions) error {
	flag := ""
	switch {
	case len(o.Publish) > 0:
		flag = "--publish " + o.Publish[0]
	case o.PublishAll:
		flag = "--publish-all"
	case o.IP != "":
		flag = "--ip " + o.IP
	default:
		return nil
	}
	why, help := "the container has no network", "leave --network out, or use --network private"
	switch {
	case o.Network == "host":
		why, help = "the container has the host's network, and all ports that it listens on", "leave it out, or use --network private"
	case strings.HasPrefix(o.Network, ofContainer):
		why, help = "the container has the network of another", "give it to that container"
	}
	return &Error{Op: flag, Err: errors.New(why), Help: help}
}

// hinted takes an error's hint along.
func hinted(op string, err error) error {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return &Error{Op: op, Err: err, Help: h.Hint()}
	}
	return &Error{Op: op, Err: err}
}

// tun is the container's side.
func (n *network) tun() *spec.Tun {
	if n == nil {
		return nil
	}
	c := n.config
	t := &spec.Tun{
		Name: c.Interface, MTU: c.MTU, IPv4: c.IPv4.Addr().As4(), Gw4: c.Gateway4.As4(), Bits4: c.IPv4.Bits(),
		Address: c.IPv4.Addr().String(), Gateway: c.Gateway4.String(), ResolvConf: "nameserver " + c.DNS4.String() + "\n",
	}
	if c.IPv6.IsValid() {
		t.IPv6, t.Gw6, t.Bits6 = c.IPv6.Addr().As16(), c.Gateway6.As16(), c.IPv6.Bits()
	}
	return t
}

// publishAll adds the ports that the image exposes, and --expose names.
func (n *network) publishAll(exposed []string) error {
	for _, word := range exposed {
		ports, err := netns.ParsePorts([]string{word})
		if err != nil {
			return hinted("--publish-all", err)
		}
		n.ports = append(n.ports, ports...)
	}
	return nil
}

// tun is what the first process makes. A monitor plans the network here, anew for
// each start.
func (r *run) tun() (*spec.Tun, error) {
	r.disconnect()
	var err error
	if r.net, err = planNetwork(r.o); r.net == nil {
		return nil, err
	}
	if r.o.PublishAll {
		err = r.net.publishAll(r.result.Ports)
	}
	return r.net.tun(), err
}

// connect takes the host's ports, before anything of the container runs.
func (r *run) connect() error {
	if r.net == nil {
		return nil
	}
	driver := builtin.New(r.net.config)
	ports, err := driver.Listen(r.net.ports)
	if err != nil {
		return r.e.explainListen(err)
	}
	r.net.driver, r.box.Ports = driver, ports
	return nil
}

// attach has the packets carried, from the payload's first on.
func (r *run) attach(p *spec.Process) error {
	if r.net == nil {
		return nil
	}
	dev := p.Tun
	p.Tun = nil
	if dev == nil {
		return errors.New("start the network: the container's interface did not come")
	}
	return r.net.driver.Attach(dev)
}

// disconnect ends the network; the ports are free then.
func (r *run) disconnect() {
	if r.net != nil && r.net.driver != nil {
		_ = r.net.driver.Close()
		r.net.driver = nil
	}
}
