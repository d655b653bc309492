package engine

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Frames of a connection with a monitor: a kind and, in the same message, its data.
const (
	frameRequest = 'q' // to the monitor, first of all: a request, JSON
	frameStdin   = 'i' // to the monitor
	frameEOF     = 'e' // to the monitor: the end of standard input
	frameResize  = 'w' // to the monitor: rows and columns, 2 bytes each, little endian
	frameAnswer  = 'a' // from the monitor: an answer, JSON
	frameStdout  = 'o' // from the monitor
	frameStderr  = 'r' // from the monitor
	frameLost    = 'l' // from the monitor: 8 bytes, how much output did not fit into the queue
	frameHealth  = 'h' // from the monitor: a healthAnswer, JSON
	framePorts   = 'p' // from the monitor: a portsAnswer, JSON
	frameExit    = 'x' // from the monitor: an Exit, JSON
)

const (
	frameSize  = 32 << 10 // of data in one message, at most
	queueLimit = 1 << 20  // bytes that wait for one client
)

// client is somebody who is attached, or waits.
type client struct {
	h    *hub
	conn *os.File

	mu    sync.Mutex
	more  sync.Cond
	queue [][]byte
	size  int
	lost  uint64
	over  bool // nothing more comes
	sent  chan struct{}
}

// attachRequest is what a client wants to have.
type attachRequest struct {
	Stdin bool
}

// join attaches a client.
func (h *hub) join(conn *os.File, r attachRequest) *client {
	c := h.newClient(conn, true)
	go c.read(r.Stdin)
	return c
}

// newClient begins to send to conn; sees says whether output goes there.
func (h *hub) newClient(conn *os.File, sees bool) *client {
	c := &client{h: h, conn: conn, sent: make(chan struct{})}
	c.more.L = &c.mu
	h.mu.Lock()
	h.clients[c] = sees
	h.mu.Unlock()
	go c.write()
	return c
}

func (h *hub) forget(c *client) {
	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
}

// send queues data for the client.
func (c *client) send(kind byte, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	output := kind == frameStdout || kind == frameStderr
	if output && c.size+len(data) > queueLimit {
		c.lost += uint64(len(data))
		return
	}
	if c.lost > 0 {
		c.push(frameLost, binary.LittleEndian.AppendUint64(nil, c.lost))
		c.lost = 0
	}
	for {
		n := min(len(data), frameSize)
		c.push(kind, data[:n])
		if data = data[n:]; len(data) == 0 {
			break
		}
	}
	c.more.Signal()
}

func (c *client) push(kind byte, data []byte) {
	frame := append(append(make([]byte, 0, 1+len(data)), kind), data...)
	c.queue, c.size = append(c.queue, frame), c.size+len(frame)
}

// write sends what is queued.
func (c *client) write() {
	defer close(c.sent)
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.over {
			c.more.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		frame := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		c.mu.Unlock()
		_, err := c.conn.Write(frame)
		c.mu.Lock()
		c.size -= len(frame)
		if err != nil {
			c.over, c.queue = true, nil
		}
		c.mu.Unlock()
	}
}

// read takes what the client sends, until it goes.
func (c *client) read(stdin bool) {
	defer c.leave()
	buf := make([]byte, 1+frameSize)
	for {
		n, err := c.conn.Read(buf)
		if err != nil || n == 0 {
			return
		}
		data := buf[1:n]
		switch buf[0] {
		case frameStdin:
			if stdin {
				c.h.write(data)
			}
		case frameEOF:
			if stdin {
				c.h.endInput()
			}
		case frameResize:
			if len(data) == 4 {
				c.h.mu.Lock()
				c.h.resize(&unix.Winsize{Row: binary.LittleEndian.Uint16(data), Col: binary.LittleEndian.Uint16(data[2:])})
				c.h.mu.Unlock()
			}
		}
	}
}

// leave is the end of a client that went by itself.
func (c *client) leave() {
	c.h.forget(c)
	c.mu.Lock()
	c.over, c.queue = true, nil
	c.more.Signal()
	c.mu.Unlock()
	c.conn.Close()
}

// finish sends what is queued, to a client that reads, and ends the connection.
func (c *client) finish() {
	c.h.forget(c)
	c.mu.Lock()
	c.over = true
	c.more.Signal()
	c.mu.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	<-c.sent
	c.conn.Close()
}

// errGone is the end of a connection.
var errGone = errors.New("the connection has ended")

// readFrame reads one message of a connection.
func readFrame(conn io.Reader, buf []byte) (kind byte, data []byte, err error) {
	n, err := conn.Read(buf)
	if err != nil || n == 0 {
		return 0, nil, errGone
	}
	return buf[0], buf[1:n], nil
}
