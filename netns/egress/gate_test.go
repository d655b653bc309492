package egress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/netns"
)

func to(proto, addr string) netns.Destination {
	return netns.Destination{Protocol: proto, Addr: netip.MustParseAddrPort(addr)}
}

func TestRecord(t *testing.T) {
	g, said := testGate(t, "a.org:443", "host:80")
	var log bytes.Buffer
	g.record.log = &log
	a := netip.MustParseAddr("203.0.113.1")
	g.names.bind("a.org", a, time.Hour)
	for range 3 {
		f := g.Open(to("tcp", "203.0.113.1:443"))
		f.Sent(10)
		f.Received(100)
		f.Close(nil)
		f.Close(nil) // once is enough
	}
	g.Open(to("tcp", "203.0.113.1:443")).Close(errors.New("connection refused"))
	for range 2 {
		if g.Open(to("tcp", "203.0.113.9:22")) != nil || g.Open(to("udp", "10.0.2.2:9")) != nil {
			t.Fatal("let through")
		}
	}
	open := g.Open(to("tcp", "10.0.2.2:80"))
	open.Sent(1)
	g.End()
	open.Close(nil)
	var got []string
	for _, f := range g.Summary().Flows {
		got = append(got, fmt.Sprintf("%d %s %s %s:%d %s %s %d/%d %s", f.Count, f.Protocol, f.Name, f.Address, f.Port, f.Rule, f.Verdict, f.BytesSent, f.BytesReceived, f.Flag+f.Error))
	}
	want := []string{
		"3 tcp a.org 203.0.113.1:443 a.org:443 allowed 30/300 ",
		"1 tcp a.org 203.0.113.1:443 a.org:443 allowed 0/0 connection refused",
		"2 tcp  203.0.113.9:22  denied 0/0 --allow-net 203.0.113.9:22",
		"2 udp host 10.0.2.2:9  denied 0/0 --allow-net host:9",
		"1 tcp host 10.0.2.2:80 host:80 allowed 1/0 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the summary is\n%s", strings.Join(got, "\n"))
	}
	if len(*said) != 2 {
		t.Errorf("it said %q", *said)
	}
	lines := 0
	for line := range bytes.Lines(log.Bytes()) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil || e.Verdict == "" || e.Time.IsZero() {
			t.Errorf("a line of the log: %s: %v", line, err)
		}
		lines++
	}
	if lines != 9 {
		t.Errorf("the log has %d lines", lines)
	}
}

// TestRecordOrder: flows are listed as they began, not as they ended, so that two runs
// of one command have one report.
func TestRecordOrder(t *testing.T) {
	g, _ := testGate(t, "203.0.113.0/24")
	first, second := g.Open(to("tcp", "203.0.113.1:443")), g.Open(to("tcp", "203.0.113.2:443"))
	again := g.Open(to("tcp", "203.0.113.1:443"))
	second.Close(nil)
	again.Close(nil)
	first.Close(nil)
	var got []string
	for _, f := range g.Summary().Flows {
		got = append(got, fmt.Sprint(f.Count, " ", f.Address))
	}
	if want := []string{"2 203.0.113.1", "1 203.0.113.2"}; !slices.Equal(got, want) {
		t.Errorf("the order is %q", got)
	}
}

// TestFloodOfDenials: neither memory nor log nor the user's terminal grow with what a
// hostile container tries.
func TestFloodOfDenials(t *testing.T) {
	g, said := testGate(t, "a.org")
	var log bytes.Buffer
	g.record.log, g.record.logged = &log, maxLog-1000
	const many = maxTotals + 1000
	for i := range many {
		g.Open(netns.Destination{Protocol: netns.TCP, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, byte(i >> 16), byte(i >> 8), byte(i)}), 443)})
	}
	s := g.Summary()
	if len(s.Flows) != maxTotals || s.Further.Count != many-maxTotals {
		t.Errorf("%d flows and %d further ones", len(s.Flows), s.Further.Count)
	}
	if len(*said) != maxSaid+1 || !strings.Contains((*said)[maxSaid], "more than can be told") {
		t.Errorf("it said %d things", len(*said))
	}
	if log.Len() > 2000 || !strings.Contains(log.String(), "the log is full") {
		t.Errorf("the log has %d bytes more", log.Len())
	}
}

