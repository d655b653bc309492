package engine

import "time"

// backOff is the time between two starts: 100 ms, twice as long each time up to
// a minute, and from the beginning once a payload ran for ten seconds. Source:
// docker, "restart policies".
type backOff struct{ wait time.Duration }

// sleep waits; false when it was told to stop.
func (b *backOff) sleep(ran time.Duration, stop <-chan struct{}) bool {
	const least, most, settled = 100 * time.Millisecond, time.Minute, 10 * time.Second
	b.wait = min(2*b.wait, most)
	if b.wait == 0 || ran >= settled {
		b.wait = least
	}
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}
