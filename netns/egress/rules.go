package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// RuleError is a rule that cannot be. From is its flag, or FILE:LINE.
type RuleError struct {
	From, Text string
	Column     int // of the text, from 1
	Why, Help  string
}

func (e *RuleError) Error() string {
	if strings.HasPrefix(e.From, "--") {
		return fmt.Sprintf("%s %s: %s", e.From, e.Text, e.Why)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.From, e.Column, e.Text, e.Why)
}

// Hint is what to type instead; "" for none.
func (e *RuleError) Hint() string { return e.Help }

// Rules are all rules of a container: a denying one counts for more than any that allows.
type Rules struct {
	allow, deny []Rule
	only        bool // what is allowed goes out, and nothing else
}

// maxRules bounds what each new flow is compared with.
const maxRules = 4096

// NewRules refuses a set with a rule that could never decide anything. only says that
// what no rule allows does not go out, though there may be none; own are the networks
// that the container itself is in.
func NewRules(list []Rule, only bool, own ...netip.Prefix) (*Rules, error) {
	if len(list) > maxRules {
		return nil, fmt.Errorf("read the egress rules: there are %d of them; no more than %d can be", len(list), maxRules)
	}
	s := &Rules{only: only}
	for i, r := range list {
		for _, o := range own {
			if r.kind == byAddress && o.IsValid() && contains(o.Masked(), r.prefix) {
				return nil, r.never("it is in the container's own network "+o.Masked().String(), "")
			}
		}
		if by := coveredBy(list, i); by != nil {
			why := fmt.Sprintf("%s of %s decides about all of it", by.Text, by.From)
			if by.same(&r) {
				why = "it is there twice: " + by.From
			}
			return nil, r.never(why, "leave one of them out")
		}
		if r.Deny {
			s.deny = append(s.deny, r)
		} else {
			s.allow = append(s.allow, r)
		}
	}
	return s, nil
}

func (r *Rule) never(why, help string) error {
	return &RuleError{From: r.From, Text: r.Text, Column: r.column(), Why: "it can never match: " + why, Help: help}
}

// column is where the rule begins in its line; see ParseFile.
func (r *Rule) column() int { return max(r.start, 1) }

// coveredBy finds the rule because of which rule i never decides anything: one of
// its own kind that covers it, or a denying one that covers an allowing one. Of two
// that are the same the second is the one too many.
func coveredBy(list []Rule, i int) *Rule {
	r := &list[i]
	for j := range list {
		by := &list[j]
		if j == i || by.Deny != r.Deny && !by.Deny || !by.covers(r) {
			continue
		}
		if by.Deny == r.Deny && r.covers(by) && j > i {
			continue
		}
		return by
	}
	return nil
}

func (r *Rule) same(other *Rule) bool {
	return r.Deny == other.Deny && r.covers(other) && other.covers(r)
}

// covers says whether all that other is about is this one's, too.
func (r *Rule) covers(other *Rule) bool {
	if r.first > other.first || r.last < other.last {
		return false
	}
	switch other.kind {
	case theHost:
		return r.kind == theHost
	case anybody:
		return r.kind == anybody
	case byName:
		return r.hasName(other.name)
	case below:
		return r.kind == anybody || r.kind == below && (r.name == other.name || r.hasName(other.name))
	}
	if r.kind == byAddress && !contains(r.prefix, other.prefix) {
		return false
	}
	return r.hasAddr(other.prefix.Addr(), specialNetwork(other.prefix))
}

// specialNetwork is the special network that all of p is in.
func specialNetwork(p netip.Prefix) netip.Prefix {
	for _, s := range specials.all() {
		if contains(s, p) {
			return s
		}
	}
	return netip.Prefix{}
}

// listed says whether only what is allowed goes out.
func (s *Rules) listed() bool { return s.only }

// OpensHost says whether a rule opens the host's loopback.
func (s *Rules) OpensHost() bool {
	return slices.ContainsFunc(s.allow, func(r Rule) bool { return r.kind == theHost })
}

// Ports are those at which a rule allows something, most of them at the most; all says
// that the rules do not limit them so far.
func (s *Rules) Ports(most int) (ports []uint16, all bool) {
	if s == nil || !s.only {
		return nil, true
	}
	for _, r := range s.allow {
		if int(r.last)-int(r.first) >= most {
			return nil, true
		}
		for p := int(r.first); p <= int(r.last); p++ {
			ports = append(ports, uint16(p))
		}
	}
	slices.Sort(ports)
	if ports = slices.Compact(ports); len(ports) > most {
		return nil, true
	}
	return ports, false
}

// find gives the first rule that is; nil without.
func find(list []Rule, is func(*Rule) bool) *Rule {
	for i := range list {
		if is(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// asks decides about a question for a name: nobody's but a rule's business is at
// which port it will be talked to.
func (s *Rules) asks(name string) (by *Rule, ok bool) {
	if r := find(s.deny, func(r *Rule) bool { return r.all() && r.hasName(name) }); r != nil {
		return r, false
	}
	if !s.listed() {
		return nil, true
	}
	r := find(s.allow, func(r *Rule) bool { return r.hasName(name) })
	return r, r != nil
}

// name decides about a name and a port.
func (s *Rules) name(name string, port uint16) (by *Rule, ok bool) {
	if r := s.denies(name, port); r != nil {
		return r, false
	}
	if !s.listed() {
		return nil, true
	}
	r := find(s.allow, func(r *Rule) bool { return r.hasName(name) && r.hasPort(port) })
	return r, r != nil
}

// denies gives the rule that denies a name at a port.
func (s *Rules) denies(name string, port uint16) *Rule {
	return find(s.deny, func(r *Rule) bool { return r.hasName(name) && r.hasPort(port) })
}

// deniesNames says whether a name that a peer is called by could be a denied one.
func (s *Rules) deniesNames(port uint16) bool {
	return slices.ContainsFunc(s.deny, func(r Rule) bool { return (r.kind == byName || r.kind == below) && r.hasPort(port) })
}
