// Package egress decides what a container may talk to: rules about names, addresses
// and ports, the names that its addresses were given for, and what can be seen of
// whom a connection is really for (TLS, HTTP). It is a netns.Gate, and the record of
// all that went out or was refused.
package egress

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"coracle/netns"
)

// Rule is one --allow-net or --deny-net: HOST[:PORT[-PORT]], where HOST is a name,
// *.NAME (all below it), an address, a network, host (the host's own loopback) or *
// (all names, and all public addresses).
type Rule struct {
	Deny  bool
	Text  string // as it was typed
	From  string // the flag, or FILE:LINE
	start int    // its column there, from 1; 0: it has none

	kind        kind
	name        string // of byName, and of below what follows "*."
	prefix      netip.Prefix
	first, last uint16
}

type kind int

const (
	byName kind = iota
	below
	byAddress
	theHost
	anybody
)

const lastPort = 65535

// problem is what is wrong with a rule, and where in it.
type problem struct {
	at        int // bytes from its beginning
	why, help string
}

// ParseRule reads a rule; its error is a *RuleError.
func ParseRule(text, from string, deny bool) (Rule, error) {
	r := Rule{Deny: deny, Text: text, From: from, first: 1, last: lastPort}
	if p := r.parse(); p != nil {
		return r, &RuleError{From: from, Text: text, Column: p.at + 1, Why: p.why, Help: p.help}
	}
	return r, nil
}

func (r *Rule) parse() *problem {
	host, ports, at, p := split(r.Text)
	if p != nil {
		return p
	}
	if ports != "" {
		if p := r.parsePorts(ports, at); p != nil {
			return p
		}
	}
	return r.parseHost(host)
}

// split takes host and ports apart; at is where the ports begin.
func split(text string) (host, ports string, at int, _ *problem) {
	if text == "" {
		return "", "", 0, &problem{0, "it is empty", "a name, an address or a network, with :PORT or without"}
	}
	if name, rest, is := strings.Cut(text, "://"); is {
		rest, _, _ = strings.Cut(rest, "/")
		return "", "", 0, &problem{len(name), "it is an address of the web, not of a host", "the name is enough: " + rest}
	}
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return "", "", 0, &problem{0, "the bracket is not closed", ""}
		}
		host, rest := text[1:end], text[end+1:]
		if bits, after, has := cutBits(rest); has {
			host, rest, end = host+bits, after, end+len(bits)
		}
		if rest == "" {
			return host, "", 0, nil
		}
		if rest[0] != ':' || len(rest) == 1 {
			return "", "", 0, &problem{end + 1, "after the bracket there can be :PORT only", ""}
		}
		return host, rest[1:], end + 2, nil
	}
	if _, err := netip.ParseAddr(text); err == nil || strings.Count(text, ":") > 1 {
		return text, "", 0, nil // IPv6, or meant to be
	}
	colon := strings.IndexByte(text, ':')
	switch {
	case colon < 0:
		return text, "", 0, nil
	case colon == len(text)-1:
		return "", "", 0, &problem{colon, "the port is missing", ""}
	case colon == 0:
		return "", "", 0, &problem{0, "the host is missing", "*" + text + " is every host"}
	}
	return text[:colon], text[colon+1:], colon + 1, nil
}

// cutBits takes the /BITS off that stand behind a bracket.
func cutBits(s string) (bits, rest string, has bool) {
	if !strings.HasPrefix(s, "/") {
		return "", s, false
	}
	if colon := strings.IndexByte(s, ':'); colon >= 0 {
		return s[:colon], s[colon:], true
	}
	return s, "", true
}

func (r *Rule) parsePorts(s string, at int) *problem {
	low, high, ranged := strings.Cut(s, "-")
	first, p := parsePort(low, at)
	if p != nil {
		return p
	}
	last := first
	if ranged {
		if last, p = parsePort(high, at+len(low)+1); p != nil {
			return p
		}
	}
	switch {
	case last < first:
		return &problem{at, "the range of ports goes backwards", "did you mean " + high + "-" + low + "?"}
	case first == 53 && last == 53:
		return &problem{at, "it can never match: questions about names go to the container's own name server, and to no other", "leave it out; names that a rule allows are answered"}
	}
	r.first, r.last = first, last
	return nil
}

func parsePort(s string, at int) (uint16, *problem) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' || s[0] == '+' {
		return 0, &problem{at, "a port is a number from 1 to 65535, not " + strconv.Quote(s), ""}
	}
	return uint16(n), nil
}

