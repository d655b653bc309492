package builtin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"coracle/netns"

	"golang.org/x/net/dns/dnsmessage"
)

func TestParseProxied(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example", "a.example:443"},
		{"CONNECT A.Example.:443 HTTP/1.0", "a.example:443"},
		{"CONNECT [2001:DB8::1]:443 HTTP/1.1", "[2001:db8::1]:443"},
		{"GET http://a.example/x?y#z HTTP/1.1\r\nHost: b.example\r\nAccept: */*\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive\r\nProxy-Authorization: Basic eA==",
			"a.example:80 GET /x?y HTTP/1.1|Host: a.example|Accept: */*|Connection: close||"},
		{"POST HTTP://a.example:8080?q HTTP/1.0\r\nContent-Length: 3", "a.example:8080 POST /?q HTTP/1.0|Host: a.example:8080|Content-Length: 3|Connection: close||"},
		{"GET http://192.0.2.1 HTTP/1.1", "192.0.2.1:80 GET / HTTP/1.1|Host: 192.0.2.1|Connection: close||"},
		{"GET http://[::1]:81/ HTTP/1.1", "[::1]:81 GET / HTTP/1.1|Host: [::1]:81|Connection: close||"},
		{"GET / HTTP/1.1\r\nHost: a.example", "!a proxy takes"},
		{"GET https://a.example/ HTTP/1.1", "!a proxy takes"},
		{"GET http://u:p@a.example/ HTTP/1.1", "!no port"},
		{"GET http://u@a.example/ HTTP/1.1", "!no name"},
		{"CONNECT a.example HTTP/1.1", "!which port"},
		{"CONNECT a.example:0 HTTP/1.1", "!no port"},
		{"CONNECT a.example:443x HTTP/1.1", "!no port"},
		{"CONNECT [a]:443 HTTP/1.1", "!no address"},
		{"CONNECT [::1%lo]:443 HTTP/1.1", "!no address"},
		{"CONNECT :443 HTTP/1.1", "!no name"},
		{"CONNECT a_b\u00e9.example:443 HTTP/1.1", "!no request"},
		{"GET  http://a.example/ HTTP/1.1", "!no request"},
		{"GET http://a.example/ HTTP/2.0", "!no request"},
		{"GET http://a.example/ HTTP/1.1\r\n folded", "!no field"},
		{"GET http://a.example/ HTTP/1.1\r\nX: a\nHost: b", "!no field"},
		{"GET http://a.example/ HTTP/1.1\r\nContent-Length : 3", "!no field"},
	} {
		p, err := parseProxied(tt.in)
		got := p.word()
		if err != nil {
			got = "!" + err.Error()
		} else if p.head != nil {
			got += " " + strings.ReplaceAll(string(p.head), "\r\n", "|")
		}
		if got != tt.want && (tt.want[0] != '!' || !strings.Contains(got, tt.want[1:])) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

// FuzzProxied: who reads what is passed on finds the one request, for the same one.
func FuzzProxied(f *testing.F) {
	for _, s := range []string{"CONNECT a.example:443 HTTP/1.1", "GET http://a.example/x HTTP/1.1\r\nAccept: */*\r\nHost: b", "POST http://[::1]:81/ HTTP/1.0\r\nContent-Length: 3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, head string) {
		p, err := parseProxied(head)
		if err != nil || p.head == nil {
			return
		}
		in := bufio.NewReader(strings.NewReader(string(p.head)))
		r, err := http.ReadRequest(in)
		if err != nil {
			return // stricter than we are: then nobody is misled
		}
		if r.Host != p.hostHeader() || r.URL.Host != "" || strings.Count(string(p.head), "\r\n\r\n") != 1 {
			t.Errorf("%q is for %q, and %q passed", head, p.word(), p.head)
		}
	})
}

// gatekeeper knows one name, and lets nobody talk to anybody else.
type gatekeeper struct{ asked chan string }

