package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HTTP without TLS: every request of a connection says whom it is for. They are read
// more strictly than by any server, so that none sees another request than we do
// (RFC 9112; request smuggling), and pass byte for byte.

const maxLine = 8 << 10

// request is what a request's head says, as far as it matters here.
type request struct {
	names   []string // by which it calls its host
	length  int64
	chunked bool
	upgrade bool // to WebSocket
}

// http lets the requests of a connection pass; it returns when it has ended, or has
// become something else.
func (s *stream) http(mayUpgrade bool) error {
	for {
		n, err := s.head()
		if err != nil {
			return err
		}
		if n == 0 {
			return s.rest() // the end
		}
		req, err := parseRequest(s.buf[:n])
		if err != nil {
			return err
		}
		if len(req.names) == 0 && s.hidden != nil {
			return refuse("its request names nobody (no Host)")
		}
		for _, name := range req.names {
			if err := s.named(name, "its request is for %s"); err != nil {
				return err
			}
		}
		if req.upgrade && !mayUpgrade {
			return refuse("a request after others wants another protocol")
		}
		_ = s.in.SetReadDeadline(time.Time{})
		if err := s.pass(n); err != nil {
			return err
		}
		switch {
		case req.upgrade:
			return s.run(true)
		case req.chunked:
			err = s.chunks()
		default:
			err = s.body(req.length)
		}
		if err != nil {
			return err
		}
		mayUpgrade = false
	}
}

// head waits for the whole head of a request, and gives its length with the empty
// line; 0 at the end. Empty lines before it pass.
func (s *stream) head() (int, error) {
	begun := len(s.buf) > 0
	seen := 0 // so far there is no end
	for {
		for seen == 0 && bytes.HasPrefix(s.buf, []byte("\r\n")) {
			if err := s.pass(2); err != nil {
				return 0, err
			}
		}
		fresh := s.buf[max(seen-3, 0):]
		if i := bytes.Index(fresh, []byte("\r\n\r\n")); i >= 0 {
			return max(seen-3, 0) + i + 4, nil
		}
		if bytes.Contains(fresh, []byte("\n\n")) || bytes.Contains(fresh, []byte("\n\r\n")) {
			return 0, refuse("its request has lines that end otherwise than HTTP's")
		}
		if seen = len(s.buf); seen == 1 && s.buf[0] == '\r' {
			seen = 0 // perhaps of an empty line
		}
		err := s.fill()
		switch {
		case errors.Is(err, io.EOF) && len(s.buf) == 0:
			return 0, nil
		case errors.Is(err, io.EOF):
			return 0, refuse("it ends before it has said whom it is for")
		case err != nil:
			return 0, s.late(err)
		}
		if !begun {
			begun = true
			_ = s.in.SetReadDeadline(time.Now().Add(headTime))
		}
	}
}

// body passes n bytes on.
func (s *stream) body(n int64) error {
	for n > 0 {
		if len(s.buf) == 0 {
			if err := s.fill(); err != nil {
				return over(err)
			}
		}
		part := int(min(n, int64(len(s.buf))))
		if err := s.pass(part); err != nil {
			return err
		}
		n -= int64(part)
	}
	return nil
}

var errOver = errors.New("the container has ended it in the middle of a request")

func over(err error) error {
	if errors.Is(err, io.EOF) {
		return errOver
	}
	return err
}

// chunks passes a body on that comes in chunks.
func (s *stream) chunks() error {
	for {
		line, err := s.line()
		if err != nil {
			return err
		}
		word, _, _ := strings.Cut(line, ";")
		word = strings.TrimRight(word, " \t")
		size, err := strconv.ParseUint(word, 16, 62)
		if err != nil || word == "" || word[0] == '+' {
			return refuse("its request has a chunk without a size")
		}
		if size == 0 {
			break
		}
		if err := s.body(int64(size)); err != nil {
			return err
		}
		if end, err := s.line(); err != nil || end != "" {
			return errors.Join(refuse("its request has a chunk that does not end"), err)
		}
	}
	for { // trailers
		line, err := s.line()
		if err != nil || line == "" {
			return err
		}
	}
}

