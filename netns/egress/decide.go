package egress

import (
	"net/netip"
	"slices"
	"strconv"

	"coracle/netns"
)

// decision is what becomes of a flow.
type decision struct {
	allowed bool
	rule    *Rule    // that decided; nil: there was none for it
	why     string   // of a refusal
	flag    string   // that would allow it; "" for none
	name    string   // whom it is for, as far as that is known
	names   []string // allowed ones that the address was given for, if it is allowed for these
	check   check
}

// check is what the bytes of a flow must say.
type check int

const (
	unchecked   check = iota
	mustMatch         // one of the decision's names
	mustNotDeny       // no name that is denied
)

// asked is what a decision depends on.
type asked struct {
	netns.Destination
	host    bool // it is the gateway, behind which the host's loopback is
	own     bool // it is in the container's own network
	special netip.Prefix
	live    []string // the names that the address was given for
	pinned  []string // those of them that the user gave it
	expired []string
}

const (
	noRule     = "no rule allows it"
	denyRule   = "a rule denies it"
	otherDNS   = "questions about names go to the container's own name server only"
	notGiven   = "no allowed name has this address: names are asked for at the container's own name server"
	outdated   = "the name's answer has expired: it must be asked for again"
	quic       = "QUIC hides the name that it is for; programs go on with TCP"
	ownNetwork = "nobody else is in the container's network"
)

// decide is pure.
func (s *Rules) decide(q asked) decision {
	a, port := q.Addr.Addr(), q.Addr.Port()
	d := decision{}
	if len(q.live) > 0 {
		d.name = q.live[0]
	}
	switch {
	case q.host:
		return s.decideHost(port)
	case q.own:
		d.why = ownNetwork
		return d
	case netns.Refused(a) != "":
		d.why = netns.Refused(a)
		return d
	case port == 53:
		d.why = otherDNS
		return d
	}
	byAddr := func(r *Rule) bool { return r.hasAddr(a, q.special) && r.hasPort(port) }
	if d.rule = find(s.deny, byAddr); d.rule != nil {
		d.why = denyRule
		return d
	}
	if d.rule = find(s.allow, byAddr); d.rule == nil && s.listed() {
		return s.decideName(q, d)
	}
	d.allowed = true
	if s.deniesNames(port) {
		d.check = mustNotDeny
		s.withoutQUIC(q, &d)
	}
	return d
}

func (s *Rules) decideHost(port uint16) decision {
	d := decision{name: "host"}
	here := func(r *Rule) bool { return r.kind == theHost && r.hasPort(port) }
	if d.rule = find(s.deny, here); d.rule != nil {
		d.why = denyRule
		return d
	}
	if d.rule = find(s.allow, here); d.rule != nil {
		d.allowed = true
		return d
	}
	d.why, d.flag = "the host's loopback is closed", "--allow-net host"+portWord(port)
	return d
}

// decideName is for an address that no rule allows as such: it must have been given
// for a name that one does.
func (s *Rules) decideName(q asked, d decision) decision {
	port, candidates := q.Addr.Port(), q.live
	if q.special.IsValid() {
		candidates = q.pinned // what a name server says opens no private network
	}
	for _, name := range candidates {
		by, ok := s.name(name, port)
		if ok {
			d.names = append(d.names, name)
		}
		if d.rule == nil && (ok || by != nil) {
			d.rule, d.name = by, name
		} else if ok && len(d.names) == 1 {
			d.rule, d.name = by, name // one that allows tells more than one that denies
		}
	}
	switch {
	case len(d.names) > 0:
		d.allowed, d.check = true, mustMatch
		s.withoutQUIC(q, &d)
	case d.rule != nil:
		d.why = denyRule
	case len(candidates) > 0:
		d.why, d.flag = noRule, "--allow-net "+d.name+portWord(port)
	case slices.ContainsFunc(q.expired, func(n string) bool { _, ok := s.name(n, port); return ok }):
		d.why, d.name = outdated, q.expired[0]
	default:
		d.why, d.flag = noRule, "--allow-net "+addrWord(q.Addr)
		if s.hasNames() && !q.special.IsValid() {
			d.why = notGiven
		}
	}
	return d
}

func (s *Rules) hasNames() bool {
	return slices.ContainsFunc(s.allow, func(r Rule) bool { return r.kind == byName || r.kind == below })
}

// withoutQUIC refuses the port where only that is spoken: what it says of names
// cannot be read.
func (s *Rules) withoutQUIC(q asked, d *decision) {
	if q.Protocol == netns.UDP && q.Addr.Port() == 443 {
		d.allowed, d.rule, d.why, d.flag = false, nil, quic, "--allow-net "+addrWord(q.Addr)
	}
}

func portWord(port uint16) string {
	if port == 0 {
		return ""
	}
	return ":" + strconv.Itoa(int(port))
}

// addrWord is an address and a port as a rule has them.
func addrWord(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
