package netns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Resolver answers a container's questions about names: from the names that the
// host has in its /etc/hosts, and by whom the host asks. Both files are read
// again when they change: a laptop that moves to another network takes its
// containers along. The host's own resolver on its loopback (systemd-resolved's
// stub, dnsmasq) can be asked, too: it is the host who asks.
type Resolver struct {
	conf  watched[ResolvConf]
	hosts watched[hosts]
	own   hosts                 // host.containers.internal and the like
	peers atomic.Pointer[hosts] // other containers; nil: none
	alone atomic.Bool           // nobody outside is asked
	port  uint16
	try   time.Duration
}

// NewResolver is for a container with this configuration.
func NewResolver(c Config) *Resolver {
	r := &Resolver{
		conf:  watched[ResolvConf]{path: "/etc/resolv.conf", parse: ParseResolvConf},
		hosts: watched[hosts]{path: "/etc/hosts", parse: parseHosts},
		own:   hosts{map[string][]netip.Addr{}, map[netip.Addr]string{}},
		port:  53, try: 3 * time.Second,
	}
	r.alone.Store(c.Internal)
	for _, name := range HostNames {
		for _, a := range []netip.Addr{c.Gateway4, c.Gateway6} {
			if a.IsValid() && (a.Is4() || c.IPv6.IsValid()) {
				r.own.add(name, a)
			}
		}
	}
	return r
}

// Named is who has names; the first is what its addresses are said to mean.
type Named struct {
	Names []string
	Addrs []netip.Addr
}

// SetPeers says which names are other containers', in the place of those before.
func (r *Resolver) SetPeers(all []Named) {
	h := hosts{map[string][]netip.Addr{}, map[netip.Addr]string{}}
	for _, who := range all {
		for _, name := range who.Names {
			for _, a := range who.Addrs {
				h.add(name, a)
			}
		}
	}
	r.peers.Store(&h)
}

// SetAlone says whether nobody outside is asked.
func (r *Resolver) SetAlone(alone bool) { r.alone.Store(alone) }

// maxMessage is the longest message: a length over TCP has 16 bits.
const maxMessage = 65535

// rounds is how often every server is asked: resolv.conf's "attempts".
const rounds = 2

// Answer answers one query; nil when there is nothing to say to it. stream says
// that it came over TCP, and may have a long answer.
func (r *Resolver) Answer(ctx context.Context, query []byte, stream bool) []byte {
	if len(query) < headerLen || len(query) > maxMessage || isResponse(query) {
		return nil
	}
	q, err := parseQuestion(query)
	if err != nil {
		return nil
	}
	if opcode(query) != 0 {
		return reply(query, q, rcodeNotImpl)
	}
	if msg := r.local(query, q); msg != nil {
		return msg
	}
	if r.alone.Load() {
		return reply(query, q, rcodeNXDomain)
	}
	if msg := r.ask(ctx, query, stream); msg != nil {
		return msg
	}
	return reply(query, q, rcodeServFail)
}

// local answers what the host knows by itself; nil when it does not.
func (r *Resolver) local(query []byte, q question) []byte {
	if q.class != classINET {
		return nil
	}
	all := []hosts{r.own, r.hosts.get()}
	if p := r.peers.Load(); p != nil {
		all = []hosts{r.own, *p, all[1]}
	}
	for _, h := range all {
		if q.kind == typePTR {
			if msg := h.pointer(query, q); msg != nil {
				return msg
			}
			continue
		}
		addrs, known := h.byName[q.name]
		if !known {
			continue
		}
		// With another type of record there are none: the name is only here.
		msg := reply(query, q, 0)
		for _, a := range addrs {
			if a.Is4() && q.kind == typeA || a.Is6() && q.kind == typeAAAA {
				msg = addRecord(msg, q.kind, a.AsSlice())
			}
		}
		return msg
	}
	return nil
}

func (h hosts) pointer(query []byte, q question) []byte {
	a, ok := reverseName(q.name)
	if !ok {
		return nil
	}
	name, known := h.byAddr[a]
	if !known {
		return nil
	}
	data, ok := encodeName(name)
	if !ok {
		return nil
	}
	return addRecord(reply(query, q, 0), typePTR, data)
}

// ask passes the query on, to one server after the other; nil when none answers.
func (r *Resolver) ask(ctx context.Context, query []byte, stream bool) (failed []byte) {
	servers := r.conf.get().Servers
	for range rounds {
		for _, s := range servers {
			msg, err := r.exchange(ctx, s, query, stream)
			if err == nil && rcode(msg) != rcodeServFail {
				return msg
			}
			if err == nil {
				failed = msg
			}
			if ctx.Err() != nil {
				return failed
			}
		}
		if failed != nil {
			return failed // they were reached: asking again will not help
		}
	}
	return nil
}

// exchange asks one server, in the way in which we were asked.
func (r *Resolver) exchange(ctx context.Context, server netip.Addr, query []byte, stream bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.try)
	defer cancel()
	network := "udp"
	if stream {
		network = "tcp"
	}
	var d net.Dialer
	// A port of its own for every question: nobody can guess where an answer goes.
	conn, err := d.DialContext(ctx, network, net.JoinHostPort(server.String(), strconv.Itoa(int(r.port))))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if stream {
		if err := WriteMessage(conn, query); err != nil {
			return nil, err
		}
		msg, err := ReadMessage(conn)
		if err == nil && !answers(query, msg) {
			err = errors.New("it answers another question")
		}
		return msg, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(query, buf[:n]) {
			return append([]byte(nil), buf[:n]...), nil
		}
	}
}

// ReadMessage reads a message from a stream (RFC 1035 4.2.2).
func ReadMessage(r io.Reader) ([]byte, error) {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(n[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// WriteMessage writes a message to a stream.
func WriteMessage(w io.Writer, msg []byte) error {
	if len(msg) > maxMessage {
		return fmt.Errorf("a message of %d bytes", len(msg))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...))
	return err
}

// Absent says whether those whom the host asks know for sure that there is no such
// name (NXDOMAIN). Where nobody answers in time, nothing is known.
func (r *Resolver) Absent(ctx context.Context, name string) bool {
	encoded, ok := encodeName(name)
	if !ok {
		return false
	}
	var id [2]byte
	_, _ = rand.Read(id[:])                              // never fails: crypto/rand ends the process instead
	query := append(id[:], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	query = append(append(query, encoded...), 0, typeA, 0, classINET)
	msg := r.Answer(ctx, query, false)
	return len(msg) >= headerLen && rcode(msg) == rcodeNXDomain
}
