package forward

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// Maker makes sockets in the network of a container.
type Maker interface {
	// Make gives n of a family and type, which do not block; transparent ones may
	// have any address.
	Make(family, kind int, transparent bool, n int) ([]int, error)
	// Transparent says whether the container can see its clients' addresses. It may be
	// asked often.
	Transparent() bool
}

// stock has sockets at hand: to make one takes a process, so several are made at
// once, and the more the faster they are taken.
type stock struct {
	maker Maker

	mu     sync.Mutex
	closed bool
	rest   map[want]*batch
}

type want struct {
	family, kind int
	transparent  bool
}

// batch is what is left of those that were made together.
type batch struct {
	made int
	fds  []int
}

// The first of them keep nobody waiting; the most are a part of what there can be.
const (
	firstBatch = 4
	mostBatch  = 64
)

// take gives one.
func (s *stock) take(family, kind int, transparent bool) (int, error) {
	w := want{family, kind, transparent}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.maker == nil {
		return -1, net.ErrClosed
	}
	if s.rest == nil {
		s.rest = map[want]*batch{}
	}
	b := s.rest[w]
	if b == nil {
		b = &batch{made: firstBatch / 2}
		s.rest[w] = b
	}
	if len(b.fds) == 0 {
		n := min(2*b.made, mostBatch)
		fds, err := s.maker.Make(family, kind, transparent, n)
		if err != nil {
			return -1, err
		}
		b.made, b.fds = n, fds
	}
	last := len(b.fds) - 1
	fd := b.fds[last]
	b.fds = b.fds[:last]
	return fd, nil
}

func (s *stock) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, b := range s.rest {
		for _, fd := range b.fds {
			_ = unix.Close(fd)
		}
	}
	s.rest = nil
}
