package netns

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask composes a query.
func ask(name string, kind uint16) []byte {
	msg := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	n, ok := encodeName(name)
	if !ok {
		panic(name)
	}
	msg = append(msg, n...)
	return append(msg, byte(kind>>8), byte(kind), 0, classINET)
}

// records are the data of the answers in a message that this package has composed.
func records(t *testing.T, msg []byte) (out []string) {
	t.Helper()
	q, err := parseQuestion(msg)
	if err != nil {
		t.Fatal(err)
	}
	at := q.end
	for range binary.BigEndian.Uint16(msg[6:]) {
		n := int(binary.BigEndian.Uint16(msg[at+10:]))
		out = append(out, string(msg[at+12:at+12+n]))
		at += 12 + n
	}
	if at != len(msg) {
		t.Errorf("%d bytes behind the last record", len(msg)-at)
	}
	return out
}

// testResolver asks servers at port, with files of its own.
func testResolver(t *testing.T, hostsFile, resolvConf string, port int) *Resolver {
	dir := t.TempDir()
	for name, text := range map[string]string{"hosts": hostsFile, "resolv.conf": resolvConf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := ParseOptions("", "")
	if err != nil {
		t.Fatal(err)
	}
	r := NewResolver(c)
	r.hosts.path, r.conf.path = filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	r.port, r.try = uint16(port), 10*time.Second
	return r
}

func TestResolverLocal(t *testing.T) {
	r := testResolver(t, "192.0.2.7 Build.example build # a comment\n2001:db8::7 build.example\nbad line here\n", "nameserver 127.0.0.1\n", 1)
	addr := func(s string) string { return string(netip.MustParseAddr(s).AsSlice()) }
	for _, c := range []struct {
		name string
		kind uint16
		want []string
	}{
		{"build.example", typeA, []string{addr("192.0.2.7")}},
		{"BUILD.EXAMPLE", typeAAAA, []string{addr("2001:db8::7")}},
		{"build", typeA, []string{addr("192.0.2.7")}},
		{"build", typeAAAA, nil},
		{"build", 65, nil}, // HTTPS
		{"host.containers.internal", typeA, []string{addr("10.0.2.2")}},
		{"host.docker.internal", typeAAAA, []string{addr("fd00::2")}},
		{"7.2.0.192.in-addr.arpa", typePTR, []string{"\x05build\x07example\x00"}},
		{"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", typePTR, []string{"\x05build\x07example\x00"}},
	} {
		query := ask(c.name, c.kind)
		msg := r.Answer(t.Context(), query, false)
		if msg == nil || rcode(msg) != 0 || !answers(query, msg) {
			t.Errorf("%s %d: %x", c.name, c.kind, msg)
			continue
		}
		if got := records(t, msg); strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s %d: %q, want %q", c.name, c.kind, got, c.want)
		}
	}
}

// server answers every query over UDP and TCP as f says.
func server(t *testing.T, ip string, port int, f func(query []byte, stream bool) []byte) int {
	t.Helper()
	var l *net.TCPListener
	var u *net.UDPConn
	for tries := 0; u == nil; tries++ { // a port that is free over TCP may be taken over UDP
		var err error
		if l, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(ip), Port: port}); err != nil {
			t.Fatal(err)
		}
		if u, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip), Port: l.Addr().(*net.TCPAddr).Port}); err != nil {
			l.Close()
			if u = nil; port != 0 || tries == 20 {
				t.Fatal(err)
			}
		}
	}
	port = l.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if q, err := ReadMessage(c); err == nil {
				if msg := f(q, true); msg != nil {
					_ = WriteMessage(c, msg)
				}
			}
			c.Close()
		}
	}()
	go func() {
		buf := make([]byte, maxMessage)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			if msg := f(buf[:n], false); msg != nil {
				_, _ = u.WriteTo(msg, from)
			}
		}
	}()
	return port
}

// answer composes an answer with one address.
func answer(query []byte, flags uint16, data ...byte) []byte {
	q, _ := parseQuestion(query)
	msg := reply(query, q, 0)
	binary.BigEndian.PutUint16(msg[2:], binary.BigEndian.Uint16(msg[2:])|flags)
	if data != nil {
		msg = addRecord(msg, typeA, data)
	}
	return msg
}

func TestResolverForwards(t *testing.T) {
	port := server(t, "127.0.0.1", 0, func(q []byte, stream bool) []byte {
		if stream {
			return answer(q, 0, 192, 0, 2, 2)
		}
		return answer(q, flagTruncated)
	})
	r := testResolver(t, "", "nameserver 127.0.0.1\n", port)
	query := append(ask("example.org", typeA), "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"...) // EDNS
	query[11] = 1
	if msg := r.Answer(t.Context(), query, false); msg == nil || !isTruncated(msg) {
		t.Errorf("over UDP: %x, want a truncated answer", msg)
	}
	if got := records(t, r.Answer(t.Context(), query, true)); len(got) != 1 || got[0] != "\xc0\x00\x02\x02" {
		t.Errorf("over TCP: %q", got)
	}
}

