package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// door is the socket that a monitor listens on, RUNROOT/monitors/ID: sequenced
// packets of frames (hub_client.go). The directory is closed to others.
type door struct {
	path   string
	listen *os.File
}

// doorRequest is the first message of a connection.
type doorRequest struct {
	Op    string   // attach, wait, stopping, healthcheck, publish, unpublish, join, leave
	Stdin bool     // attach
	Ports []string `json:",omitempty"` // publish, unpublish; join, leave: a network
}

// doorAnswer follows it.
type doorAnswer struct {
	Error string `json:",omitempty"`
	TTY   bool   `json:",omitempty"`
	Stdin bool   `json:",omitempty"` // the payload reads standard input
}

func openDoor(e *Engine, id string, m *monitor) (*door, error) {
	dir := e.monitorDir(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the monitor's socket: %w", err)
	}
	d := &door{path: e.doorPath(id)}
	os.Remove(d.path) // of a monitor that was killed; we hold the container
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = withSocketAddress(d.path, func(addr *unix.SockaddrUnix) error { return unix.Bind(fd, addr) })
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		return nil, fmt.Errorf("open the monitor's socket %s: %w", d.path, err)
	}
	d.listen = os.NewFile(uintptr(fd), d.path)
	go d.serve(m)
	return d, nil
}

// withSocketAddress gives an address that fits in its 108 bytes, however long
// the path.
func withSocketAddress(path string, use func(*unix.SockaddrUnix) error) error {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return use(&unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)})
}

func (d *door) close() {
	if d != nil {
		os.Remove(d.path)
		d.listen.Close()
	}
}

func (d *door) serve(m *monitor) {
	raw, err := d.listen.SyscallConn()
	if err != nil {
		return
	}
	for {
		conn := -1
		var aerr error
		err := raw.Read(func(fd uintptr) bool {
			conn, _, aerr = unix.Accept4(int(fd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return aerr != unix.EAGAIN //nolint:errorlint // a plain errno
		})
		switch {
		case err != nil:
			return
		case aerr == nil:
			go m.answer(os.NewFile(uintptr(conn), "client"))
		case errors.Is(aerr, unix.EMFILE), errors.Is(aerr, unix.ENFILE), errors.Is(aerr, unix.ENOMEM):
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// answer serves one connection.
func (m *monitor) answer(conn *os.File) {
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1+frameSize)
	kind, data, err := readFrame(conn, buf)
	_ = conn.SetReadDeadline(time.Time{})
	var r doorRequest
	if err != nil || kind != frameRequest || json.Unmarshal(data, &r) != nil {
		conn.Close()
		return
	}
	a := doorAnswer{TTY: m.o.TTY, Stdin: m.o.Interactive}
	if !slices.Contains([]string{"attach", "wait", "stopping", "healthcheck", "publish", "unpublish", "join", "leave"}, r.Op) {
		a.Error = "the monitor is of another version, and does not know " + strconv.Quote(r.Op)
	}
	said, err := json.Marshal(a)
	if err == nil {
		_, err = conn.Write(append([]byte{frameAnswer}, said...))
	}
	if err != nil || a.Error != "" {
		conn.Close()
		return
	}
	switch r.Op {
	case "attach":
		m.hub.join(conn, attachRequest{Stdin: r.Stdin && m.o.Interactive})
	case "wait":
		go m.hub.newClient(conn, false).read(false)
	case "healthcheck":
		m.answerCheck(conn)
	case "publish", "unpublish", "join", "leave":
		m.answerPorts(conn, r)
	case "stopping":
		m.askToStop()
		m.hub.note("asked to stop")
		conn.Close()
	}
}

// errNoMonitor says that nobody listens for a container.
var errNoMonitor = errors.New("it has no monitor")

// knock connects to a container's monitor and makes a request.
func (e *Engine) knock(id string, r doorRequest) (*os.File, doorAnswer, error) {
	var a doorAnswer
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, a, fmt.Errorf("make a socket: %w", err)
	}
	err = withSocketAddress(e.doorPath(id), func(addr *unix.SockaddrUnix) error {
		for {
			err := unix.Connect(fd, addr)
			if !errors.Is(err, syscall.EINTR) {
				return err
			}
		}
	})
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
			err = errNoMonitor
		}
		return nil, a, err
	}
	_ = unix.SetNonblock(fd, true)
	conn := os.NewFile(uintptr(fd), "monitor")
	said, err := json.Marshal(r)
	if err == nil {
		_, err = conn.Write(append([]byte{frameRequest}, said...))
	}
	var kind byte
	var data []byte
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		kind, data, err = readFrame(conn, make([]byte, 1+frameSize))
		_ = conn.SetReadDeadline(time.Time{})
	}
	if err == nil && kind == frameAnswer {
		err = json.Unmarshal(data, &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		conn.Close()
		if errors.Is(err, errGone) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = errNoMonitor // it has ended since we connected
		}
		return nil, a, fmt.Errorf("ask the monitor: %w", err)
	}
	return conn, a, nil
}

// doorPath is the socket of a container's monitor.
func (e *Engine) doorPath(id string) string { return filepath.Join(e.monitorDir(id), id) }

// monitorDir has the sockets of monitors, beside the states.
func (e *Engine) monitorDir(id string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(e.runDir(id))), "monitors")
}
