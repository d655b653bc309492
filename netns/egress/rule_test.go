package egress

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseRule(t *testing.T) {
	for _, c := range []struct {
		text, want string // kind, name or network, ports
	}{
		{"example.org", "name example.org 1-65535"},
		{"Example.ORG.", "name example.org 1-65535"},
		{"example.org:443", "name example.org 443-443"},
		{"example.org:8000-8010", "name example.org 8000-8010"},
		{"*.example.org:443", "below example.org 443-443"},
		{"*", "any 1-65535"},
		{"*:80", "any 80-80"},
		{"host:5432", "host 5432-5432"},
		{"host.containers.internal:1", "host 1-1"},
		{"host.docker.internal", "host 1-65535"},
		{"203.0.113.7", "net 203.0.113.7/32 1-65535"},
		{"203.0.113.0/24:443", "net 203.0.113.0/24 443-443"},
		{"10.0.0.0/8", "net 10.0.0.0/8 1-65535"},
		{"0.0.0.0/0", "net 0.0.0.0/0 1-65535"},
		{"2001:db8::1", "net 2001:db8::1/128 1-65535"},
		{"2001:db8::/32", "net 2001:db8::/32 1-65535"},
		{"[2001:db8::1]:443", "net 2001:db8::1/128 443-443"},
		{"[2001:db8::]/32:443", "net 2001:db8::/32 443-443"},
		{"[2001:db8::/32]:443-444", "net 2001:db8::/32 443-444"},
		{"xn--bcher-kva.example", "name xn--bcher-kva.example 1-65535"},
		{"_x.a-b.example:1-65535", "name _x.a-b.example 1-65535"},
	} {
		r, err := ParseRule(c.text, "--allow-net", false)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := words(r); got != c.want {
			t.Errorf("%s is %q, not %q", c.text, got, c.want)
		}
	}
}

func words(r Rule) string {
	what := map[kind]string{byName: "name " + r.name, below: "below " + r.name, byAddress: "net " + r.prefix.String(), theHost: "host", anybody: "any"}[r.kind]
	ports := r.ports()
	switch {
	case ports == "":
		ports = ":1-65535"
	case r.first == r.last:
		ports += "-" + ports[1:]
	}
	return what + " " + ports[1:]
}

