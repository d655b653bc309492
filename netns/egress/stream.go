package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"coracle/netns"
)

// What a connection says of whom it is for, read from its first bytes. They are held
// back until they are understood; what is neither TLS nor HTTP passes.

// stream is what the container sends, with the bytes that are not passed on yet.
type stream struct {
	in     netns.Reader
	out    io.Writer
	sent   func(int)
	called func(name string) error // what the peer is called by: an error refuses it
	hidden error                   // of a peer whose name is not told; nil: it may pass

	buf []byte
	end bool // nothing more comes
}

const (
	// maxHeld are held back at most.
	maxHeld = 64 << 10
	// maxFirst are looked at for what they begin.
	maxFirst = 16 << 10
	// headTime is for the first bytes once one of them is there.
	headTime = 30 * time.Second
)

// refusal is why a connection is ended; it is the container's doing.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// fill reads more; io.EOF at the end.
func (s *stream) fill() error {
	if s.end {
		return io.EOF
	}
	if len(s.buf) >= maxHeld {
		return refuse("it does not say whom it is for within %d KiB", maxHeld>>10)
	}
	s.buf = slices.Grow(s.buf, 1<<10)
	n, err := s.in.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	if errors.Is(err, io.EOF) {
		s.end = true
		if n > 0 {
			err = nil
		}
	}
	return err
}

// pass sends on the first n bytes.
func (s *stream) pass(n int) error {
	for n > 0 {
		w, err := s.out.Write(s.buf[:n])
		s.sent(w)
		s.buf = s.buf[w:]
		n -= w
		if err != nil {
			return err
		}
	}
	return nil
}

// run reads what kind of connection it is, and sees to it. When it returns nil all
// that comes may pass.
func (s *stream) run(anew bool) error {
	for {
		k := classify(s.buf, anew)
		switch k {
		case other:
			return s.rest()
		case tlsHello:
			return s.tls()
		case httpRequest:
			return s.http(!anew)
		case gitRequest:
			return s.git()
		case oldHello:
			return refuse("it is a greeting of SSL 2, which names nobody")
		case proxied:
			return refuse("it speaks for somebody else (PROXY protocol)")
		}
		if len(s.buf) > maxFirst {
			return refuse("it does not say whom it is for within %d KiB", maxFirst>>10)
		}
		first := len(s.buf) == 0
		if err := s.fill(); errors.Is(err, io.EOF) {
			if len(bytes.TrimLeft(s.buf, "\r\n\t ")) == 0 {
				return s.rest()
			}
			return refuse("it ends before it has said whom it is for")
		} else if err != nil {
			return s.late(err)
		}
		if first {
			_ = s.in.SetReadDeadline(time.Now().Add(headTime))
		}
	}
}

// late tells a deadline from other errors.
func (s *stream) late(err error) error {
	var t interface{ Timeout() bool }
	if errors.As(err, &t) && t.Timeout() {
		return refuse("it does not say whom it is for within %d seconds", int(headTime.Seconds()))
	}
	return err
}

// rest passes on what is held, and looks at nothing more.
func (s *stream) rest() error {
	_ = s.in.SetReadDeadline(time.Time{})
	return s.pass(len(s.buf))
}

// class is what the first bytes are the beginning of.
type class int

const (
	undecided class = iota
	other
	tlsHello
	httpRequest
	gitRequest
	oldHello // of SSL 2
	proxied  // by the PROXY protocol
)

// proxyMark begins version 2 of the PROXY protocol.
var proxyMark = []byte("\r\n\r\n\x00\r\nQUIT\n")

// classify says what the bytes begin. It errs on one side: what a lenient server
// could take for a request of HTTP, or for TLS after something before it, is that.
// anew: the connection has spoken HTTP and changed to something else.
func classify(b []byte, anew bool) class {
	if n := min(len(b), len(proxyMark)); n > 4 && bytes.Equal(b[:n], proxyMark[:n]) {
		if n < len(proxyMark) {
			return undecided
		}
		return proxied
	}
	if k := classifyGit(b); k != other {
		return k
	}
	text := bytes.TrimLeft(b, "\r\n\t ")
	if len(text) == 0 {
		return undecided
	}
	c := text[0]
	switch {
	case c >= 0x14 && c <= 0x18: // any record: an alert may come before the greeting
		if len(text) < 2 {
			return undecided
		}
		if text[1] == 3 {
			return tlsHello
		}
		return other
	case c >= 0x80 && !anew:
		if len(text) < 4 {
			return undecided
		}
		if text[2] == 1 && text[3] == 3 {
			return oldHello
		}
		return other
	}
	return classifyText(text)
}

// classifyText knows a request by its first line, which has HTTP/ in it. What does not
// begin with a word of the characters of a method is none.
func classifyText(text []byte) class {
	word := 0
	for word < len(text) && isToken(text[word]) {
		word++
	}
	if word == len(text) {
		return undecided
	}
	if word == 0 || bytes.IndexByte([]byte(" \t\v\f\r\n"), text[word]) < 0 {
		return other
	}
	line, _, whole := bytes.Cut(text, []byte("\n"))
	switch {
	case !whole:
		return undecided
	case bytes.HasPrefix(text, []byte("PROXY ")):
		return proxied
	case bytes.Contains(bytes.ToUpper(line), []byte("HTTP/")):
		return httpRequest
	}
	return other
}

// isToken says whether a method or a header's name may have the character (RFC 9110 5.6.2).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
