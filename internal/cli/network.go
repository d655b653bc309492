package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"coracle/internal/engine"
)

// networkAPI is what the commands on networks ask of the engine.
type networkAPI interface {
	CreateNetwork(o engine.CreateNetworkOptions) (engine.Network, error)
	Networks() ([]engine.Network, error)
	Network(name string) (engine.Network, error)
	RemoveNetwork(name string, force bool) error
	PruneNetworks() ([]string, error)
	ConnectNetwork(network, container string, o engine.EndpointOptions) error
	DisconnectNetwork(network, container string) error
}

type networkCreateCmd struct {
	Subnet   []string `placeholder:"CIDR" help:"Its IPv4 addresses (default: a free part of 10.89.0.0/16), and again for its IPv6 addresses."`
	IPv6     bool     `name:"ipv6" help:"IPv6 addresses, too (default: a random part of fd00::/8)."`
	Internal bool     `help:"Nothing but the other containers can be reached."`
	MTU      string   `name:"mtu" placeholder:"BYTES" help:"From 1280 to 65520 (default: 1500)."`
	Label    []string `short:"l" sep:"none" placeholder:"KEY=VALUE" help:"A label."`
	Ignore   bool     `help:"It is no error if there is one of that name."`

	Name string `arg:"" name:"NAME"`
}

func (*networkCreateCmd) Help() string {
	return `Makes a network for containers that are to reach each other, by name. Prints its
name.

  coracle network create backend
  coracle network create --internal --subnet 10.7.0.0/24 vault
  coracle network create --ipv6 both
  coracle run -d --name db --network backend postgres`
}

func (c *networkCreateCmd) run(a *app) (int, error) {
	labels, err := pairs("--label", c.Label, false)
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	n, err := e.CreateNetwork(engine.CreateNetworkOptions{Name: c.Name, Subnets: c.Subnet, IPv6: c.IPv6, MTU: c.MTU, Internal: c.Internal, Ignore: c.Ignore, Labels: labels})
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, visible(n.Name))
	return 0, nil
}

type networkListCmd struct {
	Format    string `placeholder:"FMT" help:"table, json or a Go template."`
	NoHeading bool   `name:"noheading" short:"n" help:"No heading."`
	Quiet     bool   `short:"q" help:"Print names only."`
}

func (*networkListCmd) Help() string {
	return `  coracle network ls --format '{{.Name}} {{.Subnet}}'`
}

// networkRow is a network as listings show it.
type networkRow struct {
	Name       string
	ID         string
	CreatedAt  time.Time
	Subnet     string
	Gateway    string
	Subnets    []networkSubnet
	IPv6       bool
	Internal   bool
	MTU        int
	Labels     map[string]string
	Containers []networkMember
}

// networkSubnet is one of its subnets: first IPv4's, then IPv6's.
type networkSubnet struct {
	Subnet  string
	Gateway string
}

// networkMember is a container of it.
type networkMember struct {
	ID          string
	Name        string
	IPv4Address string
	IPv6Address string
	Aliases     []string
	Running     bool
}

func newNetworkRow(n engine.Network) networkRow {
	r := networkRow{
		Name: visible(n.Name), ID: n.ID, CreatedAt: n.Created, Subnet: n.Subnet.String(), Gateway: n.Gateway.String(), IPv6: n.Subnet6.IsValid(),
		Internal: n.Internal, MTU: n.MTU, Labels: cleanMap(n.Labels), Containers: []networkMember{},
	}
	r.Subnets = []networkSubnet{{r.Subnet, r.Gateway}}
	if r.IPv6 {
		r.Subnets = append(r.Subnets, networkSubnet{n.Subnet6.String(), n.Gateway6.String()})
	}
	for id, p := range n.Containers {
		m := networkMember{ID: id, Name: visible(p.Name), IPv4Address: netip.PrefixFrom(p.IPv4, n.Subnet.Bits()).String(), Aliases: append([]string{}, p.Aliases...), Running: p.Running}
		if r.IPv6 {
			m.IPv6Address = netip.PrefixFrom(p.IPv6, n.Subnet6.Bits()).String()
		}
		r.Containers = append(r.Containers, m)
	}
	slices.SortFunc(r.Containers, func(x, y networkMember) int {
		return netip.MustParsePrefix(x.IPv4Address).Addr().Compare(netip.MustParsePrefix(y.IPv4Address).Addr())
	})
	return r
}

