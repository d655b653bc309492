package egress

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// patient is a container's side that has all its bytes already.
type patient struct{ io.Reader }

func (patient) SetReadDeadline(time.Time) error { return nil }

// through sends bytes through a check where the peer may be called a.org or b.org, and
// returns what came out.
func through(r io.Reader) (string, error) {
	var out bytes.Buffer
	s := &stream{in: patient{r}, out: &out, sent: func(int) {}, hidden: errors.New("it must tell"), called: func(name string) error {
		if name != "a.org" && name != "b.org" {
			return errors.New("it may not")
		}
		return nil
	}}
	err := s.run(false)
	if err == nil && !s.end {
		rest, rerr := io.ReadAll(r)
		out.Write(rest)
		err = rerr
	}
	return out.String(), err
}

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(theirs, c).Handshake()
		theirs.Close()
	}()
	buf := make([]byte, 16<<10)
	n, err := ours.Read(buf)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func helloFor(t testing.TB, name string) []byte {
	return clientHello(t, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // nobody answers
}

// echHello has an encrypted greeting for inner, and one for outer that is not.
func echHello(t testing.TB, inner, outer string) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub := key.PublicKey().Bytes()
	c := []byte{7, 0, 0x20}
	c = binary.BigEndian.AppendUint16(c, uint16(len(pub)))
	c = append(c, pub...)
	c = append(c, 0, 4, 0, 1, 0, 1, 32, byte(len(outer)))
	c = append(append(c, outer...), 0, 0)
	c = append(binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(c))), c...)
	configs := append(binary.BigEndian.AppendUint16(nil, uint16(len(c))), c...)
	return clientHello(t, &tls.Config{ServerName: inner, MinVersion: tls.VersionTLS13, EncryptedClientHelloConfigList: configs})
}

// records splits a record of TLS into records of n bytes.
func records(hello []byte, n int) []byte {
	var out []byte
	for body := hello[5:]; len(body) > 0; {
		part := body[:min(n, len(body))]
		out = append(binary.BigEndian.AppendUint16(append(out, hello[:3]...), uint16(len(part))), part...)
		body = body[len(part):]
	}
	return out
}

func TestGreetings(t *testing.T) {
	a, evil := helloFor(t, "a.org"), helloFor(t, "evil.org")
	alert := []byte{0x15, 3, 1, 0, 2, 1, 90}
	trailing := bytes.Replace(helloFor(t, "a.orgx"), []byte("a.orgx"), []byte("a.org."), 1)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string // "" passes
	}{
		{"the name", a, ""},
		{"another that it may have", helloFor(t, "b.org"), ""},
		{"mixed case", helloFor(t, "A.oRg"), ""},
		{"with what follows", append(bytes.Clone(a), "early data"...), ""},
		{"in records of a byte", records(a, 1), ""},
		{"in records of 100", records(a, 100), ""},
		{"TLS 1.2 only", clientHello(t, &tls.Config{ServerName: "a.org", MaxVersion: tls.VersionTLS12}), ""}, //nolint:gosec // nobody answers
		{"after an alert", append(bytes.Clone(alert), a...), ""},
		{"another name", evil, "its TLS greeting is for evil.org, and it may not"},
		{"another in records of a byte", records(evil, 1), "its TLS greeting is for evil.org"},
		{"another after an alert", append(bytes.Clone(alert), evil...), "its TLS greeting is for evil.org"},
		{"another after empty lines", append([]byte("\r\n"), evil...), "its TLS greeting cannot be read"},
		{"a part of the name", helloFor(t, "x.a.org"), "its TLS greeting is for x.a.org"},
		{"punycode", helloFor(t, "xn--a-ecp.org"), "its TLS greeting is for xn--a-ecp.org"},
		{"no name", helloFor(t, ""), "names nobody"},
		{"an address", helloFor(t, "203.0.113.1"), "names nobody"},
		{"a dot at its end", trailing, "cannot be read"},
		{"NUL", bytes.Replace(a, []byte("a.org"), []byte("a\x00org"), 1), "which is no name"},
		{"CR LF", bytes.Replace(helloFor(t, "a.orgxy"), []byte("a.orgxy"), []byte("a.org\r\n"), 1), "which is no name"},
		{"ECH with an allowed name outside", echHello(t, "evil.org", "a.org"), "hides the name"},
		{"ECH with an allowed name inside", echHello(t, "a.org", "evil.org"), "hides the name"},
		{"half of it", a[:len(a)/2], "cannot be read"},
		{"garbage", append([]byte{0x16, 3, 1, 0, 5}, "hello"...), "cannot be read"},
		{"SSL 2", []byte{0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16}, "SSL 2"},
	} {
		for how, r := range map[string]io.Reader{"at once": bytes.NewReader(c.bytes), "byte by byte": iotest.OneByteReader(bytes.NewReader(c.bytes))} {
			got, err := through(r)
			verdict(t, c.name+", "+how, got, string(c.bytes), err, c.want)
		}
	}
}

