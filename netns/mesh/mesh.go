// Package mesh has the containers of a network meet: whoever serves one listens at a
// socket, and connects to those of the others. Both tell who they are and hand over
// the container's device; the connection stays open as long as both are there.
package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
)

// Member is a container of the network.
type Member struct {
	ID    string
	Addr  netip.Addr
	Addr6 netip.Addr `json:",omitzero"` // in a network without IPv6 there is none
	Names []string
	MAC   netns.MAC `json:",omitzero"` // of a TAP device
}

// Addrs are its addresses.
func (m Member) Addrs() []netip.Addr {
	if m.Addr6.IsValid() {
		return []netip.Addr{m.Addr, m.Addr6}
	}
	return []netip.Addr{m.Addr}
}

// Meet is called for each other member, with its device, which is the callee's; part
// is called when that one has gone.
type Meet func(m Member, device *os.File) (part func(), err error)

// Mesh is one container's place in a network.
type Mesh struct {
	self   Member
	device *os.File // a duplicate, ours
	meet   Meet
	path   string
	listen *net.UnixListener

	mu     sync.Mutex
	closed bool
	conns  map[*net.UnixConn]struct{}
	known  map[string]*acquaintance
}

// acquaintance is a member with one connection or two: both may have connected.
type acquaintance struct {
	conns int
	part  func()
}

const (
	maxHello  = 16 << 10
	helloTime = 2 * time.Second
)

// Join joins the network whose sockets are in dir. It returns when the members that
// are there are met; those that come later meet us.
func Join(dir string, self Member, device *os.File, meet Meet) (*Mesh, error) {
	m := &Mesh{self: self, device: device, meet: meet, path: filepath.Join(dir, self.ID), conns: map[*net.UnixConn]struct{}{}, known: map[string]*acquaintance{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		device.Close()
		return nil, fmt.Errorf("join the network: %w", err)
	}
	os.Remove(m.path) // of a process that was killed: the container is ours
	in, done, err := shortPath(dir)
	if err == nil {
		m.listen, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(in, self.ID), Net: "unixpacket"})
		done()
	}
	if err != nil {
		device.Close()
		return nil, fmt.Errorf("join the network: listen at %s: %w", m.path, err)
	}
	m.listen.SetUnlinkOnClose(false) // by a path that is not there any more
	// Listening comes first: of two that come at once, one at least sees the other.
	go m.serve()
	entries, err := os.ReadDir(dir)
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("join the network: %w", err)
	}
	var all sync.WaitGroup
	for _, e := range entries {
		if e.Name() != self.ID {
			all.Go(func() { m.visit(dir, e.Name()) })
		}
	}
	all.Wait()
	return m, nil
}

// shortPath is a name of the directory that leaves room in an address of 108 bytes.
func shortPath(dir string) (string, func(), error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { unix.Close(fd) }, nil
}

// visit connects to another member. One that does not answer was killed, or is about
// to end.
func (m *Mesh) visit(dir, id string) {
	in, done, err := shortPath(dir)
	if err != nil {
		return
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: filepath.Join(in, id), Net: "unixpacket"})
	done()
	if err != nil {
		return
	}
	if other, ok := m.greet(c); ok {
		go m.stay(c, other)
	}
}

func (m *Mesh) serve() {
	for {
		c, err := m.listen.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(50 * time.Millisecond) // no descriptors
		default:
			go func() {
				if other, ok := m.greet(c); ok {
					m.stay(c, other)
				}
			}()
		}
	}
}

// greet exchanges who we are; false, and the connection is closed, where nothing comes
// of it.
func (m *Mesh) greet(c *net.UnixConn) (*acquaintance, bool) {
	if !m.keep(c) {
		c.Close()
		return nil, false
	}
	other, device, err := m.hello(c)
	if err != nil {
		m.drop(c)
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.known[other.ID]
	if a == nil {
		a = &acquaintance{}
		if a.part, err = m.meet(other, device); err != nil || m.closed {
			if err == nil {
				a.part()
			} else {
				device.Close()
			}
			delete(m.conns, c)
			c.Close()
			return nil, false
		}
		m.known[other.ID] = a
	} else {
		device.Close()
	}
	a.conns++
	return a, true
}

// hello sends ours and receives theirs.
func (m *Mesh) hello(c *net.UnixConn) (other Member, device *os.File, err error) {
	_ = c.SetDeadline(time.Now().Add(helloTime))
	said, err := json.Marshal(m.self)
	if err != nil {
		return other, nil, err
	}
	raw, err := m.device.SyscallConn()
	if err != nil {
		return other, nil, err
	}
	var rights []byte
	if err := raw.Control(func(fd uintptr) { rights = unix.UnixRights(int(fd)) }); err != nil {
		return other, nil, err
	}
	if _, _, err := c.WriteMsgUnix(said, rights, nil); err != nil {
		return other, nil, err
	}
	buf, oob := make([]byte, maxHello), make([]byte, unix.CmsgSpace(4))
	n, k, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return other, nil, err
	}
	_ = c.SetDeadline(time.Time{})
	msgs, err := unix.ParseSocketControlMessage(oob[:k])
	if err != nil || len(msgs) != 1 {
		return other, nil, errors.New("no device came")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return other, nil, errors.New("no device came")
	}
	unix.CloseOnExec(fds[0])
	device = os.NewFile(uintptr(fds[0]), "peer")
	if err := json.Unmarshal(buf[:n], &other); err != nil {
		device.Close()
		return other, nil, err
	}
	return other, device, nil
}

// stay waits until the other one goes.
func (m *Mesh) stay(c *net.UnixConn, a *acquaintance) {
	var b [1]byte
	_, _ = c.Read(b[:])
	m.drop(c)
	m.mu.Lock()
	a.conns--
	gone := a.conns == 0
	if gone {
		for id, k := range m.known {
			if k == a {
				delete(m.known, id)
			}
		}
	}
	m.mu.Unlock()
	if gone {
		a.part()
	}
}

func (m *Mesh) keep(c *net.UnixConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.conns[c] = struct{}{}
	return true
}

func (m *Mesh) drop(c *net.UnixConn) {
	m.mu.Lock()
	delete(m.conns, c)
	m.mu.Unlock()
	c.Close()
}

// Close leaves the network: the others hear of it.
func (m *Mesh) Close() {
	m.mu.Lock()
	m.closed = true
	conns := m.conns
	m.conns = nil
	m.mu.Unlock()
	_ = m.listen.Close()
	os.Remove(m.path)
	for c := range conns {
		c.Close()
	}
	m.device.Close()
}
