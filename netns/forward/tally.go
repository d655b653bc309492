package forward

import (
	"sync/atomic"
	"time"
)

// tally counts bytes, and tells of them in a moment: who is idle is not woken.
type tally struct {
	tell    func(in, out uint64) // nil: nobody asks
	in, out atomic.Uint64
	waits   atomic.Bool // a telling is on its way
}

const tellAfter = 250 * time.Millisecond

func (t *tally) add(in, out int) {
	if t.tell == nil {
		return
	}
	t.in.Add(uint64(in))
	t.out.Add(uint64(out))
	if !t.waits.Load() && t.waits.CompareAndSwap(false, true) {
		time.AfterFunc(tellAfter, t.flush)
	}
}

func (t *tally) flush() {
	if t.tell == nil {
		return
	}
	t.waits.Store(false) // what comes from now on is told again
	t.tell(t.in.Load(), t.out.Load())
}
