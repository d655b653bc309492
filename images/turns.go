package images

import (
	"context"
	"sync"
)

// turns bounds how many pieces of work are done at the same time. Of those that wait the
// largest is next: were it the last to begin, it would be done alone in the end, on one
// processor of several.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting []*waiter
}

type waiter struct {
	size int64
	turn chan struct{} // closed when it is its turn
}

func newTurns(n int) *turns { return &turns{free: n} }

// take waits for a turn; who has got one gives it back.
func (t *turns) take(ctx context.Context, size int64) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	w := &waiter{size, make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	err := waitFor(ctx, w.turn)
	if err != nil && !t.leave(w) {
		t.give() // it was its turn by then
	}
	return err
}

// leave is false for who waits no more.
func (t *turns) leave(w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range t.waiting {
		if other == w {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next()
}

// next calls the largest; the caller has the lock.
func (t *turns) next() {
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	next := 0
	for i, w := range t.waiting {
		if w.size > t.waiting[next].size {
			next = i
		}
	}
	close(t.waiting[next].turn)
	t.waiting = append(t.waiting[:next], t.waiting[next+1:]...)
}