func TestBadRules(t *testing.T) {
	for _, c := range []struct {
		text   string
		column int
		why    string
		help   string
	}{
		{"", 1, "it is empty", ""},
		{"https://example.org/x", 6, "an address of the web", "example.org"},
		{":80", 1, "the host is missing", "*:80"},
		{"example.org:", 12, "the port is missing", ""},
		{"example.org:0", 13, "from 1 to 65535", ""},
		{"example.org:65536", 13, "from 1 to 65535", ""},
		{"example.org:080", 13, "from 1 to 65535", ""},
		{"example.org:+80", 13, "from 1 to 65535", ""},
		{"example.org:https", 13, `not "https"`, ""},
		{"example.org:80-", 16, "from 1 to 65535", ""},
		{"example.org:80-70", 13, "backwards", "70-80"},
		{"example.org:80-99999", 16, "from 1 to 65535", ""},
		{"8.8.8.8:53", 9, "it can never match: questions about names", ""},
		{"ex*mple.org", 3, "the whole beginning", "*.example.org"},
		{"*.*.org", 3, "the whole beginning", ""},
		{"a..org", 3, "a part of the name is empty", ""},
		{"*.", 3, "the name is empty", ""},
		{"-a.org", 1, "no name has '-' there", ""},
		{"a-.org", 2, "no name has '-' there", ""},
		{"a b.org", 2, "no name has ' ' there", ""},
		{"a.org,b.org", 6, "no name has ',' there", ""},
		{"evil\x00.org", 5, `no name has '\x00' there`, ""},
		{"evil\r\n.org", 5, `no name has '\r' there`, ""},
		{"bücher.example", 2, "ASCII", "xn--"},
		{strings.Repeat("a", 64) + ".org", 1, "63", ""},
		{strings.Repeat("a.", 127) + "org", 1, "253", ""},
		{"2130706433", 1, "neither an address nor a network", ""},
		{"0x7f.1", 1, "neither an address nor a network", ""},
		{"0x7f000001", 1, "neither an address nor a network", ""},
		{"0177.0.0.1", 1, "neither an address nor a network", ""},
		{"127.1", 1, "neither an address nor a network", ""},
		{"256.1.1.1", 1, "neither an address nor a network", ""},
		{"10.0.0.0/33", 9, "neither an address nor a network", ""},
		{"10.0.0.0/8/8", 9, "neither an address nor a network", ""},
		{"10.1.2.3/8", 9, "bits are set behind the mask", "10.0.0.0/8"},
		{"[2001:db8::1", 1, "the bracket is not closed", ""},
		{"[2001:db8::1]443", 14, "after the bracket", ""},
		{"fe80::1%eth0", 8, "one interface", ""},
		{"::ffff:10.0.0.1", 1, "IPv4 is written as such", "10.0.0.1"},
		{"localhost:80", 1, "localhost is the container itself", "host:80"},
		{"127.0.0.1:80", 1, "it can never match: it is the host's loopback", "--allow-net host:80"},
		{"127.0.0.0/8", 1, "it can never match", "--allow-net host"},
		{"::1", 1, "it can never match", ""},
		{"0.0.0.0", 1, "it can never match", ""},
		{"224.0.0.0/4", 1, "it can never match: it is a group of hosts", ""},
		{"255.255.255.255", 1, "it can never match", ""},
		{"fe80::/10", 1, "it can never match", ""},
	} {
		_, err := ParseRule(c.text, "--allow-net", false)
		wrong := new(RuleError)
		if !errors.As(err, &wrong) {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if wrong.Column != c.column || !strings.Contains(wrong.Why, c.why) || !strings.Contains(wrong.Help, c.help) {
			t.Errorf("%q: column %d, %q, %q", c.text, wrong.Column, wrong.Why, wrong.Help)
		}
	}
}

// list reads rules: a ! before one denies.
func list(t testing.TB, words ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, w := range words {
		text, deny := strings.CutPrefix(w, "!")
		from := "--allow-net"
		if deny {
			from = "--deny-net"
		}
		r, err := ParseRule(text, from, deny)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// rules are such a list; only what one allows goes out, if one allows anything.
func rules(t testing.TB, words ...string) *Rules {
	t.Helper()
	l := list(t, words...)
	only := false
	for _, r := range l {
		only = only || !r.Deny
	}
	s, err := NewRules(l, only, netip.MustParsePrefix("10.0.2.100/24"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRulesThatNeverMatch(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  string // "" for none
	}{
		{[]string{"a.org", "b.org", "10.0.0.0/8", "!10.1.0.0/16", "*.a.org", "!x.a.org"}, ""},
		{[]string{"a.org:80", "a.org:443"}, ""},
		{[]string{"a.org:80-90", "a.org:85-95"}, ""},
		{[]string{"0.0.0.0/0", "10.0.0.0/8"}, ""}, // the first one opens no private network
		{[]string{"a.org", "!b.org"}, ""},
		{[]string{"a.org", "A.org."}, "--allow-net A.org.: it can never match: it is there twice: --allow-net"},
		{[]string{"a.org:443", "a.org"}, "--allow-net a.org:443: it can never match: a.org of --allow-net decides about all of it"},
		{[]string{"*.a.org", "x.a.org:80"}, "x.a.org:80: it can never match: *.a.org of"},
		{[]string{"*.x.a.org", "*.a.org"}, "*.x.a.org: it can never match"},
		{[]string{"10.1.0.0/16", "10.0.0.0/8"}, "10.1.0.0/16: it can never match: 10.0.0.0/8"},
		{[]string{"0.0.0.0/0", "203.0.113.0/24"}, "203.0.113.0/24: it can never match"},
		{[]string{"*", "a.org"}, "a.org: it can never match: * of"},
		{[]string{"*", "203.0.113.0/24:80"}, "203.0.113.0/24:80: it can never match"},
		{[]string{"10.1.0.0/16:80", "!10.0.0.0/8"}, "10.1.0.0/16:80: it can never match: 10.0.0.0/8 of --deny-net"},
		{[]string{"a.org", "!*"}, "a.org: it can never match: * of --deny-net"},
		{[]string{"!a.org", "!*.org", "!b.org"}, "a.org: it can never match: *.org of --deny-net"},
		{[]string{"10.0.2.0/25"}, "10.0.2.0/25: it can never match: it is in the container's own network 10.0.2.0/24"},
		{[]string{"10.0.2.3"}, "own network"},
		{[]string{"host:1", "host"}, "host:1: it can never match: host of"},
		{[]string{"*", "host:80"}, ""}, // the host is nobody's name
	} {
		_, err := NewRules(list(t, c.words...), true, netip.MustParsePrefix("10.0.2.100/24"))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, not %q", c.words, got, c.want)
		}
	}
}

func TestParseFile(t *testing.T) {
	got, err := ParseFile("rules", []byte("# who\nnpm.example.org:443\n\n  allow *.example.org # all\ndeny 10.0.0.0/8\r\n\tdeny x.example.org"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range got {
		word := "allow"
		if r.Deny {
			word = "deny"
		}
		lines = append(lines, r.From+" "+word+" "+r.Text)
	}
	want := "rules:2 allow npm.example.org:443|rules:4 allow *.example.org|rules:5 deny 10.0.0.0/8|rules:6 deny x.example.org"
	if s := strings.Join(lines, "|"); s != want {
		t.Errorf("got %s", s)
	}
	for text, want := range map[string]string{
		"a.org\n\tb.org:99999":      "rules:2:8: b.org:99999: a port is a number",
		"a.org b.org":               "rules:1:7: b.org: there is one rule in a line",
		"ok.org\ndeny":              "rules:2:5: deny: the host is missing",
		"ok.org\n# x\ndeny 10.0/8 ": "rules:3:10: 10.0/8: it is neither",
		"a\x00b.org":                "rules:1:2: a\x00b.org: no name has",
	} {
		if _, err := ParseFile("rules", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, not %q", text, err, want)
		}
	}
	same, err := ParseFile("rules", []byte("a.org\n  *.b.org\n  x.b.org"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewRules(same, true); err == nil || !strings.HasPrefix(err.Error(), "rules:3:3: x.b.org: it can never match: *.b.org of rules:2") {
		t.Errorf("rules that cover each other: %v", err)
	}
}

// FuzzRule: what is read without an error has the meaning that its text has when it is
// written anew, and nothing makes the reader fall over.
func FuzzRule(f *testing.F) {
	for _, s := range []string{"example.org:443", "*.example.org", "[2001:db8::/32]:1-2", "10.0.0.0/8", "host:1", "*:9", "a:b:c", "[", "0x7f.1:80", "xn--a.b-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text, "--allow-net", false)
		if err != nil {
			wrong := new(RuleError)
			if !errors.As(err, &wrong) || wrong.Why == "" || wrong.Column < 1 || wrong.Column > len(text)+1 {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		again, err := ParseRule(canonical(r), "--allow-net", false)
		if err != nil || !again.same(&r) {
			t.Fatalf("%q: %q: %v", text, canonical(r), err)
		}
		if _, err := ParseFile("x", []byte(text)); err != nil && !strings.ContainsAny(text, "# \t\r\n") && text != "deny" && text != "allow" {
			t.Fatalf("%q is a rule, but none in a file: %v", text, err)
		}
	})
}

// canonical writes a rule.
func canonical(r Rule) string {
	switch r.kind {
	case below:
		return "*." + r.name + r.ports()
	case byAddress:
		if r.prefix.Addr().Is6() {
			return "[" + r.prefix.String() + "]" + r.ports()
		}
		return r.prefix.String() + r.ports()
	case theHost:
		return "host" + r.ports()
	case anybody:
		return "*" + r.ports()
	}
	return r.name + r.ports()
}

func TestPorts(t *testing.T) {
	for _, c := range []struct {
		words string
		only  bool
		want  []uint16
		all   bool
	}{
		{"", false, nil, true},
		{"", true, nil, false},
		{"!a.org:80", false, nil, true},
		{"a.org:443 10.0.0.0/8:443 host:8000-8002 !a.org:80", true, []uint16{443, 8000, 8001, 8002}, false},
		{"a.org:443 b.org", true, nil, true},
		{"a.org:1000-1003", true, []uint16{1000, 1001, 1002, 1003}, false},
		{"a.org:1000-1004", true, nil, true},
		{"a.org:1000-1003 a.org:443", true, nil, true},
	} {
		s, err := NewRules(list(t, strings.Fields(c.words)...), c.only)
		if err != nil {
			t.Fatal(err)
		}
		if got, all := s.Ports(4); all != c.all || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", c.words, got, all)
		}
	}
	if _, all := (*Rules)(nil).Ports(4); !all {
		t.Error("without rules not all is open")
	}
}
