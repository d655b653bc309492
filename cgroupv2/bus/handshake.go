package bus

import (
	"fmt"
	"net"
)

// handshake is a socket whose last line of authentication does not meet the first
// message. systemd's own end of a socket (sd-bus as a server) may read both at once;
// then it keeps the message in its buffer and waits for the socket to become
// readable, which it does not: the caller waits in vain. So BEGIN goes in one write
// with a line that is answered, and the answer is waited for: whoever has answered
// the first line has the second, and looks at it before it reads on.
type handshake struct {
	net.Conn
	begun bool
}

func (h *handshake) Write(p []byte) (int, error) {
	if h.begun || string(p) != "BEGIN\r\n" {
		return h.Conn.Write(p)
	}
	h.begun = true
	if _, err := h.Conn.Write([]byte("NEGOTIATE_UNIX_FD\r\nBEGIN\r\n")); err != nil {
		return 0, err
	}
	var b [1]byte // one by one: what follows is a message
	for range 1024 {
		if _, err := h.Conn.Read(b[:]); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			return len(p), nil
		}
	}
	return 0, fmt.Errorf("authenticate: the answer has no end")
}
