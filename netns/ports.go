package netns

import (
	"io"
	"net"
	"slices"
	"sync"
)

// Listener is a port of the host's that somebody listens on.
type Listener interface {
	Serve() // until it is closed
	Bound() Port
	io.Closer
}

// Ports are the published ports of one container, whatever carries its packets.
type Ports struct {
	open func(Port) (Listener, error)

	mu      sync.Mutex
	closed  bool
	serving bool
	all     []Listener
}

// NewPorts has open take each.
func NewPorts(open func(Port) (Listener, error)) *Ports { return &Ports{open: open} }

// Listen takes ports of the host, all or none.
func (f *Ports) Listen(ports []Port) ([]Port, error) {
	out := make([]Port, 0, len(ports))
	for _, p := range ports {
		bound, err := f.Publish(p)
		if err != nil {
			for _, p := range out {
				f.Unpublish(p)
			}
			return nil, err
		}
		out = append(out, bound)
	}
	return out, nil
}

// Publish takes one more.
func (f *Ports) Publish(p Port) (Port, error) {
	l, err := f.open(p)
	if err != nil {
		return p, &ListenError{Port: p, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		l.Close()
		return p, &ListenError{Port: p, Err: net.ErrClosed}
	}
	f.all = append(f.all, l)
	if f.serving {
		go l.Serve()
	}
	return l.Bound(), nil
}

// Unpublish gives a port back; false when it was not published. Connections that
// came by it stay.
func (f *Ports) Unpublish(p Port) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.all, func(l Listener) bool { return l.Bound() == p })
	if i < 0 {
		return false
	}
	f.all[i].Close()
	f.all = slices.Delete(f.all, i, i+1)
	return true
}

// Bound are those that are published.
func (f *Ports) Bound() (out []Port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.all {
		out = append(out, l.Bound())
	}
	return out
}

// Serve begins to take what comes.
func (f *Ports) Serve() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serving = true
	for _, l := range f.all {
		go l.Serve()
	}
}

// Close gives all of them back.
func (f *Ports) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, l := range f.all {
		l.Close()
	}
	f.all = nil
}
