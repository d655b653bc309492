package builtin

import (
	"context"
	"net"
	"net/netip"
	"time"

	"coracle/netns"
)

const (
	// idleNames is how long a connection waits for the next question (RFC 7766: seconds).
	idleNames = 10 * time.Second
	// answerTime is when the C library asks again.
	answerTime = 5 * time.Second
)

// answerStream answers the questions of a connection.
func (n *Network) answerStream(c net.Conn) {
	defer c.Close()
	for {
		_ = c.SetDeadline(time.Now().Add(idleNames))
		query, err := netns.ReadMessage(c)
		if err != nil {
			return
		}
		msg := n.answer(query, true)
		if msg == nil || netns.WriteMessage(c, msg) != nil {
			return
		}
	}
}

// answerPacket answers a question in a packet.
func (n *Network) answerPacket(from, to netip.AddrPort, query []byte) {
	msg := n.answer(query, false)
	if msg == nil || len(msg) > maxUDP(to.Addr()) {
		return
	}
	n.sendUDP(to, from, msg)
}

// answer is nil where too many are asked at once.
func (n *Network) answer(query []byte, stream bool) []byte {
	select {
	case n.names <- struct{}{}:
		defer func() { <-n.names }()
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if n.gate != nil {
		return n.gate.Answer(ctx, query, stream, n.resolver.Answer)
	}
	return n.resolver.Answer(ctx, query, stream)
}
