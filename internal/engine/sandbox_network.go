package engine

import (
	"context"
	"errors"
	"slices"

	"coracle/internal/sandbox"
	"coracle/netns/builtin"
	"coracle/netns/egress"
)

// planNetwork is what the command can talk to: nobody, where nothing is said; with
// rules, a network of its own.
func (s *boxed) planNetwork() error {
	n := &s.o.Options.Network
	o := s.o.EgressOptions
	switch n.Mode {
	case "":
		if n.Mode = sandbox.NoNetwork; o.flag() != "" {
			n.Mode = sandbox.PrivateNetwork
		}
	case sandbox.NoNetwork, sandbox.PrivateNetwork, sandbox.HostNetwork:
	default:
		return &Error{Op: "--network " + n.Mode, Err: errors.New("there is no such choice"), Help: "none, private or host"}
	}
	if flag := o.flag(); flag != "" && n.Mode != sandbox.PrivateNetwork {
		why := "there is no network to allow or to see anything of"
		if n.Mode == sandbox.HostNetwork {
			why = "the network is the host's, and nothing sees what goes through it"
		}
		return &Error{Op: flag, Err: errors.New(why), Help: "leave --network out, or use --network private"}
	}
	if s.o.ProxyEnv && n.Mode != sandbox.PrivateNetwork {
		return &Error{Op: "--proxy-env", Err: errors.New("the proxy is part of a private network"), Help: "--allow-net NAME, or --network private"}
	}
	n.Rules = append(n.Rules, o.AllowNet...)
	if o.AllowNetFile != "" {
		n.Rules = append(n.Rules, "what "+o.AllowNetFile+" lists")
	}
	for _, w := range o.DenyNet {
		n.Rules = append(n.Rules, "not "+w)
	}
	s.r.o.Network, s.r.o.EgressOptions, s.r.o.Report = n.Mode, o, s.o.Report
	s.r.o.Stdout, s.r.o.Stderr = s.o.Stdout, s.o.Stderr
	if err := checkEgress(s.r.o); err != nil {
		return err
	}
	if !s.o.Explain && len(o.AllowNet) > 0 {
		if err := checkNames(context.Background(), s.r.o, hostResolver().Absent); err != nil {
			return err
		}
	}
	var err error
	if s.r.net, err = planNetwork(s.r.o); err != nil {
		return err
	}
	if s.o.ProxyEnv {
		s.r.net.proxy, n.Proxy = true, "http://"+builtin.ProxyAddr(s.r.net.config).String()
	}
	return s.planLoopback()
}

// planLoopback finds the ports that stay open where the sandbox's own loopback is closed:
// those of the rules, of names, and of the proxy.
func (s *boxed) planLoopback() error {
	n := &s.o.Options.Network
	switch {
	case n.Loopback != sandbox.DenyLoopback || n.Mode == sandbox.NoNetwork:
		return nil
	case n.Mode == sandbox.HostNetwork:
		why := "the loopback is the host's, which cannot be closed to one of its processes"
		if s.o.BestEffort {
			n.Loopback = sandbox.AllowLoopback
			s.leaveOut("--loopback deny: " + why)
			return nil
		}
		return hintBestEffort(&Error{Op: "--loopback deny", Err: errors.New(why), Help: "--network private, or --loopback allow"})
	}
	ports, all := s.r.net.rules.Ports(sandbox.MostPorts)
	if n.AllPorts = all || s.o.AllowNetFile != ""; n.AllPorts { // a file may open others later
		return nil
	}
	const names = 53 // over TCP
	n.Ports = append(ports, names)
	if s.o.ProxyEnv {
		n.Ports = append(n.Ports, builtin.ProxyAddr(s.r.net.config).Port())
	}
	slices.Sort(n.Ports)
	n.Ports = slices.Compact(n.Ports)
	return nil
}

func (s *boxed) resolvConf() string {
	if t := s.r.net.tun(); t != nil {
		return t.ResolvConf
	}
	return ""
}

// flows is what went out or was refused; nil where nobody has seen it.
func (s *boxed) flows() *egress.Summary {
	s.r.disconnect() // so that it has all
	gate := s.r.gate.Load()
	if gate == nil {
		return nil
	}
	flows := gate.Summary()
	return &flows
}
