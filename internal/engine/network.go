package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"coracle/netns"
	"coracle/netns/builtin"
	"coracle/netns/egress"
	"coracle/netns/forward"
	"coracle/netns/helper"
	"coracle/netns/mesh"
	"coracle/spec"
	"coracle/userns"
)

// NetworkOptions say how a container with a network of its own is reached.
type NetworkOptions struct {
	IP         string   `json:",omitempty"` // --ip
	IP6        string   `json:",omitempty"` // --ip6
	MAC        string   `json:",omitempty"` // --mac-address
	Publish    []string `json:",omitempty"` // --publish
	PublishAll bool     `json:",omitempty"` // --publish-all
	EgressOptions
	Aliases  []string `json:",omitempty"` // --network-alias
	Networks []string `json:",omitempty"` // further words of --network: names of networks
	// Left is the network that it was made with, once it has left it.
	Left *LeftNetwork `json:",omitempty"`
}

// LeftNetwork is what a container still knows of a network that it has left: the
// gateway and the name server that its /etc/hosts and /etc/resolv.conf name stay.
type LeftNetwork struct {
	Subnet, Subnet6 netip.Prefix
	MTU             int
}

// network is what connects one container with the outside, from this process.
type network struct {
	id      string // of the container
	kind    string // of driver
	config  netns.Config
	ports   []netns.Port  // that were asked for
	driver  netns.Driver  // nil while it is not connected
	inside  *maker        // of sockets in the container's network, for published ports; nil without
	traffic *traffic      // of published ports; nil without
	rules   *egress.Rules // nil: all may go out
	guard   guard
	proxy   bool // it serves one, too

	name   string                // of the one that it was made with, if containers share it; "" for none
	home   string                // of the one whose addresses are the interface's first; "" for none
	shared []Network             // all of those that it is part of
	lans   []netns.Lan           // all of those that it is part of
	meshes map[string]*mesh.Mesh // by the networks' names
	device *os.File              // of the container, for further ones; nil without
}

// Kinds of drivers. A network that somebody else has made (ns:PATH) has ports only.
const (
	kindBuiltin = "builtin"
	kindJoined  = "ns"
)

// defaultNetwork is what a container has that nobody asked about. Records without a
// word are of versions that had no default: none is what those have.
const defaultNetwork = "private"

// networkMode takes a value of --network apart; own says whether it means a network
// of the container's own in user space.
func networkMode(mode string) (kind, options string, own bool) {
	kind, options, _ = strings.Cut(mode, ":")
	switch kind {
	case defaultNetwork:
		return kindBuiltin, "", options == ""
	case kindBuiltin, helper.Slirp4netns, helper.Pasta:
		return kind, options, true
	}
	return kind, options, false
}

// planNetwork is the network of a container; nil without.
func (e *Engine) planNetwork(o RunOptions, id string) (*network, error) {
	n, err := e.planFirst(o, id)
	if err == nil && n != nil && n.kind == kindBuiltin {
		n.id = id
		n.settle(e.networksOf(id))
	}
	return n, err
}

// planFirst is the one that the container is made with.
func (e *Engine) planFirst(o RunOptions, id string) (*network, error) {
	if named(o.Network) {
		return e.planNamed(o, id)
	}
	if len(o.Aliases) > 0 && len(o.Networks) == 0 {
		return nil, &Error{Op: "--network-alias " + o.Aliases[0], Err: errors.New("only in a network that containers share others could ask for it"), Help: "make one: coracle network create NAME; then --network NAME"}
	}
	return planNetwork(o)
}