// TestResolverNextServer: one that says that it cannot, one that answers another
// question first, one with the answer.
func TestResolverNextServer(t *testing.T) {
	port := server(t, "127.0.0.1", 0, func(q []byte, _ bool) []byte { return answer(q, rcodeServFail) })
	asked := make(chan []byte, 4)
	server(t, "127.0.0.2", port, func(q []byte, _ bool) []byte {
		asked <- bytes.Clone(q)
		return answer(q, 0, 192, 0, 2, 3)
	})
	r := testResolver(t, "", "nameserver 127.0.0.1\nnameserver 127.0.0.2\n", port)
	query := ask("example.org", typeA)
	if got := records(t, r.Answer(t.Context(), query, false)); len(got) != 1 || got[0] != "\xc0\x00\x02\x03" {
		t.Errorf("got %q", got)
	}
	if got := <-asked; !bytes.Equal(got, query) {
		t.Errorf("the server was asked %x, not %x", got, query)
	}
	// A change of the file is seen.
	r.conf.checked = time.Time{}
	if err := os.WriteFile(r.conf.path, []byte("search example.org\nnameserver 127.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.conf.get().Servers; len(got) != 1 || got[0].String() != "127.0.0.2" {
		t.Errorf("servers %v", got)
	}
}

func TestResolverNobody(t *testing.T) {
	r := testResolver(t, "", "nameserver 127.0.0.1\n", 1) // refused at once
	msg := r.Answer(t.Context(), ask("example.org", typeA), false)
	if msg == nil || rcode(msg) != rcodeServFail {
		t.Errorf("%x, want SERVFAIL", msg)
	}
	for name, query := range map[string][]byte{
		"empty": nil, "short": {1, 2, 3}, "an answer": answer(ask("a", typeA), 0), "no question": make([]byte, headerLen),
	} {
		if msg := r.Answer(t.Context(), query, false); msg != nil {
			t.Errorf("%s: answered %x", name, msg)
		}
	}
	update := ask("example.org", typeA)
	update[2] |= 5 << 3
	if msg := r.Answer(t.Context(), update, false); msg == nil || rcode(msg) != rcodeNotImpl {
		t.Errorf("an update: %x, want NOTIMP", msg)
	}
}

func TestAnswersOnlyTheQuestion(t *testing.T) {
	query := ask("example.org", typeA)
	other := answer(query, 0)
	other[1]++
	for name, msg := range map[string][]byte{
		"another number": other, "another name": answer(ask("example.com", typeA), 0), "another type": answer(ask("example.org", typeAAAA), 0), "a query": query,
	} {
		if answers(query, msg) {
			t.Errorf("%s is taken for the answer", name)
		}
	}
	if !answers(query, answer(ask("EXAMPLE.org", typeA), 0)) {
		t.Error("the case of letters matters")
	}
}

func TestParseResolvConf(t *testing.T) {
	c := ParseResolvConf("# x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nsearch a b\ndomain c\nsearch d e\noptions ndots:2 edns0\n")
	if len(c.Servers) != 3 || c.Servers[1].Zone() != "eth0" || strings.Join(c.Search, " ") != "d e" || len(c.Options) != 2 {
		t.Errorf("%+v", c)
	}
	if c := ParseResolvConf(""); len(c.Servers) != 1 || c.Servers[0].String() != "127.0.0.1" {
		t.Errorf("without a server: %v", c.Servers)
	}
}

func FuzzDNS(f *testing.F) {
	f.Add(ask("example.org", typeA))
	f.Add(answer(ask("a.b", typeA), 0, 1, 2, 3, 4))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Add(ask("1.0.0.127.in-addr.arpa", typePTR))
	c, err := ParseOptions("", "")
	if err != nil {
		f.Fatal(err)
	}
	r := NewResolver(c)
	r.hosts.path = "/dev/null"
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, err := parseQuestion(msg)
		if err != nil {
			return
		}
		if q.end > len(msg) || len(q.name) > 255 {
			t.Errorf("%+v of %d bytes", q, len(msg))
		}
		if local := r.local(msg, q); local != nil && !answers(msg, local) {
			t.Errorf("%x does not answer %x", local, msg)
		}
		if got := reply(msg, q, rcodeServFail); !answers(msg, got) {
			t.Errorf("%x does not answer %x", got, msg)
		}
	})
}