func (g gatekeeper) Answer(_ context.Context, query []byte, _ bool, _ netns.Ask) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return nil
	}
	q := m.Questions[0]
	g.asked <- q.Name.String()
	m.Response, m.RCode = true, dnsmessage.RCodeNameError
	if q.Name.String() == "a.example." {
		m.RCode = dnsmessage.RCodeSuccess
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: world4.As4()}}}
		}
	}
	out, _ := m.Pack()
	return out
}

func (g gatekeeper) Open(to netns.Destination) netns.Flow {
	if to.Addr.Addr() != world4 {
		return nil
	}
	return checking{}
}

func (gatekeeper) Explain(name string, to netip.AddrPort) (why, flag string) {
	if name == "a.example" || to.Addr() == world4 {
		return "", ""
	}
	return "no rule", "--allow-net " + name
}

// checking is a flow whose gate sees all and passes the first KiB by itself, as HTTP's does.
type checking struct{ unseen }

func (checking) Check() func(netns.Reader, io.Writer) error {
	return func(in netns.Reader, out io.Writer) error {
		b := make([]byte, 16) // less than the head
		n, err := in.Read(b)
		if err == nil {
			_, err = out.Write(b[:n])
		}
		return err
	}
}

func TestProxy(t *testing.T) {
	gate := gatekeeper{make(chan string, 100)}
	c := startFor(t, "", func(c *container) {
		c.n.Guard(gate)
		c.n.Proxy()
	})
	at := serveTCP(t, "192.0.2.1:0", func(s *net.TCPConn) {
		defer s.Close()
		r, err := http.ReadRequest(bufio.NewReader(s))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		answer := r.Method + " " + r.Host + r.RequestURI + " " + string(body)
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+answer)
	})
	_, port, _ := net.SplitHostPort(at)
	ask := func(request string) (status, body string) {
		s := c.mustDial("tcp", ProxyAddr(c.c).String())
		if _, err := io.WriteString(s, request); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(s)
		r, err := http.ReadResponse(in, nil)
		if err == nil && strings.HasPrefix(request, "CONNECT") && r.StatusCode == 200 {
			_, _ = io.WriteString(s, "GET /tunnel HTTP/1.1\r\nHost: inner\r\n\r\n")
			r, err = http.ReadResponse(in, nil)
		}
		if err != nil {
			return err.Error(), ""
		}
		all, _ := io.ReadAll(r.Body)
		return r.Status, string(all)
	}
	for _, tt := range []struct{ request, status, body string }{
		{"GET http://a.example:PORT/x HTTP/1.1\r\nHost: evil\r\n\r\n", "200 OK", "GET a.example:PORT/x "},
		{"POST http://192.0.2.1:PORT/ HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "200 OK", "POST 192.0.2.1:PORT/ hello"},
		{"CONNECT a.example:PORT HTTP/1.1\r\n\r\n", "200 OK", "GET inner/tunnel "},
		{"CONNECT b.example:443 HTTP/1.1\r\n\r\n", "403 b.example:443: no rule (--allow-net b.example)", "b.example:443: no rule\nhint: --allow-net b.example would allow it\n"},
		{"POST http://203.0.113.1/ HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "403 203.0.113.1:80: no rule (--allow-net 203.0.113.1)", ""},
		{"CONNECT a.example:1 HTTP/1.1\r\n\r\n", "502 a.example:1: ", ""},
		{"GET / HTTP/1.1\r\n\r\n", "400 a proxy takes", ""},
		{"GET http://a.example/ HTTP/1.1\r\nX: " + strings.Repeat("x", maxProxyHead) + "\r\n\r\n", "431 ", ""},
	} {
		status, body := ask(strings.ReplaceAll(tt.request, "PORT", port))
		if !strings.HasPrefix(status, tt.status) || tt.body != "" && body != strings.ReplaceAll(tt.body, "PORT", port) {
			t.Errorf("%.60q: %q, %q", tt.request, status, body)
		}
	}
	if name := <-gate.asked; name != "a.example." {
		t.Errorf("the gate was asked for %q", name)
	}
	// Who has not asked for a proxy has none.
	without := start(t, "")
	if _, err := without.dial("tcp", ProxyAddr(without.c).String()); err == nil {
		t.Error("there is a proxy that nobody asked for")
	} else if errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
