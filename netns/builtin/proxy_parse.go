package builtin

import (
	"net/netip"
	"strconv"
	"strings"
)

func badProxied(why string) error { return &proxyError{code: 400, why: why} }

// parseProxied reads the lines of a head (RFC 9112), more strictly than servers do: they
// must not see another request in it than we.
func parseProxied(head string) (proxied, error) {
	lines := strings.Split(head, "\r\n")
	words := strings.Split(lines[0], " ")
	if len(words) != 3 || !token(words[0]) || !visible(words[1]) || words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0" {
		return proxied{}, badProxied("it is no request of HTTP/1")
	}
	method, target := words[0], words[1]
	if method == "CONNECT" {
		return authority(target, 0)
	}
	const scheme = "http://"
	if len(target) < len(scheme) || !strings.EqualFold(target[:len(scheme)], scheme) {
		return proxied{}, badProxied("a proxy takes http://HOST/... and CONNECT HOST:PORT")
	}
	target, _, _ = strings.Cut(target[len(scheme):], "#")
	whom, path := target, "/"
	if i := strings.IndexAny(target, "/?"); i >= 0 {
		whom, path = target[:i], "/"+strings.TrimPrefix(target[i:], "/")
	}
	p, err := authority(whom, 80)
	if err != nil {
		return proxied{}, err
	}
	var b strings.Builder
	b.WriteString(method + " " + path + " " + words[2] + "\r\nHost: " + p.hostHeader() + "\r\n")
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			return proxied{}, badProxied("it has a line that is no field of a head")
		}
		if !ofThisHop(name) {
			b.WriteString(line + "\r\n")
		}
	}
	// The next request may be for somebody else: that takes another connection.
	b.WriteString("Connection: close\r\n\r\n")
	p.head = []byte(b.String())
	return p, nil
}

// ofThisHop says whether a field is not for the peer. What frames the body is: the body
// goes on as it is.
func ofThisHop(name string) bool {
	switch strings.ToLower(name) {
	case "host", "connection", "proxy-connection", "proxy-authorization", "keep-alive", "te", "upgrade":
		return true
	}
	return false
}

// hostHeader is what a peer is called by; 80 is the port where none is said.
func (p proxied) hostHeader() string {
	host := p.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p.port != 80 {
		host += ":" + strconv.Itoa(int(p.port))
	}
	return host
}

// authority reads HOST:PORT; a port of 0 must be said.
func authority(s string, port uint16) (proxied, error) {
	host, after := s, ""
	if rest, ok := strings.CutPrefix(s, "["); ok {
		inside, behind, closed := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(inside)
		if !closed || err != nil || !a.Is6() || a.Zone() != "" {
			return proxied{}, badProxied("it is for no address")
		}
		host, after = a.String(), behind
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, after = s[:i], s[i:]
	}
	if after != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(after, ":"), 10, 16)
		if after[0] != ':' || err != nil || n == 0 {
			return proxied{}, badProxied("it is for no port")
		}
		port = uint16(n)
	}
	if port == 0 {
		return proxied{}, badProxied("it does not say for which port")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(host); err != nil && !hostName(host) {
		return proxied{}, badProxied("it is for no name of a host")
	}
	return proxied{host: host, port: port}, nil
}

// hostName says whether s, which is in lower case, can be a name; rules read it again.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// token is a method or a field's name (RFC 9110 5.6.2).
func token(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func visible(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return s != ""
}