func (r *Rule) parseHost(host string) *problem {
	switch {
	case host == "*":
		r.kind = anybody
		return nil
	case strings.ContainsAny(host, "/:") || looksNumeric(host):
		return r.parseAddress(host)
	}
	name, p := parseName(strings.TrimPrefix(host, "*."))
	if p != nil {
		if strings.HasPrefix(host, "*.") {
			p.at += 2
		}
		return p
	}
	r.name = name
	switch {
	case strings.HasPrefix(host, "*."):
		r.kind = below
	case name == "host" || slices.Contains(netns.HostNames, name):
		r.kind, r.name = theHost, ""
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return &problem{0, "it can never match: localhost is the container itself", "host" + r.ports() + " is the host's own loopback"}
	}
	return nil
}

// looksNumeric says that the C library would take it for an address: the last part
// is a number, as in 10.0.0.1, 2130706433, 0x7f.1 and 0177.1.
func looksNumeric(host string) bool {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := strings.ToLower(parts[len(parts)-1])
	hex := strings.TrimPrefix(last, "0x")
	if hex != last {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func (r *Rule) parseAddress(host string) *problem {
	r.kind = byAddress
	if zone := strings.IndexByte(host, '%'); zone >= 0 {
		return &problem{zone, "an address of one interface cannot be reached from the container", ""}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		r.prefix = netip.PrefixFrom(a, a.BitLen())
	} else if p, err := netip.ParsePrefix(host); err == nil {
		r.prefix = p
	} else {
		at := max(strings.IndexByte(host, '/'), 0)
		help := "as in 10.1.2.3, 10.0.0.0/8, 2001:db8::1, [2001:db8::1]:443 or [2001:db8::/32]:443"
		return &problem{at, "it is neither an address nor a network", help}
	}
	a := r.prefix.Addr()
	switch {
	case a.Is4In6():
		return &problem{0, "IPv4 is written as such", "did you mean " + a.Unmap().String() + "?"}
	case r.prefix.Masked() != r.prefix:
		return &problem{strings.IndexByte(host, '/'), "bits are set behind the mask", "did you mean " + r.prefix.Masked().String() + "?"}
	}
	if why := neverOut(r.prefix); why != "" {
		p := &problem{0, "it can never match: " + why, ""}
		if a.IsLoopback() {
			p.help = "the host's loopback is --allow-net host" + r.ports()
		}
		return p
	}
	return nil
}

// neverOut says why nothing goes to any address of a network.
func neverOut(p netip.Prefix) string {
	for _, never := range unreachable.all() {
		if contains(never, p) {
			return netns.Refused(p.Addr())
		}
	}
	return ""
}

// ports as they are typed, with the colon; "" for all.
func (r *Rule) ports() string {
	switch {
	case r.all():
		return ""
	case r.first == r.last:
		return ":" + strconv.Itoa(int(r.first))
	}
	return ":" + strconv.Itoa(int(r.first)) + "-" + strconv.Itoa(int(r.last))
}

func (r *Rule) all() bool { return r.first == 1 && r.last == lastPort }

// hasPort says whether the rule is about a port; 0 is what has none, an echo.
func (r *Rule) hasPort(port uint16) bool {
	return r.all() || port != 0 && r.first <= port && port <= r.last
}

// hasName says whether the rule is about a name.
func (r *Rule) hasName(name string) bool {
	switch r.kind {
	case byName:
		return name == r.name
	case below:
		rest, ok := strings.CutSuffix(name, r.name)
		return ok && strings.HasSuffix(rest, ".") && len(rest) > 1
	case anybody:
		return true
	}
	return false
}

// hasAddr says whether the rule is about an address as such. special is the
// network of that kind that it is in, the zero Prefix for a public one: what is special must have
// been meant, so 0.0.0.0/0 does not open private networks.
func (r *Rule) hasAddr(a netip.Addr, special netip.Prefix) bool {
	switch r.kind {
	case byAddress:
		return r.prefix.Contains(a) && (r.Deny || !special.IsValid() || contains(special, r.prefix))
	case anybody:
		return r.Deny || !special.IsValid()
	}
	return false
}

// contains says whether all of b is in a.
func contains(a, b netip.Prefix) bool {
	return a.Addr().BitLen() == b.Addr().BitLen() && a.Bits() <= b.Bits() && a.Contains(b.Addr())
}

// Name is the one name that the rule allows something of; "" for a rule of another kind.
func (r Rule) Name() string {
	if r.kind != byName || r.Deny {
		return ""
	}
	return r.name
}
