package builtin

import "sync/atomic"

// Half of the processor time of what the container sends goes into writing to the
// host's sockets, and the other into reading from the device. Where much of several
// connections was gathered, a second goroutine has a part in the writing.

// worthSharing are bytes: to wake somebody takes the time of some dozen KB.
const worthSharing = 256 << 10

// share is what the two go by. Who comes late takes nothing, and is not waited for.
type share struct {
	next  atomic.Int32 // the next of direct.all that nobody sees to
	state atomic.Int32
	wake  chan struct{} // nil: there is no second one yet
	done  chan struct{}
	push  pusher // of the second

	helped atomic.Uint64 // times that it had a part
}

// The states of a share.
const (
	unshared = iota
	offered
	taken
)

// begin offers what was gathered.
func (s *share) begin(d *direct) {
	if s.wake == nil {
		s.wake, s.done = make(chan struct{}, 1), make(chan struct{}, 1)
		go s.serve(d)
	}
	s.next.Store(0)
	s.state.Store(offered)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end waits for the other if that has begun.
func (s *share) end() {
	if !s.state.CompareAndSwap(offered, unshared) {
		<-s.done
	}
}

// serve is the second goroutine.
func (s *share) serve(d *direct) {
	for range s.wake {
		if s.state.CompareAndSwap(offered, taken) {
			s.helped.Add(1)
			d.step(&s.push)
			s.done <- struct{}{}
		}
	}
}

// stop is for when nothing is read any more.
func (s *share) stop() {
	if s.wake != nil {
		close(s.wake)
	}
}
