package builtin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"coracle/netns"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// The proxy is for programs that talk to nobody but one. It gives them nothing that the
// network does not: a name is looked up as if the container had asked, an address is
// opened as if it had, and its bytes are seen by the gate as on any other way.

const (
	proxyPort     = 3128
	proxyHeadTime = 30 * time.Second // for the whole head of a request
	maxProxyHead  = 16 << 10
	maxProxyAddrs = 4 // of a name are tried
	// proxyDrain is for what the container still sends when it is refused: with that
	// unread, a reset would overtake the answer.
	proxyDrain = time.Second
)

// ProxyAddr is where the proxy of a network is: at its name server's address, since all
// ports of the gateway's are the host's.
func ProxyAddr(c netns.Config) netip.AddrPort { return netip.AddrPortFrom(c.DNS4, proxyPort) }

// Proxy has the network serve a proxy; it is for before Attach.
func (n *Network) Proxy() { n.proxy = true }

func (n *Network) isProxy(a netip.AddrPort) bool { return n.proxy && a == ProxyAddr(n.config) }

// proxyError is an answer other than that all is well.
type proxyError struct {
	code      int
	why, flag string // flag would allow it; "" for none
}

func (e *proxyError) Error() string { return e.why }

// serveProxy takes one request. What follows on its connection goes to the same one.
func (n *Network) serveProxy(r *tcp.ForwarderRequest) {
	if !n.take() {
		r.Complete(true)
		return
	}
	defer n.give()
	wq := new(waiter.Queue)
	ep, e := r.CreateEndpoint(wq)
	r.Complete(e != nil)
	if e != nil {
		return
	}
	c := gonet.NewTCPConn(wq, ep)
	_ = c.SetDeadline(time.Now().Add(proxyHeadTime))
	p, err := readProxied(c)
	_ = c.SetDeadline(time.Time{})
	var host *net.TCPConn
	var flow netns.Flow
	if err == nil {
		host, flow, err = n.reachProxied(p)
	}
	if err == nil && p.head == nil {
		if _, err = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			flow.Close(err)
			reset(host)
		}
	}
	if err != nil {
		refuseProxied(c, err)
		return
	}
	defer flow.Close(nil)
	n.splice(ep, wq, host, flow, p.head)
}

// refuseProxied says why, also in the line that programs show, and ends the connection.
func refuseProxied(c *gonet.TCPConn, err error) {
	defer func() { _ = c.Close() }()
	var e *proxyError
	if !errors.As(err, &e) {
		return // there is nobody any more
	}
	words, body := e.why, e.why+"\n"
	if e.flag != "" {
		words, body = words+" ("+e.flag+")", body+"hint: "+e.flag+" would allow it\n"
	}
	_ = c.SetDeadline(time.Now().Add(proxyDrain))
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", e.code, words, len(body), body)
	_ = c.CloseWrite()
	_, _ = io.CopyN(io.Discard, c, 1<<20)
}

// reachProxied connects to whom a request is for.
func (n *Network) reachProxied(p proxied) (*net.TCPConn, netns.Flow, error) {
	addrs, err := n.addressesOf(p)
	if err != nil {
		return nil, nil, err
	}
	var failed error
	for _, a := range addrs[:min(len(addrs), maxProxyAddrs)] {
		to := netip.AddrPortFrom(a, p.port)
		dst, flow, ok := n.open(netns.TCP, to)
		if !ok {
			failed = n.explain(p, to, "nobody can be reached there")
			continue
		}
		host, err := n.reach(dst)
		if err == nil {
			return host, flow, nil
		}
		flow.Close(err)
		failed = &proxyError{code: 502, why: p.word() + ": " + err.Error()}
	}
	return nil, nil, failed
}

// addressesOf asks for a name as the container would: the gate hears of it.
func (n *Network) addressesOf(p proxied) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(p.host); err == nil {
		return []netip.Addr{a}, nil
	}
	name, err := dnsmessage.NewName(p.host + ".")
	if err != nil {
		return nil, &proxyError{code: 400, why: "it is for no name of a host"}
	}
	kinds := []dnsmessage.Type{dnsmessage.TypeA}
	if n.config.IPv6.IsValid() {
		kinds = append(kinds, dnsmessage.TypeAAAA)
	}
	var addrs []netip.Addr
	for i, kind := range kinds {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i + 1), RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}}}
		query, err := m.Pack()
		if err != nil {
			return nil, &proxyError{code: 400, why: "it is for no name of a host"}
		}
		if addrs = append(addrs, addressesIn(n.answer(query, true))...); len(addrs) == 0 {
			if refused := n.explain(p, netip.AddrPortFrom(netip.Addr{}, p.port), ""); refused != nil {
				return nil, refused
			}
		}
	}
	if len(addrs) == 0 {
		return nil, &proxyError{code: 502, why: "no address of " + p.host + " is known"}
	}
	return addrs, nil
}

// addressesIn are those of an answer: of the container's own name server, which has them
// without detours.
func addressesIn(msg []byte) (out []netip.Addr) {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil {
		return nil
	}
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrFrom16(body.AAAA))
		}
	}
	return out
}

// explain asks the gate why it refuses; nil: it does not, and there is no other reason.
func (n *Network) explain(p proxied, to netip.AddrPort, otherwise string) error {
	why, flag := "", ""
	if gate, ok := n.gate.(netns.Explainer); ok {
		why, flag = gate.Explain(p.host, to)
	}
	if why == "" {
		why = otherwise
	}
	if why == "" {
		return nil
	}
	return &proxyError{code: 403, why: p.word() + ": " + why, flag: flag}
}

// proxied is a request to the proxy.
type proxied struct {
	host string // a name in lower case, or an address
	port uint16
	head []byte // what the peer gets in the place of its head; nil for CONNECT
}

func (p proxied) word() string { return net.JoinHostPort(p.host, fmt.Sprint(p.port)) }

// readProxied reads a head to its last byte and no further: the rest is the peer's.
func readProxied(in io.Reader) (proxied, error) {
	head := make([]byte, 0, 512)
	var one [1]byte
	for !strings.HasSuffix(string(head[max(0, len(head)-4):]), "\r\n\r\n") {
		if len(head) == maxProxyHead {
			return proxied{}, &proxyError{code: 431, why: "its head is longer than 16 KiB"}
		}
		n, err := in.Read(one[:])
		if n == 0 && err != nil {
			return proxied{}, fmt.Errorf("read a request: %w", err)
		}
		head = append(head, one[:n]...)
	}
	return parseProxied(string(head[:len(head)-4]))
}