// planNetwork reads the options of one that containers do not share; no network is nil.
func planNetwork(o RunOptions) (*network, error) {
	kind, options, own := networkMode(o.Network)
	if named(o.Network) {
		return nil, &Error{Op: "--network " + o.Network, Err: errRules, Help: "--network private, or leave the rules out"}
	}
	if !own && kind != kindJoined {
		return nil, refuseNetworkOptions(o)
	}
	n := &network{kind: kind}
	var err error
	if own {
		if n.config, err = netns.ParseOptions(options, o.IP); err != nil {
			op := "--network " + o.Network
			if wrong := new(netns.OptionError); errors.As(err, &wrong) && wrong.Option == "--ip" {
				op = ""
			}
			return nil, hinted(op, err)
		}
		if err := chooseIPv6(o, &n.config); err != nil {
			return nil, err
		}
		if err := chooseMAC(o, &n.config); err != nil {
			return nil, err
		}
	} else if flag := o.addressFlag(); flag != "" {
		return nil, &Error{Op: flag, Err: errors.New("the container has a network that is there already, and its addresses"), Help: "leave it out"}
	}
	if kind == kindBuiltin {
		n.rules, err = planEgress(o, &n.config)
	} else {
		err = refuseEgress(o)
	}
	if err != nil {
		return nil, err
	}
	if n.ports, err = netns.ParsePorts(o.Publish); err != nil {
		return nil, hinted("", err)
	}
	return n, n.check(o)
}

// check fails where the driver cannot be had.
func (n *network) check(o RunOptions) error {
	if n.kind != helper.Slirp4netns && n.kind != helper.Pasta {
		return nil
	}
	op := "--network " + o.Network
	if _, err := helper.New(n.kind, n.config); err != nil {
		return hinted(op, err)
	}
	if n.kind == helper.Slirp4netns && (o.IP6 != "" || o.IP != "" && o.IP != n.config.DefaultIPv4().String()) {
		return &Error{Op: o.addressFlag(), Err: errors.New("slirp4netns chooses the address itself"), Help: "leave it out, or use --network private or pasta"}
	}
	for _, s := range o.shares() {
		if s.flag != "--network" && s.owner() != "" || s.flag == "--pid" && *s.value == "host" {
			return &Error{Op: op, Err: fmt.Errorf("with %s %s only private, none and host can be had", s.flag, *s.value), Help: "--network private"}
		}
	}
	return nil
}

// refuseNetworkOptions is for a container without a network of its own.
func refuseNetworkOptions(o RunOptions) error {
	if err := refuseEgress(o); err != nil {
		return err
	}
	flag := ""
	switch {
	case len(o.Publish) > 0:
		flag = "--publish " + o.Publish[0]
	case o.PublishAll:
		flag = "--publish-all"
	case o.addressFlag() != "":
		flag = o.addressFlag()
	default:
		return nil
	}
	why, help := noPorts(o.Network)
	if o.Network == "host" {
		help = "leave it out, or use --network private"
	}
	return &Error{Op: flag, Err: errors.New(why), Help: help}
}

// noPorts says why a container in a mode of --network cannot publish any.
func noPorts(mode string) (why, help string) {
	switch {
	case mode == "host":
		return "the container has the host's network, and all ports that it listens on", "make it with --network private"
	case strings.HasPrefix(mode, ofContainer):
		return "the container has the network of another", "give it to that container"
	}
	return "the container has no network", "leave --network out, or use --network private"
}

// hinted takes an error's hint along.
func hinted(op string, err error) error {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return &Error{Op: op, Err: err, Help: h.Hint()}
	}
	return &Error{Op: op, Err: err}
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

// tun is what the first process makes; nil where it makes none. A monitor plans the
// network here, anew for each start.
func (r *run) tun() (*spec.Tun, error) {
	r.disconnect()
	n, err := r.e.planNetwork(r.o, r.id)
	r.netMu.Lock()
	r.net = n
	r.netMu.Unlock()
	if n == nil || err != nil {
		return nil, err
	}
	if r.o.PublishAll {
		err = r.net.publishAll(r.result.Ports)
	}
	if r.net.kind != kindBuiltin {
		return nil, err
	}
	return r.net.tun(), err
}

