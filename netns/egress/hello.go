package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// TLS: the greeting (ClientHello) is read by crypto/tls, as the server of a handshake
// that goes no further. It is what many of the servers outside read it with; it is
// strict where servers differ (an extension that comes twice, two names, a name with a
// dot at its end), and takes the greeting in any number of records and segments.

// Extensions that hide the name (RFC 9849; and its predecessor, draft-ietf-tls-esni-02).
const (
	extECH  = 0xfe0d
	extESNI = 0xffce
)

var errRead = errors.New("the greeting has been read")

// hello is what a greeting says.
type hello struct {
	name string
	ech  bool
}

// readHello reads a greeting from r, which may give more than that.
func readHello(r io.Reader) (hello, error) {
	var h hello
	seen := false
	config := &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			seen = true
			h.name = info.ServerName
			h.ech = slices.Contains(info.Extensions, extECH) || slices.Contains(info.Extensions, extESNI)
			return nil, errRead
		},
	}
	err := tls.Server(deaf{r}, config).HandshakeContext(context.Background())
	if seen {
		return h, nil
	}
	return h, err
}

// deaf is a connection that only gives.
type deaf struct{ io.Reader }

func (deaf) Write(b []byte) (int, error)      { return len(b), nil }
func (deaf) Close() error                     { return nil }
func (deaf) LocalAddr() net.Addr              { return nil }
func (deaf) RemoteAddr() net.Addr             { return nil }
func (deaf) SetDeadline(time.Time) error      { return nil }
func (deaf) SetReadDeadline(time.Time) error  { return nil }
func (deaf) SetWriteDeadline(time.Time) error { return nil }

// held reads what a stream has, and more of it as is needed.
type held struct {
	s   *stream
	at  int
	err error // of the container's side
}

func (h *held) Read(b []byte) (int, error) {
	if h.at == len(h.s.buf) {
		if h.err = h.s.fill(); h.err != nil {
			return 0, h.err
		}
	}
	n := copy(b, h.s.buf[h.at:])
	h.at += n
	return n, nil
}

// tls reads the greeting, and lets it pass if it names whom it may.
func (s *stream) tls() error {
	r := &held{s: s}
	h, err := readHello(r)
	switch {
	case err != nil && r.err != nil && !errors.Is(r.err, io.EOF):
		return s.late(r.err)
	case err != nil:
		return refuse("its TLS greeting cannot be read")
	case h.ech:
		return refuse("its TLS greeting hides the name that it is for (ECH)")
	case h.name == "" && s.hidden != nil:
		return refuse("its TLS greeting names nobody (no SNI)")
	case h.name != "":
		if err := s.named(h.name, "its TLS greeting is for %s"); err != nil {
			return err
		}
	}
	return s.rest()
}

// named checks what the peer is called by.
func (s *stream) named(name, what string) error {
	clean := cleanName(name)
	if clean == "" {
		return refuse(what+", which is no name", quote(name))
	}
	if err := s.called(clean); err != nil {
		return refuse(what+", and "+err.Error(), clean)
	}
	return nil
}