func (c *networkListCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	all, err := e.Networks()
	if err != nil {
		return exitOurs, err
	}
	rows := make([]networkRow, 0, len(all))
	for _, n := range all {
		if c.Quiet {
			fmt.Fprintln(a.out, visible(n.Name))
		}
		rows = append(rows, newNetworkRow(n))
	}
	if c.Quiet {
		return 0, nil
	}
	return 0, listing[networkRow]{
		columns: []column{{"Name", "NETWORK", true}, {"Subnet", "SUBNET", false}, {"Internal", "INTERNAL", false}, {"Containers", "CONTAINERS", false}},
		cells: func(r networkRow) []string {
			subnets := r.Subnet
			if r.IPv6 {
				subnets += " " + r.Subnets[1].Subnet
			}
			return []string{r.Name, subnets, fmt.Sprint(r.Internal), fmt.Sprint(len(r.Containers))}
		},
		clean:     func(r networkRow) networkRow { return r },
		noHeading: c.NoHeading,
	}.print(a, c.Format, rows)
}

type networkInspectCmd struct {
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`

	Names []string `arg:"" name:"NETWORK"`
}

func (*networkInspectCmd) Help() string {
	return `Prints a JSON array with an object for each network.

  coracle network inspect --format '{{.Subnet}}' backend`
}

func (c *networkInspectCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	return inspectEach(a, "network", c.Format, c.Names, func(name string) (any, error) {
		n, err := e.Network(name)
		return newNetworkRow(n), err
	})
}

type networkExistsCmd struct {
	Name string `arg:"" name:"NETWORK"`
}

func (*networkExistsCmd) Help() string {
	return `Exits with 0 if there is one of that name, with 1 if not.

  coracle network exists backend`
}

func (c *networkExistsCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	_, err = e.Network(c.Name)
	if isNotFound(err) {
		return 1, nil
	}
	return 0, err
}

type networkRemoveCmd struct {
	Force bool `short:"f" help:"Take it from containers that do not run; it is no error if there is none of that name."`

	Names []string `arg:"" name:"NETWORK"`
}

func (*networkRemoveCmd) Help() string {
	return `Removes networks that no container has. Prints what was removed.

  coracle network rm backend`
}

func (c *networkRemoveCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	var failed []error
	for _, name := range c.Names {
		err := e.RemoveNetwork(name, c.Force)
		switch {
		case err == nil:
			fmt.Fprintln(a.out, visible(name))
		case c.Force && isNotFound(err):
		default:
			failed = append(failed, doing("remove network", name, err))
		}
	}
	return 0, a.failures(failed)
}

type networkPruneCmd struct {
	Force bool `short:"f" help:"Do not ask."`
}

func (*networkPruneCmd) Help() string {
	return `Removes the networks that no container has. Prints their names.

  coracle network prune --force`
}

func (c *networkPruneCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if !c.Force {
		all, err := e.Networks()
		var names []string
		for _, n := range all {
			if len(n.Containers) == 0 {
				names = append(names, n.Name)
			}
		}
		if err != nil || len(names) == 0 {
			return 0, err
		}
		if !a.confirm("These networks have no containers, and will be removed:", names) {
			return exitOurs, nil
		}
	}
	gone, err := e.PruneNetworks()
	for _, name := range gone {
		fmt.Fprintln(a.out, visible(name))
	}
	return 0, a.failures([]error{err})
}

type networkConnectCmd struct {
	IP    string   `name:"ip" placeholder:"ADDR" help:"Its IPv4 address there."`
	IP6   string   `name:"ip6" placeholder:"ADDR" help:"Its IPv6 address there."`
	Alias []string `placeholder:"NAME" help:"A name more by which others reach it."`

	Network   string `arg:"" name:"NETWORK"`
	Container string `arg:"" name:"CONTAINER"`
}

func (*networkConnectCmd) Help() string {
	return `Makes a container part of one more network: at once if it runs, and whenever it
starts.

  coracle network connect --alias cache backend redis`
}

func (*networkConnectCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "mac-address", never: true, reason: "a container has one interface for all of its networks", hint: "choose its address when the container is made: coracle run --mac-address"},
		{flags: "driver-opt gw-priority link link-local-ip", reason: "no part of this version"},
	}, name)
}

func (c *networkConnectCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	return 0, e.ConnectNetwork(c.Network, c.Container, engine.EndpointOptions{IP: c.IP, IP6: c.IP6, Aliases: c.Alias})
}

type networkDisconnectCmd struct {
	Network   string `arg:"" name:"NETWORK"`
	Container string `arg:"" name:"CONTAINER"`
}

func (*networkDisconnectCmd) Help() string {
	return `Takes a container out of a network, of "network connect" or that it was made
with: at once if it runs, and whenever it starts. In none it reaches nobody.

  coracle network disconnect backend redis`
}

func (c *networkDisconnectCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	return 0, e.DisconnectNetwork(c.Network, c.Container)
}