// connect takes the host's ports, before anything of the container runs.
func (r *run) connect() (err error) {
	if r.net == nil {
		return nil
	}
	switch r.net.kind {
	case kindBuiltin:
		driver := builtin.New(r.net.config)
		if err := r.guard(driver); err != nil {
			return err
		}
		if r.box.dir != "" { // else it is a sandbox, which publishes nothing
			r.net.inside, r.net.traffic = &maker{open: r.openInside}, r.traffic()
			streams := forward.NewStreams()
			streams.Use(r.net.inside)
			streams.Tell(r.net.traffic.write)
			driver.Inside(streams)
		}
		if r.net.proxy {
			driver.Proxy()
		}
		r.net.driver = driver
		compiled := r.extra.Compiled
		r.extra.Compiled = func() { // little is left to do until the payload runs
			compiled()
			driver.Prepare()
		}
	case kindJoined:
		r.net.driver = forward.NewNetwork()
	default:
		h, err := helper.New(r.net.kind, r.net.config)
		if err != nil {
			return hinted("--network "+r.o.Network, err)
		}
		r.net.driver, r.extra.Network = h, func(pid int) error { return r.joinHelper(h, pid) }
	}
	r.netMu.Lock()
	defer r.netMu.Unlock()
	r.box.Ports, err = r.net.driver.Listen(r.net.ports)
	if err != nil {
		return r.e.explainListen(err)
	}
	return nil
}

// joinHelper has another program make the interface, in the namespaces of a process
// that has not begun.
func (r *run) joinHelper(h *helper.Network, pid int) error {
	place, err := openPlace(pid)
	if err != nil {
		return err
	}
	r.net.inside, r.net.traffic = &maker{opened: true, place: place}, r.traffic()
	r.netLost.Store(false)
	go r.watchNetwork(h)
	return h.Join(helper.Place{
		PID: pid, Sockets: r.net.inside, Traffic: r.net.traffic.write,
		Guard: func(pidfd *os.File) (func(), error) {
			stub, err := r.stub()
			if err != nil {
				return nil, err
			}
			g, err := userns.StartGuard(stub, pidfd)
			if err != nil {
				return nil, err
			}
			return g.Stop, nil
		},
	})
}

// watchNetwork tells when the program that carries the packets has ended before the
// container. Nothing takes its place: a container must not get another network unseen.
func (r *run) watchNetwork(h *helper.Network) {
	<-h.Lost()
	r.netMu.Lock()
	lost := r.net != nil && r.net.driver == netns.Driver(h)
	r.netMu.Unlock()
	if !lost {
		return // it was ended
	}
	r.netLost.Store(true)
	_, _ = r.e.rewrite(r.id, false, func(c *Container) { c.NetworkLost = c.Status == Running })
}

// attach has the packets carried, from the payload's first on.
func (r *run) attach(p *spec.Process) error {
	if r.net == nil {
		return nil
	}
	if r.net.traffic != nil {
		r.net.traffic.begin(r.state.Pid, r.state.StartTime)
	}
	switch r.net.kind {
	case kindBuiltin:
	case kindJoined:
		place, err := r.openJoined()
		if err != nil {
			return err
		}
		r.net.inside = &maker{opened: true, place: place, opaque: true}
		r.net.driver.(*forward.Network).Serve(r.net.inside)
		return nil
	default:
		return r.net.driver.Attach(nil)
	}
	dev := p.Tun
	p.Tun = nil
	if dev == nil {
		return errors.New("start the network: the container's interface did not come")
	}
	r.netMu.Lock()
	defer r.netMu.Unlock()
	copied, err := duplicate(dev)
	if err != nil {
		return fmt.Errorf("start the network: %w", err)
	}
	r.net.device = copied
	if err := r.meetOthers(copied); err != nil {
		dev.Close()
		return err
	}
	return r.net.driver.Attach(dev)
}

// disconnect ends the network; the ports are free then.
func (r *run) disconnect() {
	r.netMu.Lock()
	defer r.netMu.Unlock()
	if r.net != nil && r.net.driver != nil {
		for _, m := range r.net.meshes {
			m.Close()
		}
		r.net.meshes = nil
		if r.net.device != nil {
			r.net.device.Close()
			r.net.device = nil
		}
		_ = r.net.driver.Close()
		r.net.driver = nil
		if r.net.inside != nil {
			r.net.inside.close()
			r.net.inside = nil
		}
		if r.net.traffic != nil {
			r.net.traffic.close()
			r.net.traffic = nil
		}
		if err := r.net.guard.close(); err != nil {
			r.tellUser(err.Error(), "")
		}
	}
}
