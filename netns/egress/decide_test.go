package egress

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"coracle/netns"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		rules string // with spaces between
		proto string
		to    string
		names string // that the address was given for
		want  string // allowed or why not; the rule; the flag; the check
	}{
		// By name.
		{"a.org:443", "tcp", "203.0.113.1:443", "a.org", "allowed a.org:443 match"},
		{"a.org:443", "tcp", "203.0.113.1:80", "a.org", "no rule allows it; --allow-net a.org:80"},
		{"a.org:443", "tcp", "203.0.113.1:443", "", "no allowed name has this address: names are asked for at the container's own name server; --allow-net 203.0.113.1:443"},
		{"a.org:443", "tcp", "203.0.113.1:443", "-a.org", "the name's answer has expired: it must be asked for again;"},
		{"a.org:443", "tcp", "203.0.113.1:443", "b.org", "no rule allows it; --allow-net b.org:443"},
		{"a.org:443", "tcp", "203.0.113.1:443", "b.org a.org", "allowed a.org:443 match"},
		{"*.a.org !x.a.org", "tcp", "203.0.113.1:443", "x.a.org", "a rule denies it x.a.org;"},
		{"*.a.org", "tcp", "203.0.113.1:443", "y.x.a.org", "allowed *.a.org match"},
		{"*.a.org", "tcp", "203.0.113.1:443", "a.org", "no rule allows it; --allow-net a.org:443"},
		{"*.a.org", "tcp", "203.0.113.1:443", "evila.org", "no rule allows it; --allow-net evila.org:443"},
		{"a.org", "icmp", "203.0.113.1:0", "a.org", "allowed a.org match"},
		{"a.org:443", "icmp", "203.0.113.1:0", "a.org", "no rule allows it; --allow-net a.org"},
		{"a.org", "udp", "203.0.113.1:443", "a.org", "QUIC hides the name that it is for; programs go on with TCP match; --allow-net 203.0.113.1:443"},
		{"a.org", "udp", "203.0.113.1:123", "a.org", "allowed a.org match"},
		// By address.
		{"203.0.113.0/24:443", "tcp", "203.0.113.1:443", "", "allowed 203.0.113.0/24:443"},
		{"203.0.113.0/24:443", "udp", "203.0.113.1:443", "", "allowed 203.0.113.0/24:443"},
		{"203.0.113.0/24:443", "tcp", "203.0.113.1:444", "", "no rule allows it; --allow-net 203.0.113.1:444"},
		{"203.0.113.0/24 !203.0.113.7", "tcp", "203.0.113.7:1", "", "a rule denies it 203.0.113.7;"},
		{"203.0.113.0/24 !evil.org", "tcp", "203.0.113.7:1", "", "allowed 203.0.113.0/24 mustnotdeny"},
		{"203.0.113.0/24 !evil.org", "udp", "203.0.113.7:443", "", "QUIC hides"},
		{"2001:db8::/32", "tcp", "[2001:db8::1]:443", "", "allowed 2001:db8::/32"},
		// What no rule opens by the way.
		{"0.0.0.0/0", "tcp", "8.8.8.8:443", "", "allowed 0.0.0.0/0"},
		{"0.0.0.0/0", "tcp", "10.1.2.3:443", "", "no rule allows it; --allow-net 10.1.2.3:443"},
		{"0.0.0.0/0", "tcp", "169.254.169.254:80", "", "no rule allows it; --allow-net 169.254.169.254:80"},
		{"*", "tcp", "192.168.1.1:80", "", "no rule allows it;"},
		{"*", "tcp", "198.51.100.9:80", "", "no rule allows it;"}, // the host's own
		{"198.51.100.0/24", "tcp", "198.51.100.9:80", "", "no rule allows it;"},
		{"198.51.100.9", "tcp", "198.51.100.9:80", "", "allowed 198.51.100.9"},
		{"*", "tcp", "[::7f00:1]:80", "", "no rule allows it;"},
		{"::/0", "tcp", "[64:ff9b::a00:1]:80", "", "no rule allows it;"},
		{"::/0", "tcp", "[fd00:1::1]:80", "", "no rule allows it;"},
		{"169.254.169.254", "tcp", "169.254.169.254:80", "", "allowed 169.254.169.254"},
		{"10.0.0.0/8:443", "tcp", "10.1.2.3:443", "", "allowed 10.0.0.0/8:443"},
		{"10.0.0.0/8:443 git.corp", "tcp", "10.1.2.3:22", "git.corp", "no rule allows it; --allow-net 10.1.2.3:22"},
		{"printer", "tcp", "10.1.2.3:631", "=printer", "allowed printer match"}, // --add-host
		{"*", "tcp", "127.0.0.1:80", "", "it is the host's loopback;"},
		{"*", "tcp", "0.0.0.0:80", "", "it means the host itself;"},
		{"*", "tcp", "10.0.2.77:80", "", "nobody else is in the container's network;"},
		// Name servers.
		{"*", "udp", "8.8.8.8:53", "", "questions about names go to the container's own name server only;"},
		{"!a.org", "tcp", "8.8.8.8:53", "", "questions about names go to the container's own name server only;"},
		{"8.8.8.8", "udp", "8.8.8.8:53", "", "questions about names go to the container's own name server only;"},
		// The host's loopback.
		{"*", "tcp", "10.0.2.2:80", "", "the host's loopback is closed; --allow-net host:80"},
		{"host:80", "tcp", "10.0.2.2:80", "", "allowed host:80"},
		{"host:80", "tcp", "10.0.2.2:81", "", "the host's loopback is closed; --allow-net host:81"},
		{"host !host:22", "tcp", "10.0.2.2:22", "", "a rule denies it host:22;"},
		// Only what is denied is.
		{"!a.org", "tcp", "203.0.113.1:443", "", "allowed mustnotdeny"},
		{"!a.org:443", "tcp", "203.0.113.1:80", "", "allowed"},
		{"!10.0.0.0/8", "tcp", "10.1.2.3:80", "", "a rule denies it 10.0.0.0/8;"},
		{"!10.0.0.0/8", "tcp", "192.168.1.1:80", "", "allowed"},
		{"!0.0.0.0/0", "tcp", "192.168.1.1:80", "", "a rule denies it 0.0.0.0/0;"},
	} {
		host := hostAddrs{list: func() ([]net.Addr, error) {
			return []net.Addr{&net.IPNet{IP: net.IPv4(198, 51, 100, 9), Mask: net.CIDRMask(24, 32)}}, nil
		}}
		to := netip.MustParseAddrPort(c.to)
		q := asked{
			Destination: netns.Destination{Protocol: c.proto, Addr: to}, host: to.Addr().String() == "10.0.2.2", own: to.Addr().String() == "10.0.2.77",
			special: host.special(to.Addr()),
		}
		for _, n := range strings.Fields(c.names) {
			switch n[0] {
			case '-':
				q.expired = append(q.expired, n[1:])
			case '=':
				q.live, q.pinned = append(q.live, n[1:]), append(q.pinned, n[1:])
			default:
				q.live = append(q.live, n)
			}
		}
		got := said(rules(t, strings.Fields(c.rules)...).decide(q))
		if got != c.want && (!strings.HasPrefix(got, c.want) || c.want == "allowed") {
			t.Errorf("%s: %s %s (%s): %q, not %q", c.rules, c.proto, c.to, c.names, got, c.want)
		}
	}
}

func said(d decision) string {
	out := []string{"allowed"}
	if !d.allowed {
		out[0] = d.why
	}
	if d.rule != nil {
		out = append(out, d.rule.Text)
	}
	out = append(out, []string{"", "match", "mustnotdeny"}[d.check])
	s := strings.TrimSpace(strings.Join(slices.DeleteFunc(out, func(s string) bool { return s == "" }), " "))
	if !d.allowed {
		s += "; " + d.flag
	}
	return strings.TrimSpace(s)
}