// verdict compares what came through: all, or with a refusal nothing.
func verdict(t *testing.T, what, got, sent string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil || got != sent {
			t.Errorf("%s: %v; %d of %d bytes came through", what, err, len(got), len(sent))
		}
		return
	}
	var r *refusal
	if !errors.As(err, &r) || !strings.Contains(r.why, want) {
		t.Errorf("%s: %v, not %q", what, err, want)
	}
	if strings.Contains(got, "evil") {
		t.Errorf("%s: %q came through", what, got)
	}
}

func TestRequests(t *testing.T) {
	const ok = "GET / HTTP/1.1\r\nHost: a.org\r\n\r\n"
	const evil = "GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n"
	for _, c := range []struct{ name, bytes, want string }{
		{"one", ok, ""},
		{"several", ok + ok + "\r\n" + strings.Replace(ok, "a.org", "B.ORG.:8080", 1), ""},
		{"empty lines first", "\r\n\r\n" + ok, ""},
		{"a body", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 40\r\n\r\n" + strings.Repeat("GET x", 8) + ok, ""},
		{"chunks", "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n" + ok, ""},
		{"the whole address", "GET http://a.org:80/x HTTP/1.1\r\nHost: a.org\r\n\r\n", ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a.org\r\n\r\n", ""},
		{"WebSocket", "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x82\x85\x01\x03\x03\x04hello", ""},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a.org\r\n\r\n", ""},

		{"another host", evil, "its request is for evil.org, and it may not"},
		{"another host in the second request", ok + evil, "its request is for evil.org"},
		{"another host behind a body", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 3\r\n\r\nabc" + evil, "evil.org"},
		{"another host behind chunks", "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil, "evil.org"},
		{"another host behind WebSocket", "GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: websocket\r\n\r\n" + evil, "evil.org"},
		{"after empty lines", "\r\n\n\r\n" + evil, "otherwise than HTTP's"},
		{"after a blank", " " + evil, "cannot be read"},
		{"tabs", "GET\t/\tHTTP/1.1\r\nHost: evil.org\r\n\r\n", "cannot be read"},
		{"no host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", "names nobody"},
		{"no host, HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "names nobody"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a.org\r\nhost: evil.org\r\n\r\n", "the header host twice"},
		{"two hosts in one", "GET / HTTP/1.1\r\nHost: a.org, evil.org\r\n\r\n", "which is no name"},
		{"a host with an at", "GET / HTTP/1.1\r\nHost: a.org@evil.org\r\n\r\n", "which is no name"},
		{"an address", "GET / HTTP/1.1\r\nHost: 203.0.113.1\r\n\r\n", "which is no name"},
		{"decimal", "GET / HTTP/1.1\r\nHost: 2130706433\r\n\r\n", "which is no name"},
		{"NUL", "GET / HTTP/1.1\r\nHost: a.org\x00.evil.org\r\n\r\n", "otherwise than HTTP's"},
		{"folded", "GET / HTTP/1.1\r\nHost: a.org\r\n Host: evil.org\r\n\r\n", "cannot be read"},
		{"a blank before the colon", "GET / HTTP/1.1\r\nHost : evil.org\r\nHost: a.org\r\n\r\n", "cannot be read"},
		{"the whole address of another", "GET http://evil.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n", "its request is for evil.org"},
		{"CONNECT", "CONNECT evil.org:443 HTTP/1.1\r\nHost: a.org\r\n\r\n", "connected to somebody else"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 without TLS"},
		{"HTTP/2 by Upgrade", "GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: h2c\r\n\r\n", "another protocol"},
		{"WebSocket in the second request", ok + "GET / HTTP/1.1\r\nHost: a.org\r\nUpgrade: websocket\r\n\r\n", "after others"},
		{"smuggled by two lengths", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nxxxxx", "twice"},
		{"smuggled by length and chunks", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "do not agree"},
		{"smuggled by another coding", "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "do not agree"},
		{"a length with a sign", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: +5\r\n\r\n", "a length that is none"},
		{"an empty length", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length:\r\n\r\n", "a length that is none"},
		{"a chunk that lies", "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "a chunk that does not end"},
		{"a chunk without a size", "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "without a size"},
		{"lines of Unix", "GET / HTTP/1.1\nHost: evil.org\n\n", "otherwise than HTTP's"},
		{"a line of Unix", "GET / HTTP/1.1\r\nX: y\nHost: evil.org\r\n\r\n", "otherwise than HTTP's"},
		{"lower case", "get / http/1.1\r\nhost: evil.org\r\n\r\n", "another HTTP"},
		{"a long method", strings.Repeat("A", 300) + " / HTTP/1.1\r\nHost: evil.org\r\n\r\n", "evil.org"},
		{"without an end", "GET / HTTP/1.1\r\nHost: evil.org\r\n", "ends before"},
		{"no line", strings.Repeat("A", 20000), "within 16 KiB"},
		{"no end in sight", "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 20000), "within 64 KiB"},
		{"PROXY", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + evil, "PROXY protocol"},
		{"PROXY 2", string(proxyMark) + "\x21\x11\x00\x0c" + evil, "PROXY protocol"},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(c.bytes), "byte by byte": iotest.OneByteReader(strings.NewReader(c.bytes))} {
			got, err := through(r)
			verdict(t, c.name+", "+how, got, c.bytes, err, c.want)
		}
	}
}

// TestOtherProtocols: what is neither passes as it is.
func TestOtherProtocols(t *testing.T) {
	for _, s := range []string{
		"", "\r\n", "SSH-2.0-OpenSSH_9.9\r\n\x00\x00", "EHLO me\r\nSTARTTLS\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "*1\r\n$4\r\nPING\r\n", "NICK me\r\n",
		"\x80\x00\x00\x10rpc", "\xff\xfb\x01\xff", "\x16\x01\x00", "GET /\r\n",
	} {
		got, err := through(strings.NewReader(s))
		verdict(t, fmt.Sprintf("%q", s), got, s, err, "")
	}
}

// TestGit: its client waits for an answer to a packet without an end of a line.
func TestGit(t *testing.T) {
	packet := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	for _, c := range []struct{ bytes, want string }{
		{packet("git-upload-pack /p.git\x00host=a.org\x00"), ""},
		{packet("git-receive-pack /p.git\x00host=B.org:9418\x00\x00version=2\x00"), ""},
		{packet("git-upload-pack /p.git\x00"), ""},
		{packet("git-upload-pack /p.git\x00host=[2001:db8::1]:9418\x00"), ""},
		{packet("git-upload-pack /p.git\x00host=evil.org\x00"), "its request is for evil.org, and it may not"},
		{packet("git-upload-pack /p.git\x00host=a.org\x00host=evil.org\x00"), "its request is for evil.org"},
		{packet("git-upload-pack / HTTP/1.1\r\nHost: evil.org\r\n\r\n\x00"), "evil.org"},
		{packet("git-upload-pack /\x00host=a.org\x00") + " HTTP/1.1\r\nHost: evil.org\r\n\r\n", "otherwise than HTTP's"},
		{packet("git-upload-pack / HTTP/1.1"), "ends before"},
		{"ffffgit-upload-pack /" + strings.Repeat("x", maxFirst), "within 16 KiB"},
		{"0003git-upload-pack /\x00", "ends before"},
	} {
		got, err := through(strings.NewReader(c.bytes))
		verdict(t, fmt.Sprintf("%q", c.bytes), got, c.bytes, err, c.want)
	}
}

// FuzzStream: whatever the container sends, what comes through is the beginning of it;
// and no request for another host is among that, as the standard library reads it.
func FuzzStream(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a.org\r\n\r\nGET / HTTP/1.1\r\nHost: evil.org\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"))
	f.Add([]byte("0028git-upload-pack /p\x00host=evil.org\x00"))
	f.Add(helloFor(f, "a.org"))
	f.Add(records(helloFor(f, "evil.org"), 50))
	f.Add(echHello(f, "evil.org", "a.org"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := through(bytes.NewReader(b))
		if !bytes.HasPrefix(b, []byte(got)) {
			t.Fatalf("%q became %q", b, got)
		}
		if err == nil && got != string(b) {
			t.Fatalf("without an error %d of %d bytes came through", len(got), len(b))
		}
		for _, name := range hostsIn([]byte(got)) {
			if name != "" && name != "a.org" && name != "b.org" {
				t.Fatalf("a request for %q came through: %q", name, got)
			}
		}
	})
}
