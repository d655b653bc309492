package egress

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"coracle/netns"
)

// Options are what a gate is made with.
type Options struct {
	Config netns.Config // the container's side
	Rules  *Rules       // nil: all may go out, and is written down
	Pins   []Pin        // --add-host
	Search []string     // domains that the C library tries behind a name
	// Say tells the user of something that was refused, and of the flag that allows
	// it, "" for none; once for each destination.
	Say func(msg, flag string)
	Log io.Writer // a line of JSON for each flow that has ended; nil for none
}

// Pin is a name that the user has given an address.
type Pin struct {
	Name string
	Addr netip.Addr
}

// Gate is a netns.Gate.
type Gate struct {
	config netns.Config
	names  names
	host   hostAddrs
	record *record

	mu    sync.Mutex
	rules *Rules
	flows map[*flow]struct{}
}

var (
	_ netns.Gate      = (*Gate)(nil)
	_ netns.Explainer = (*Gate)(nil)
)

// New makes a gate.
func New(o Options) *Gate {
	g := &Gate{config: o.Config, rules: o.Rules, names: names{now: time.Now}, host: hostAddrs{list: net.InterfaceAddrs},
		record: newRecord(o), flows: map[*flow]struct{}{}}
	for _, p := range o.Pins {
		if name := cleanName(p.Name); name != "" {
			g.names.pin(name, p.Addr.Unmap())
		}
	}
	return g
}

func (g *Gate) current() *Rules {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rules
}

// enforces says whether there are rules at all.
func (g *Gate) enforces() bool { return g.current() != nil }

func (g *Gate) isHost(a netip.Addr) bool { return a == g.config.Gateway4 || a == g.config.Gateway6 }

func (g *Gate) isOwn(a netip.Addr) bool {
	return !g.isHost(a) && (g.config.IPv4.Contains(a) || g.config.IPv6.Contains(a))
}

func newID() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.BigEndian.Uint16(b[:])
}

// asked is what a decision about a destination depends on.
func (g *Gate) asked(to netns.Destination) asked {
	a := to.Addr.Addr().Unmap()
	to.Addr = netip.AddrPortFrom(a, to.Addr.Port())
	q := asked{Destination: to, host: g.isHost(a), own: g.isOwn(a), special: g.host.special(a)}
	q.live, q.pinned, q.expired = g.names.of(a)
	return q
}

// Explain implements netns.Explainer, for TCP.
func (g *Gate) Explain(name string, to netip.AddrPort) (why, flag string) {
	rules := g.current()
	if rules == nil {
		return "", ""
	}
	if to.Addr().IsValid() {
		d := rules.decide(g.asked(netns.Destination{Protocol: netns.TCP, Addr: to}))
		return d.why, d.flag
	}
	name = cleanName(name)
	if slices.Contains(netns.HostNames, name) {
		return "", ""
	}
	by, ok := rules.asks(name)
	switch {
	case name == "":
		return "it is no name of a host", ""
	case ok:
		return "", ""
	case by != nil:
		return denyRule, ""
	}
	return noRule, "--allow-net " + name + portWord(to.Port())
}

// Open implements netns.Gate.
func (g *Gate) Open(to netns.Destination) netns.Flow {
	q := g.asked(to)
	g.mu.Lock()
	defer g.mu.Unlock()
	f := &flow{g: g, q: q, d: decideIn(g.rules, q), began: time.Now()}
	if !f.d.allowed {
		g.record.flow(f.entry(denied, f.d.why), f.d.flag)
		return nil
	}
	g.flows[f] = struct{}{}
	return f
}

// decideIn decides; without rules all is allowed.
func decideIn(s *Rules, q asked) decision {
	if s != nil {
		return s.decide(q)
	}
	d := decision{allowed: true}
	switch {
	case q.host:
		d.name = "host"
	case len(q.live) > 0:
		d.name = q.live[0]
	}
	return d
}

// Reload puts other rules in the place of those that there are. Flows that these do
// not allow end.
func (g *Gate) Reload(s *Rules) {
	g.mu.Lock()
	g.rules = s
	var ended []*flow
	for f := range g.flows {
		if !f.decideAgain(s) {
			ended = append(ended, f)
		}
	}
	g.mu.Unlock()
	for _, f := range ended {
		f.revoke()
	}
}

// End writes down the flows that still go on; the driver has been closed.
func (g *Gate) End() {
	g.mu.Lock()
	var open []*flow
	for f := range g.flows {
		open = append(open, f)
	}
	g.mu.Unlock()
	for _, f := range open {
		f.Close(nil)
	}
}

// refusedName tells of a question that goes no further.
func (g *Gate) refusedName(q question, by *Rule) {
	name, why, flag := q.name, noRule, "--allow-net "+q.name
	if by != nil {
		why, flag = denyRule, ""
	}
	if name == "" {
		name, why, flag = quote(q.q.Name.String()), "it is no name of a host", ""
	}
	e := Entry{Time: time.Now(), Protocol: "dns", Name: name, Verdict: denied, Reason: why}
	if by != nil {
		e.Rule = by.Text
	}
	g.record.question(e, flag)
}

// rebound tells of addresses that a name may not have.
func (g *Gate) rebound(name string, addrs []netip.Addr, by *Rule) {
	for _, a := range addrs {
		why, flag := "no name may lead there", ""
		switch special := g.host.special(a); {
		case g.isOwn(a) || g.isHost(a) || a.Is4In6():
		case netns.Refused(a) != "":
			why += ": " + netns.Refused(a)
		case g.host.has(a):
			why, flag = "it is an address of the host's own", "--allow-net "+a.String()
		case special.IsValid():
			why, flag = "it is in the special network "+special.String(), "--allow-net "+a.String()
		default:
			why = denyRule
		}
		e := Entry{Time: time.Now(), Protocol: "dns", Name: name, Address: a.String(), Verdict: denied, Reason: why}
		if by != nil {
			e.Rule = by.Text
		}
		g.record.question(e, flag)
	}
}

// ownSearch says whether a name is a refused one with a search domain behind it: it
// is asked for because the other was refused.
func ownSearch(name string, search []string, refused func(string) bool) bool {
	return slices.ContainsFunc(search, func(domain string) bool {
		short, ok := strings.CutSuffix(name, "."+cleanName(domain))
		return ok && refused(short)
	})
}
