package forward

import "sync"

// What clients can take of this process, which has other work, too.

const (
	// maxConns are at once, of all ports: each has two descriptors, and 16 KiB while
	// the other side does not take what came.
	maxConns = 16384
	// maxSessions are those of datagrams, with a descriptor each.
	maxSessions = 1024
)

// limitsFor leaves a quarter of the descriptors to all else.
func limitsFor(files uint64) (conns, sessions int) {
	files = max(64, min(files, 1<<20))
	sessions = min(maxSessions, int(files/8))
	return min(maxConns, (int(files-files/4)-sessions)/2), sessions
}

// places are as many as there may be.
type places struct {
	mu         sync.Mutex
	used, most int
}

// take is false where there is none.
func (p *places) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used >= p.most {
		return false
	}
	p.used++
	return true
}

func (p *places) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
}