// TestReload: flows that other rules do not allow end at once, others go on.
func TestReload(t *testing.T) {
	g, _ := testGate(t, "a.org", "b.org", "203.0.113.128/25")
	a, c := netip.MustParseAddr("203.0.113.1"), "203.0.113.200:80"
	g.names.bind("a.org", a, time.Hour)
	g.names.bind("b.org", a, time.Hour)
	ended := map[string]bool{}
	start := func(what, called, addr string) netns.Flow {
		f := g.Open(to("tcp", addr))
		if f == nil {
			t.Fatalf("%s: refused", what)
		}
		if called != "" {
			if err := f.(*flow).mayBeCalled(called); err != nil {
				t.Fatal(err)
			}
		}
		f.Revoked(func() { ended[what] = true; f.Close(nil) })
		return f
	}
	start("a", "a.org", "203.0.113.1:443")
	start("b", "b.org", "203.0.113.1:443")
	start("a or b", "", "203.0.113.1:443")
	start("address", "", c)
	g.Reload(rules(t, "b.org", "c.org"))
	if !ended["a"] || ended["b"] || ended["a or b"] || !ended["address"] {
		t.Errorf("ended: %v", ended)
	}
	if g.Open(to("tcp", c)) != nil {
		t.Error("the old rules are still there")
	}
	var denied []string
	for _, f := range g.Summary().Flows {
		if f.Verdict == "denied" && strings.Contains(f.Reason, "other rules were loaded") {
			denied = append(denied, f.Name+f.Address)
		}
	}
	if len(denied) != 2 {
		t.Errorf("the record says %q", denied)
	}
}

// TestRevokedBefore: rules that change between the decision and the connection.
func TestRevokedBefore(t *testing.T) {
	g, _ := testGate(t, "203.0.113.1")
	f := g.Open(to("tcp", "203.0.113.1:443"))
	g.Reload(rules(t, "a.org"))
	ended := make(chan struct{})
	f.Revoked(func() { close(ended) })
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("it goes on")
	}
}

// TestDatagrams: where a name has to be known, what hides it does not go out.
func TestDatagrams(t *testing.T) {
	initial := append([]byte{0xc3, 0, 0, 0, 1}, make([]byte, 1195)...)
	dtls := append([]byte{0x16, 0xfe, 0xfd}, make([]byte, 60)...)
	for _, c := range []struct {
		rule, what string
		b          []byte
		want       bool
	}{
		{"a.org", "QUIC", initial, false},
		{"a.org", "QUIC 2", append([]byte{0xd3, 0x6b, 0x33, 0x43, 0xcf}, make([]byte, 1195)...), false},
		{"a.org", "DTLS", dtls, false},
		{"a.org", "NTP", make([]byte, 48), true},
		{"a.org", "nothing", nil, true},
		{"203.0.113.1", "QUIC", initial, true},
	} {
		g, said := testGate(t, c.rule)
		g.names.bind("a.org", netip.MustParseAddr("203.0.113.1"), time.Hour)
		f := g.Open(to("udp", "203.0.113.1:4433"))
		if got := f.Datagram(c.b); got != c.want {
			t.Errorf("%s: %s: %v", c.rule, c.what, got)
		}
		f.Close(nil)
		if (len(*said) == 0) != c.want {
			t.Errorf("%s: %s: it said %q", c.rule, c.what, *said)
		}
	}
}

