package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"coracle/netns"
	"coracle/netns/builtin"
	"coracle/netns/mesh"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// named says whether a value of --network is the name of one that containers share.
func named(mode string) bool {
	kind, _, own := networkMode(mode)
	return mode != "" && mode != "none" && mode != "host" && !own && kind == mode && checkName(mode) == nil
}

// planNamed is the network of a container in a network with others.
func (e *Engine) planNamed(o RunOptions, id string) (*network, error) {
	n, p, err := e.lease(o.Network, id, o.IP, o.Aliases)
	if err != nil {
		return nil, hinted("--network "+o.Network, err)
	}
	out := &network{kind: kindBuiltin, name: n.Name}
	if out.config, err = netns.ParseOptions(fmt.Sprintf("mtu=%d,cidr=%s", n.MTU, n.Subnet), p.IPv4.String()); err != nil {
		return nil, hinted("--network "+o.Network, err)
	}
	out.config.Internal = n.Internal
	if out.rules, err = planEgress(o, &out.config); err == nil && out.rules != nil {
		_, err = planNetwork(o)
	}
	if err != nil {
		return nil, err
	}
	if out.ports, err = netns.ParsePorts(o.Publish); err != nil {
		return nil, hinted("", err)
	}
	return out, nil
}

// errRules: another container could go out for this one.
var errRules = errors.New("a container with rules for what it may reach can be in no network with others")

// duplicate is a second descriptor of a device, which the others of a network get.
func duplicate(dev *os.File) (*os.File, error) {
	raw, err := dev.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, derr := -1, error(nil)
	if err := raw.Control(func(f uintptr) { fd, derr = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, derr
	}
	return os.NewFile(uintptr(fd), "device"), nil
}

// meetOthers joins the networks that the container is part of.
func (r *run) meetOthers(dev *os.File) error {
	all := r.e.networksOf(r.id)
	if len(all) == 0 {
		return nil
	}
	for _, n := range all {
		if err := r.joinNetwork(n, dev); err != nil {
			return fmt.Errorf("join network %s: %w", n.Name, err)
		}
	}
	return nil
}

// joinNetwork joins one more. The address of the first is the interface's own.
func (r *run) joinNetwork(n Network, dev *os.File) error {
	d, ok := r.net.driver.(*builtin.Network)
	if !ok {
		return errors.New("only a container with the builtin network can be in one with others")
	}
	if r.net.rules != nil {
		return errRules
	}
	p := n.Containers[r.id]
	if n.Name != r.net.name {
		if err := r.changeAddress(userns.AddAddress, p.IPv4, n.Subnet.Bits()); err != nil {
			return err
		}
	}
	names := append([]string{r.box.Name, r.id[:12]}, p.Aliases...)
	if h := r.result.Spec.Hostname; h != "" {
		names = append(names, h)
	}
	r.net.lans = append(r.net.lans, netns.Lan{Prefix: n.Subnet, Own: p.IPv4, Names: names})
	d.Join(r.net.lans)
	copied, err := duplicate(dev)
	if err != nil {
		return err
	}
	m, err := mesh.Join(r.e.networkDoors(n.Name), mesh.Member{ID: r.id, Addr: p.IPv4, Names: names}, copied, func(m mesh.Member, device *os.File) (func(), error) {
		return d.Meet(m.Addr, m.Names, device)
	})
	if err != nil {
		return err
	}
	if r.net.meshes == nil {
		r.net.meshes = map[string]*mesh.Mesh{}
	}
	r.net.meshes[n.Name] = m
	return nil
}

// leaveNetwork is the opposite, while the container runs.
func (r *run) leaveNetwork(n Network, p Endpoint) error {
	m := r.net.meshes[n.Name]
	if m == nil {
		return nil
	}
	m.Close()
	delete(r.net.meshes, n.Name)
	rest := r.net.lans[:0:0]
	for _, l := range r.net.lans {
		if l.Own != p.IPv4 {
			rest = append(rest, l)
		}
	}
	r.net.lans = rest
	r.net.driver.(*builtin.Network).Join(rest)
	return r.changeAddress(userns.RemoveAddress, p.IPv4, n.Subnet.Bits())
}

// changeAddress gives the interface of the running container an address more, or one less.
func (r *run) changeAddress(kind userns.AddressChange, a netip.Addr, bits int) error {
	var place userns.Place
	defer func() { place.Close() }()
	for kind, to := range map[specs.LinuxNamespaceType]**os.File{specs.UserNamespace: &place.User, specs.NetworkNamespace: &place.Net} {
		f, err := r.state.OpenNamespace(kind)
		if err != nil {
			return err
		}
		*to = f
	}
	return place.ChangeAddress(kind, r.net.config.Interface, a.As4(), bits)
}
