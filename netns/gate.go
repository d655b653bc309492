package netns

import (
	"context"
	"io"
	"net/netip"
	"time"
)

// Gate decides what of a container's traffic goes out, and hears of all that does.
// A driver asks it before it does anything on the container's behalf; what does not
// go out is refused at once. netns/egress has the one that rules make.
type Gate interface {
	// Answer answers a question about a name as Resolver.Answer does, which ask
	// stands for: the question itself is only passed on if the gate does so.
	Answer(ctx context.Context, query []byte, stream bool, ask Ask) []byte
	// Open is asked before anything is sent to somebody; nil: nothing may be. The
	// gateway's address means the host's loopback.
	Open(to Destination) Flow
}

// Explainer is a Gate that can say why it refuses.
type Explainer interface {
	// Explain gives the reason and the flag that would allow it, "" for none. Without a
	// reason it may be. name is what the container calls its peer; an address that is not
	// valid stands for the question about it.
	Explain(name string, to netip.AddrPort) (why, flag string)
}

// Ask passes a question about a name on to whom the host asks; nil: no answer.
type Ask func(ctx context.Context, query []byte, stream bool) []byte

// Protocols of flows.
const (
	TCP  = "tcp"
	UDP  = "udp"
	ICMP = "icmp" // echoes, without a port
)

// Destination is whom a container wants to talk to, and how.
type Destination struct {
	Protocol string
	Addr     netip.AddrPort
}

// Flow is what a gate has let through: a connection, or datagrams of one sender for
// one receiver. Its methods may be called by several goroutines.
type Flow interface {
	// Check is nil where bytes may pass unseen. Else it is called once, and has all
	// that the container sends until it returns: it reads from the container and
	// writes to the outside what may go there. With an error the flow is to be reset.
	Check() func(container Reader, outside io.Writer) error
	// Datagram says whether this one may go out.
	Datagram(b []byte) bool
	// Revoked has f called when the flow may go on no longer.
	Revoked(f func())
	// Sent and Received count bytes of the container's.
	Sent(n int)
	Received(n int)
	// Close is called once, with why nothing came of it or nil.
	Close(err error)
}

// Reader is what a connection's bytes are read from.
type Reader interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// Tap hears of every packet that the container sends or receives: IP's header is in
// the first piece. It may not keep the pieces.
type Tap interface{ Packet(pieces ...[]byte) }