// TestChecked: what a connection says of its peer is held against the rules and the
// names of its address.
func TestChecked(t *testing.T) {
	evil := "GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n"
	for _, c := range []struct{ rules, host, said string }{
		{"a.org b.org", "a.org", ""},
		{"a.org b.org", "b.org", "its request is for b.org, and this address was given for a.org | --allow-net 203.0.113.1:80"},
		{"a.org", "evil.org", "this address was given for a.org | --allow-net evil.org:80"},
		{"a.org !203.0.113.9", "evil.org", "--allow-net evil.org:80"},
		{"a.org !b.org", "b.org", "its request is for b.org, and a rule denies that | "},
		{"!evil.org", "evil.org", "its request is for evil.org, and a rule denies that | "},
		{"!evil.org", "good.org", ""},
		{"203.0.113.0/24 !evil.org", "evil.org", "a rule denies that"},
		{"203.0.113.0/24", "evil.org", ""}, // the address is allowed, whatever it is called
	} {
		g, said := testGate(t, strings.Fields(c.rules)...)
		g.names.bind("a.org", netip.MustParseAddr("203.0.113.1"), time.Hour)
		f := g.Open(to("tcp", "203.0.113.1:80"))
		check := f.Check()
		var out bytes.Buffer
		if check != nil {
			_ = check(patient{strings.NewReader(strings.Replace(evil, "evil.org", c.host, 1))}, &out)
		}
		if c.said == "" && (len(*said) > 0 || check != nil && out.Len() == 0) || c.said != "" && (len(*said) != 1 || !strings.Contains((*said)[0], c.said) || out.Len() > 0) {
			t.Errorf("%s: %s: it said %q, and %q came through", c.rules, c.host, *said, out.String())
		}
		f.Close(nil) // a refusal was told before: who hears of the reset may look for its cause at once
	}
}

// TestWatches: without rules all goes, and is written down by name.
func TestWatches(t *testing.T) {
	g, said := testGate(t)
	w := &world{zone: map[string][]string{"a.org": {"203.0.113.1"}}}
	q := query(t, "a.org.", 1, true)
	msg := g.Answer(t.Context(), q, false, w.ask)
	if len(w.asked) != 1 || !bytes.Equal(w.asked[0], q) || read(t, msg) != "Success 203.0.113.1" {
		t.Errorf("the question or its answer was changed: %q, %q", w.asked, msg)
	}
	f := g.Open(to("tcp", "203.0.113.1:443"))
	if f == nil || f.Check() != nil {
		t.Fatal("somebody looks at it")
	}
	f.Close(nil)
	if s := g.Summary(); len(s.Flows) != 1 || s.Flows[0].Name != "a.org" || len(*said) > 0 {
		t.Errorf("%+v, %q", s, *said)
	}
	if g.Open(to("udp", "8.8.8.8:53")) == nil {
		t.Error("without rules other name servers can be asked")
	}
}

var _ io.Reader = patient{}

// TestExplain: the reasons are those of what is refused, and nothing is written down.
func TestExplain(t *testing.T) {
	g, _ := testGate(t, "a.org:443", "!b.a.org", "host:80")
	g.names.bind("a.org", netip.MustParseAddr("203.0.113.1"), time.Hour)
	for _, tt := range []struct{ name, addr, why, flag string }{
		{"a.org", "", "", ""},
		{"A.org.", "", "", ""},
		{"c.org", "", noRule, "--allow-net c.org:443"},
		{"b.a.org", "", denyRule, ""},
		{"no name", "", "it is no name of a host", ""},
		{"host.docker.internal", "", "", ""},
		{"a.org", "203.0.113.1:443", "", ""},
		{"a.org", "203.0.113.1:80", noRule, "--allow-net a.org:80"},
		{"203.0.113.9", "203.0.113.9:22", notGiven, "--allow-net 203.0.113.9:22"},
		{"10.0.2.2", "10.0.2.2:80", "", ""},
		{"10.0.2.2", "10.0.2.2:81", "the host's loopback is closed", "--allow-net host:81"},
		{"127.0.0.1", "127.0.0.1:81", netns.Refused(netip.MustParseAddr("127.0.0.1")), ""},
	} {
		at := netip.AddrPortFrom(netip.Addr{}, 443)
		if tt.addr != "" {
			at = netip.MustParseAddrPort(tt.addr)
		}
		if why, flag := g.Explain(tt.name, at); why != tt.why || flag != tt.flag {
			t.Errorf("%s %s: %q, %q", tt.name, tt.addr, why, flag)
		}
	}
	if flows := g.Summary().Flows; len(flows) > 0 {
		t.Errorf("written down: %+v", flows)
	}
	free, _ := testGate(t)
	if why, _ := free.Explain("c.org", netip.AddrPort{}); why != "" {
		t.Errorf("without rules: %s", why)
	}
}
