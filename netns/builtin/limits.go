package builtin

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"coracle/netns"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// What a container can take of this process, which has other work, too: it answers
// for the container, and writes down what becomes of it.

// limits are what there can be at once.
type limits struct {
	files   uint64 // RLIMIT_NOFILE
	conns   int    // connections, each with a socket of the host's
	pending int    // of these, that wait for an answer of the other side
	flows   int    // of datagrams, each with a socket
}

// The most, whatever the limit on open files is: an idle connection takes 25 KB.
const (
	maxConns   = 16384
	maxPending = 1024
	maxFlows   = 1024
)

// limitsFor leaves a quarter of the descriptors to all else, the questions about
// names among it.
func limitsFor(files uint64) limits {
	files = max(64, min(files, 1<<20))
	l := limits{files: files, flows: min(maxFlows, int(files/8))}
	l.conns = min(maxConns, l.descriptors())
	l.pending = min(maxPending, l.conns/2)
	return l
}

// descriptors are those that connections can have.
func (l limits) descriptors() int { return int(l.files-l.files/4) - l.flows }

// Buffers of the connections that are made while there are others: a container whose
// connections nobody reads from has all of them filled.
var bufferSizes = []struct{ conns, size int }{{4096, 32 << 10}, {1024, 64 << 10}, {256, 256 << 10}}

// bufferSize is that of one more beside so many; 0 for gVisor's own, 1 MiB.
func bufferSize(conns int) int {
	for _, b := range bufferSizes {
		if conns >= b.conns {
			return b.size
		}
	}
	return 0
}

// places are those that connections take.
type places struct {
	mu      sync.Mutex
	used    int       // of them that end in the stack
	inside  int       // of them that are passed on to a socket inside
	buffer  int       // bufferSize, as the stack knows it
	pending list.List // of *attempt, the oldest first
}

// take is false where there are as many as there may be.
func (n *Network) take() bool { return n.change(1, 0) }
func (n *Network) give()      { n.change(-1, 0) }

// change counts connections that come or go, those that end in the stack and those
// that are passed on to a socket inside, which have two descriptors.
func (n *Network) change(used, inside int) bool {
	p := &n.places
	p.mu.Lock()
	p.used, p.inside = p.used+used, p.inside+inside
	full := p.used+p.inside > n.limits.conns || p.used+2*p.inside > n.limits.descriptors()
	if full && used+inside > 0 {
		p.used, p.inside = p.used-used, p.inside-inside
		p.mu.Unlock()
		n.tellFull()
		return false
	}
	n.sizeBuffers()
	p.mu.Unlock()
	return true
}

// sizeBuffers is called with the lock held.
func (n *Network) sizeBuffers() {
	size := bufferSize(n.places.used)
	if size == n.places.buffer || n.stack == nil {
		return
	}
	n.places.buffer = size
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: size, Max: size}
	if size == 0 {
		rcv.Default, rcv.Max = tcp.DefaultReceiveBufferSize, tcp.MaxBufferSize
	}
	snd := tcpip.TCPSendBufferSizeRangeOption(rcv)
	_ = n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &rcv)
	_ = n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &snd)
}

// attempt is a connection that waits for the other side.
type attempt struct {
	cancel  context.CancelFunc
	dropped bool
}

// errDropped: the attempt has made room for others.
var errDropped = errors.New("too many wait for an answer")

// reach connects to somebody outside. Of too many attempts (a flood of SYNs to where
// nobody answers) the oldest ends, as if no answer had come: others get through, and
// the container's kernel tries again.
func (n *Network) reach(dst netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := &attempt{cancel: cancel}
	p := &n.places
	p.mu.Lock()
	if p.pending.Len() >= n.limits.pending {
		oldest := p.pending.Remove(p.pending.Front()).(*attempt)
		oldest.dropped = true
		oldest.cancel()
	}
	at := p.pending.PushBack(a)
	p.mu.Unlock()
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: netns.KeepAlive}
	c, err := d.DialContext(ctx, "tcp", dst.String())
	p.mu.Lock()
	if a.dropped {
		err = errDropped
	} else {
		p.pending.Remove(at)
	}
	p.mu.Unlock()
	if err != nil {
		if c != nil {
			c.Close()
		}
		n.tellIf(err)
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// Tell has the user hear of what the container cannot have, each once. It is for
// before Attach.
func (n *Network) Tell(f func(msg, hint string)) { n.tell = f }

// tellIf tells of errors that only the user can do something about.
func (n *Network) tellIf(err error) {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		n.tellFull()
	}
}

func (n *Network) tellFull() {
	n.toldFull.Do(func() {
		if n.tell == nil {
			return
		}
		msg := fmt.Sprintf("the network has %d connections, as many as it may with a limit of %d open files: more are refused", n.limits.conns, n.limits.files)
		hint := "raise the limit before the container starts (ulimit -n)"
		if n.limits.conns == maxConns {
			msg, hint = fmt.Sprintf("the network has %d connections: more are refused", maxConns), ""
		}
		go n.tell(msg, hint) // it may have to wait for its reader
	})
}

// tellPing: who may send pings is a setting of the host's.
func (n *Network) tellPing() {
	n.toldPing.Do(func() {
		if n.tell != nil {
			go n.tell("the container's pings are refused: the host lets only the groups of net.ipv4.ping_group_range send them, and yours is not among them",
				"sudo sysctl net.ipv4.ping_group_range='0 2147483647'")
		}
	})
}

// Keep-alive of the stack's end finds out that the container's has gone without a word:
// its address was taken away, or it was closed while the other side said nothing.
var keepAlive = struct {
	idle, interval time.Duration
	count          int
}{10 * time.Minute, 75 * time.Second, 5}

func setKeepAlive(ep tcpip.Endpoint) {
	idle, interval := tcpip.KeepaliveIdleOption(keepAlive.idle), tcpip.KeepaliveIntervalOption(keepAlive.interval)
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, keepAlive.count)
	ep.SocketOptions().SetKeepAlive(true)
}

// stallCheck is how often a connection whose container does not read is looked after.
var stallCheck = 5 * time.Second

// roomInside waits until the container takes bytes again; false when the other side
// has been reset meanwhile: it is not read from, so nobody would hear of it.
func (c *conn) roomInside(ready <-chan struct{}) bool {
	t := time.NewTimer(stallCheck)
	defer t.Stop()
	for {
		select {
		case <-ready:
			return true
		case <-t.C:
			if hasFailed(c.fd) {
				return false
			}
			t.Reset(stallCheck)
		}
	}
}

// hasFailed says whether a socket has an error; its end is none.
func hasFailed(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // a descriptor
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLERR != 0
}
