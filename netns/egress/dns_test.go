package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"coracle/netns"

	"golang.org/x/net/dns/dnsmessage"
)

// world answers as the outside does, and remembers what it was asked.
type world struct {
	zone  map[string][]string // name: addresses, or "cname x", with "ttl n" before
	asked [][]byte
	code  dnsmessage.RCode
	cut   bool // over UDP
}

func (w *world) ask(_ context.Context, query []byte, stream bool) []byte {
	w.asked = append(w.asked, slices.Clone(query))
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	h.Response, h.RCode, h.Truncated = true, w.code, w.cut && !stream
	b := dnsmessage.NewBuilder(nil, h)
	err = errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers())
	if !h.Truncated {
		err = errors.Join(err, w.records(&b, q.Name, q.Type))
	}
	msg, ferr := b.Finish()
	if err != nil || ferr != nil {
		return nil
	}
	return msg
}

func (w *world) records(b *dnsmessage.Builder, name dnsmessage.Name, kind dnsmessage.Type) (err error) {
	head := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
	for _, r := range w.zone[lower(name)] {
		if rest, ok := strings.CutPrefix(r, "cname "); ok {
			to := dnsmessage.MustNewName(rest + ".")
			err = errors.Join(err, b.CNAMEResource(head, dnsmessage.CNAMEResource{CNAME: to}))
			if to != name {
				err = errors.Join(err, w.records(b, to, kind))
			}
			continue
		}
		switch a := netip.MustParseAddr(r); {
		case a.Is4() && kind == dnsmessage.TypeA:
			err = errors.Join(err, b.AResource(head, dnsmessage.AResource{A: a.As4()}))
		case a.Is6() && kind == dnsmessage.TypeAAAA:
			err = errors.Join(err, b.AAAAResource(head, dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	return err
}

// testGate is a gate with rules that hears what is said.
func testGate(t testing.TB, words ...string) (*Gate, *[]string) {
	t.Helper()
	c, err := netns.ParseOptions("", "")
	if err != nil {
		t.Fatal(err)
	}
	said := new([]string)
	o := Options{Config: c, Search: []string{"corp.example"}, Say: func(msg, flag string) { *said = append(*said, msg+" | "+flag) }}
	if len(words) > 0 {
		o.Rules = rules(t, words...)
	}
	g := New(o)
	g.host.list = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(198, 51, 100, 9), Mask: net.CIDRMask(24, 32)}}, nil
	}
	return g, said
}

// query is a question as a program asks it.
func query(t testing.TB, name string, kind dnsmessage.Type, edns bool) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 0x1234, RecursionDesired: true})
	n, err := dnsmessage.NewName(name)
	err = errors.Join(err, b.StartQuestions(), b.Question(dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}))
	if edns {
		var h dnsmessage.ResourceHeader
		err = errors.Join(err, b.StartAdditionals(), h.SetEDNS0(4096, 0, true), b.OPTResource(h, dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: 65001, Data: []byte("smuggled")}}}))
	}
	msg, ferr := b.Finish()
	if err = errors.Join(err, ferr); err != nil {
		t.Fatal(err)
	}
	return msg
}

