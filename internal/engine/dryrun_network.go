package engine

import (
	"fmt"
	"strings"
)

// plannedNetwork is how a container would be reached, and what it could reach.
type plannedNetwork struct {
	Mode         string        `json:"mode"`
	Driver       string        `json:"driver"`
	MTU          int           `json:"mtu"`
	Addresses    []string      `json:"addresses"`
	Gateways     []string      `json:"gateways"`
	NameServers  []string      `json:"nameServers"`
	HostLoopback bool          `json:"hostLoopback"`
	Ports        []string      `json:"ports"`
	Rules        []plannedRule `json:"rules"`
	Otherwise    string        `json:"otherwise"`
	Log          string        `json:"log,omitempty"`
	Capture      string        `json:"capture,omitempty"`
}

// plannedRule is an egress rule.
type plannedRule struct {
	Verdict string `json:"verdict"`
	Rule    string `json:"rule"`
	From    string `json:"from"`
}

// Verdicts are those of the records of flows.
const (
	verdictAllowed = "allowed"
	verdictDenied  = "denied"
)

// foreseeNetwork says what connects the container with the outside.
func (r *run) foreseeNetwork() (plannedNetwork, error) {
	p := plannedNetwork{Mode: r.o.Network, Addresses: []string{}, Gateways: []string{}, NameServers: []string{}, Ports: []string{}, Rules: []plannedRule{}, Log: r.o.NetLog, Capture: r.o.Pcap}
	if r.o.Network != "none" {
		p.Otherwise = verdictAllowed
	}
	n := r.net
	if n == nil {
		return p, nil
	}
	p.Driver = n.kind
	for _, port := range n.ports {
		p.Ports = append(p.Ports, port.String())
	}
	if n.kind == kindJoined {
		return p, nil
	}
	c := n.config
	p.MTU, p.HostLoopback = c.MTU, c.HostLoopback
	p.Addresses, p.Gateways, p.NameServers = append(p.Addresses, c.IPv4.String()), append(p.Gateways, c.Gateway4.String()), append(p.NameServers, c.DNS4.String())
	if c.IPv6.IsValid() {
		p.Addresses, p.Gateways = append(p.Addresses, c.IPv6.String()), append(p.Gateways, c.Gateway6.String())
	}
	return p, p.addRules(r.o, n)
}

// addRules lists the egress rules in the order in which they were given.
func (p *plannedNetwork) addRules(o RunOptions, n *network) error {
	if n.config.Internal {
		p.Otherwise = verdictDenied
	}
	if n.rules == nil {
		return nil
	}
	list, err := readRules(o)
	if err != nil {
		return err
	}
	for _, rule := range list {
		verdict := verdictAllowed
		if rule.Deny {
			verdict = verdictDenied
		}
		p.Rules = append(p.Rules, plannedRule{verdict, rule.Text, rule.From})
	}
	if len(o.AllowNet) > 0 || o.AllowNetFile != "" {
		p.Otherwise = verdictDenied
	}
	return nil
}

func (p plannedNetwork) text(b *strings.Builder) {
	fmt.Fprintf(b, "network:    %s", p.Mode)
	if p.Driver != "" && p.Driver != p.Mode {
		fmt.Fprintf(b, ", driver %s", p.Driver)
	}
	b.WriteByte('\n')
	if p.MTU > 0 {
		loopback := "closed"
		if p.HostLoopback {
			loopback = "open"
		}
		fmt.Fprintf(b, "      addresses %s, gateway %s, name server %s, mtu %d, the host's loopback %s\n",
			strings.Join(p.Addresses, " "), strings.Join(p.Gateways, " "), strings.Join(p.NameServers, " "), p.MTU, loopback)
	}
	for _, port := range p.Ports {
		fmt.Fprintf(b, "      published %s\n", strings.Replace(port, ":0->", ":(a free one)->", 1))
	}
	for _, rule := range p.Rules {
		fmt.Fprintf(b, "      %s: %s (%s)\n", rule.Verdict, rule.Rule, rule.From)
	}
	if len(p.Rules) > 0 {
		fmt.Fprintf(b, "      %s: all else\n", p.Otherwise)
	}
	for _, f := range [][2]string{{"flows are written to", p.Log}, {"packets are written to", p.Capture}} {
		if f[1] != "" {
			fmt.Fprintf(b, "      %s %s\n", f[0], f[1])
		}
	}
}