// line passes one line on, and returns it without its end.
func (s *stream) line() (string, error) {
	for {
		i := bytes.IndexByte(s.buf, '\n')
		switch {
		case i > maxLine || i < 0 && len(s.buf) > maxLine:
			return "", refuse("its request has a line of more than %d bytes", maxLine)
		case i == 0 || i > 0 && s.buf[i-1] != '\r':
			return "", refuse("its request has lines that end otherwise than HTTP's")
		case i > 0:
			line := string(s.buf[:i-1])
			if strings.ContainsAny(line, "\r\x00") {
				return "", refuse("its request has lines that end otherwise than HTTP's")
			}
			return line, s.pass(i + 1)
		}
		if err := s.fill(); err != nil {
			return "", over(err)
		}
	}
}

// parseRequest reads a head, with the empty line at its end.
func parseRequest(head []byte) (request, error) {
	var req request
	lines := strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n")
	for _, l := range lines {
		if strings.ContainsAny(l, "\r\n\x00") {
			return req, refuse("its request has lines that end otherwise than HTTP's")
		}
	}
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || parts[0] == "" || strings.IndexFunc(parts[0], func(c rune) bool { return c > 127 || !isToken(byte(c)) }) >= 0 {
		return req, refuse("its request cannot be read: %s", quote(lines[0]))
	}
	method, target, version := parts[0], parts[1], parts[2]
	switch {
	case method == "PRI" || version == "HTTP/2.0":
		return req, refuse("HTTP/2 without TLS names its hosts where they cannot be read")
	case version != "HTTP/1.1" && version != "HTTP/1.0":
		return req, refuse("its request is of another HTTP: %s", quote(version))
	case method == "CONNECT":
		return req, refuse("it asks to be connected to somebody else: %s", quote(target))
	}
	if !strings.HasPrefix(target, "/") && target != "*" {
		u, err := url.Parse(target)
		if err != nil || u.Host == "" || u.User != nil {
			return req, refuse("its request cannot be read: %s", quote(lines[0]))
		}
		req.names = append(req.names, withoutPort(u.Host))
	}
	return req, req.headers(lines[1:], version == "HTTP/1.1")
}

// headers reads the lines behind the first.
func (req *request) headers(lines []string, persistent bool) error {
	seen := map[string]string{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok || name == "" || strings.IndexFunc(name, func(c rune) bool { return c > 127 || !isToken(byte(c)) }) >= 0 {
			return refuse("its request has a header that cannot be read: %s", quote(l))
		}
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		switch name {
		case "host", "content-length", "transfer-encoding", "upgrade":
			if _, twice := seen[name]; twice {
				return refuse("its request has the header %s twice", name)
			}
			seen[name] = value
		}
	}
	if host, ok := seen["host"]; ok {
		req.names = append(req.names, withoutPort(host))
	}
	length, sized := seen["content-length"]
	coding, coded := seen["transfer-encoding"]
	switch {
	case sized && coded, coded && !persistent, coded && !strings.EqualFold(coding, "chunked"):
		return refuse("its request has a body whose length servers do not agree about")
	case sized:
		n, err := strconv.ParseUint(length, 10, 62)
		if err != nil || length[0] == '+' {
			return refuse("its request has a length that is none: %s", quote(length))
		}
		req.length = int64(n)
	}
	req.chunked = coded
	if protocol, ok := seen["upgrade"]; ok {
		if !strings.EqualFold(protocol, "websocket") || sized && req.length > 0 || coded {
			return refuse("it wants another protocol: %s", quote(protocol))
		}
		req.upgrade = true
	}
	return nil
}

// withoutPort takes the port off a host.
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.Trim(host[i+1:], "0123456789") == "" {
		return host[:i]
	}
	return host
}

// quote makes what a container says fit for a line of ours.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", s)
}