// read is an answer for people: its code, and what it says.
func read(t testing.TB, msg []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("the answer cannot be read: %v", err)
	}
	if m.ID != 0x1234 || !m.Response || len(m.Questions) != 1 || len(m.Authorities) > 0 {
		t.Errorf("a strange answer: %+v", m)
	}
	out := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	for _, r := range m.Answers {
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(b.AAAA).String())
		default:
			out = append(out, r.Header.Type.String())
		}
	}
	for _, r := range m.Additionals {
		if opt, ok := r.Body.(*dnsmessage.OPTResource); ok {
			for _, o := range opt.Options {
				out = append(out, fmt.Sprintf("ede%d", binary.BigEndian.Uint16(o.Data)))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestAnswers(t *testing.T) {
	zone := map[string][]string{
		"a.org": {"203.0.113.1", "2001:db8::1"}, "www.a.org": {"cname edge.cdn.net"}, "edge.cdn.net": {"cname x.cdn.net"}, "x.cdn.net": {"203.0.113.9"},
		"rebind.a.org": {"10.0.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "0.0.0.0", "203.0.113.2", "198.51.100.9", "10.0.2.2", "100.64.0.1"},
		"six.a.org":    {"::1", "::ffff:127.0.0.1", "::7f00:1", "fd00::2", "fe80::1", "64:ff9b::7f00:1", "2001:db8::6", "2002:7f00:1::"},
		"git.a.org":    {"172.16.0.1"}, "metadata.a.org": {"169.254.169.254"}, "loop.a.org": {"cname loop.a.org"},
		"evil.org": {"203.0.113.66"}, "self.a.org": {"cname inner.a.org", "203.0.113.3"}, "inner.a.org": {"10.0.0.1"},
	}
	const https = dnsmessage.Type(65)
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		want string
		out  bool // a question goes out
	}{
		{"a.org.", dnsmessage.TypeA, "Success 203.0.113.1", true},
		{"A.Org.", dnsmessage.TypeA, "Success 203.0.113.1", true},
		{"a.org.", dnsmessage.TypeAAAA, "Success 2001:db8::1", true},
		{"www.a.org.", dnsmessage.TypeA, "Success 203.0.113.9", true},
		{"nosuch.a.org.", dnsmessage.TypeA, "Success", true},
		{"loop.a.org.", dnsmessage.TypeA, "Success", true},
		// Rebinding.
		{"rebind.a.org.", dnsmessage.TypeA, "Success 203.0.113.2 ede17", true},
		{"six.a.org.", dnsmessage.TypeAAAA, "Success 2001:db8::6 ede17", true},
		{"git.a.org.", dnsmessage.TypeA, "Success 172.16.0.1", true}, // a rule opens that network
		{"metadata.a.org.", dnsmessage.TypeA, "Success ede17", true},
		{"inner.a.org.", dnsmessage.TypeA, "Success ede17", true},
		// Nothing but addresses.
		{"a.org.", dnsmessage.TypeTXT, "Success ede17", false},
		{"a.org.", https, "Success ede17", false},
		{"a.org.", dnsmessage.Type(64), "Success ede17", false},
		{"a.org.", dnsmessage.TypeMX, "Success ede17", false},
		{"a.org.", dnsmessage.TypeALL, "Success ede17", false},
		{"a.org.", dnsmessage.TypeCNAME, "Success ede17", false},
		{"1.113.0.203.in-addr.arpa.", dnsmessage.TypePTR, "NameError ede17", false},
		// Other names never leave.
		{"evil.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"secret.tunnel.evil.org.", dnsmessage.TypeTXT, "NameError ede15", false},
		{"a.org.evil.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"xa.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"x.b.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"2130706433.", dnsmessage.TypeA, "NameError ede15", false},
		{"0x7f.1.", dnsmessage.TypeA, "NameError ede15", false},
		{"a\x00.a.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"a\r\n.a.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"a b.a.org.", dnsmessage.TypeA, "NameError ede15", false},
		{"b\xc3\xbccher.a.org.", dnsmessage.TypeA, "NameError ede15", false},
		{".", dnsmessage.TypeA, "NameError ede15", false},
	} {
		g, _ := testGate(t, "a.org", "*.a.org", "172.16.0.0/12", "b.org", "!192.168.0.0/16")
		w := &world{zone: zone}
		got := read(t, g.Answer(context.Background(), query(t, c.name, c.kind, true), false, w.ask))
		if got != c.want {
			t.Errorf("%q %v: %q, not %q", c.name, c.kind, got, c.want)
		}
		if (len(w.asked) > 0) != c.out {
			t.Errorf("%q %v: %d questions went out", c.name, c.kind, len(w.asked))
		}
		for _, q := range w.asked {
			if strings.Contains(string(q), "smuggled") || strings.ContainsAny(string(q[12:]), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") || binary.BigEndian.Uint16(q[2:]) != 0x0100 {
				t.Errorf("%q: the container's own question went out: %q", c.name, q)
			}
		}
	}
}

// TestStrangeQuestions: what is no question with one name gets no answer that somebody
// outside has written, and no way there.
func TestStrangeQuestions(t *testing.T) {
	g, _ := testGate(t, "a.org")
	ok := query(t, "a.org.", dnsmessage.TypeA, false)
	for what, change := range map[string]func(b []byte) []byte{
		"an answer":     func(b []byte) []byte { b[2] |= 0x80; return b },
		"two questions": func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) },
		"no question":   func(b []byte) []byte { b[5] = 0; return b[:12] },
		"cut":           func(b []byte) []byte { return b[:20] },
		"nothing":       func(b []byte) []byte { return nil },
		"a dot in a part": func(b []byte) []byte {
			b[12] = 5
			b[13], b[14] = 'a', '.'
			return append(b[:12], "\x05a.org\x00\x00\x01\x00\x01"...)
		},
		"another class": func(b []byte) []byte { b[len(b)-1] = 3; return b },
		"an update":     func(b []byte) []byte { b[2] |= 5 << 3; return b },
	} {
		w := &world{zone: map[string][]string{"a.org": {"203.0.113.1"}}}
		msg := g.Answer(context.Background(), change(slices.Clone(ok)), false, w.ask)
		format := []byte{0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}
		ok := slices.Equal(msg, format)
		switch what {
		case "an answer", "nothing":
			ok = msg == nil
		case "another class", "an update":
			ok = msg != nil && read(t, msg) == "NotImplemented"
		}
		if !ok || len(w.asked) > 0 {
			t.Errorf("%s: %q; %d questions went out", what, msg, len(w.asked))
		}
	}
}

func TestUpstream(t *testing.T) {
	g, _ := testGate(t, "*.org")
	ask := func(w *world) string {
		return read(t, g.Answer(context.Background(), query(t, "many.org.", dnsmessage.TypeA, false), false, w.ask))
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("203.0.113.%d", i))
	}
	if got := ask(&world{zone: map[string][]string{"many.org": many}, cut: true}); strings.Count(got, "203.0.113.") < 10 {
		t.Errorf("an answer that comes whole over TCP only: %q", got)
	}
	if got := ask(&world{code: dnsmessage.RCodeNameError}); got != "NameError" {
		t.Errorf("no such name: %q", got)
	}
	if got := ask(&world{code: dnsmessage.RCodeRefused}); got != "ServerFailure" {
		t.Errorf("refused: %q", got)
	}
	if got := read(t, g.Answer(context.Background(), query(t, "a.org.", dnsmessage.TypeA, false), false, func(context.Context, []byte, bool) []byte { return nil })); got != "ServerFailure" {
		t.Errorf("nobody answers: %q", got)
	}
}

// TestRefusedNames: a person hears once of each name, with the flag that allows it, and
// not of what the C library tried because of that.
func TestRefusedNames(t *testing.T) {
	g, said := testGate(t, "a.org", "!*.bad.org", "*.bad.net")
	w := &world{zone: map[string][]string{"x.bad.net": {"10.0.0.1", "10.0.2.3", "198.51.100.9"}}}
	for _, name := range []string{"evil.org.", "evil.org.", "evil.org.corp.example.", "x.bad.org.", "x.bad.net.", "a\nb."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			g.Answer(context.Background(), query(t, name, kind, false), false, w.ask)
		}
	}
	want := []string{
		"the network refused the name evil.org: no rule allows it | --allow-net evil.org",
		"the network refused the name x.bad.org: a rule denies it | ",
		"the network refused the name x.bad.net to be 10.0.0.1: it is in the special network 10.0.0.0/8 | --allow-net 10.0.0.1",
		"the network refused the name x.bad.net to be 10.0.2.3: no name may lead there | ",
		"the network refused the name x.bad.net to be 198.51.100.9: it is an address of the host's own | --allow-net 198.51.100.9",
		`the network refused the name "a\nb.": it is no name of a host | `,
	}
	if !slices.Equal(*said, want) {
		t.Errorf("it said\n%s", strings.Join(*said, "\n"))
	}
}

// FuzzAnswer: whatever the container asks and the outside answers, what goes out is a
// question for a name that is allowed, and what comes back has addresses only.
func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "a.org.", dnsmessage.TypeA, true), (&world{zone: map[string][]string{"a.org": {"203.0.113.1", "10.0.0.1"}}}).ask(context.Background(), query(f, "a.org.", dnsmessage.TypeA, false), true))
	f.Add(query(f, "x.a.org.", dnsmessage.TypeTXT, false), []byte{})
	f.Fuzz(func(t *testing.T, question, answer []byte) {
		g, _ := testGate(t, "a.org", "*.a.org")
		msg := g.Answer(context.Background(), question, false, func(_ context.Context, q []byte, _ bool) []byte {
			var m dnsmessage.Message
			if err := m.Unpack(q); err != nil || len(m.Questions) != 1 || len(m.Answers)+len(m.Authorities) > 0 {
				t.Fatalf("%q went out: %v", q, err)
			}
			name := strings.TrimSuffix(m.Questions[0].Name.String(), ".")
			if name != "a.org" && !strings.HasSuffix(name, ".a.org") {
				t.Fatalf("a question for %q went out", name)
			}
			return answer
		})
		if msg == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(msg); err != nil {
			t.Fatalf("the answer cannot be read: %v", err)
		}
		for _, r := range m.Answers {
			var a netip.Addr
			switch b := r.Body.(type) {
			case *dnsmessage.AResource:
				a = netip.AddrFrom4(b.A)
			case *dnsmessage.AAAAResource:
				a = netip.AddrFrom16(b.AAAA)
			default:
				if len(m.Questions) == 1 && slices.Contains(netns.HostNames, lower(m.Questions[0].Name)) {
					continue
				}
				t.Fatalf("a record of type %v came through", r.Header.Type)
			}
			if a.IsPrivate() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Is4In6() {
				t.Fatalf("%s came through", a)
			}
			if live, _, _ := g.names.of(a); len(live) == 0 {
				t.Fatalf("%s came through, and is tied to no name", a)
			}
		}
	})
}
