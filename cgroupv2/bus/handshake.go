package bus

import (
	"bytes"
	"errors"
	"fmt"
	"net"
)

// handshake is a socket on which authentication takes one question and one answer.
// godbus asks line by line, for what can be had and then for it: four times there
// and back. All lines are known before, so they are sent at once, as systemd's own
// library does it, and godbus is told what it expects to hear.
//
// Nothing may follow before the answer: systemd's own end of a socket (sd-bus as a
// server) may read BEGIN and the first message at once; then it keeps the message in
// its buffer and waits for the socket to become readable, which it does not. Whoever
// has answered the line before BEGIN has BEGIN, and looks at it before it reads on.
type handshake struct {
	net.Conn
	told  []byte // what godbus is yet to hear
	begun bool   // it has said BEGIN
}

// greeting: EXTERNAL without a name, so that the other side takes the id that the
// kernel gives. That is right in a user namespace too, where we do not know ours.
const greeting = "\x00AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"

// greet authenticates us.
func greet(sock net.Conn) (*handshake, error) {
	if _, err := sock.Write([]byte(greeting)); err != nil {
		return nil, err
	}
	var lines [3]string // DATA, OK GUID, AGREE_UNIX_FD or ERROR
	for i := range lines {
		var err error
		if lines[i], err = readLine(sock); err != nil {
			return nil, err
		}
	}
	if lines[0] != "DATA" || len(lines[1]) < 3 || lines[1][:3] != "OK " {
		return nil, fmt.Errorf("authenticate: the answer is %q, %q", lines[0], lines[1])
	}
	return &handshake{Conn: sock, told: []byte("REJECTED EXTERNAL\r\n" + lines[0] + "\r\n" + lines[1] + "\r\n")}, nil
}

// readLine reads byte by byte: what follows the last line is a message.
func readLine(sock net.Conn) (string, error) {
	var line []byte
	for len(line) < 1024 {
		var b [1]byte
		if _, err := sock.Read(b[:]); err != nil {
			return "", err
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return string(bytes.TrimSpace(line)), nil
		}
	}
	return "", errors.New("authenticate: the answer has no end")
}

// Read gives godbus its answers, and from then on what is read.
func (h *handshake) Read(p []byte) (int, error) {
	if len(h.told) == 0 {
		return h.Conn.Read(p)
	}
	n := copy(p, h.told)
	h.told = h.told[n:]
	return n, nil
}

// Write keeps back what was said already.
func (h *handshake) Write(p []byte) (int, error) {
	if h.begun {
		return h.Conn.Write(p)
	}
	h.begun = string(p) == "BEGIN\r\n"
	return len(p), nil
}
