package egress

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// names are the addresses that the container was given, each with the names that it
// was given for. A binding lives as long as the answer said, but at least a few
// minutes: programs keep addresses for longer than they should.
type names struct {
	now func() time.Time

	mu    sync.Mutex
	m     map[netip.Addr][]binding
	count int
}

type binding struct {
	name    string
	until   time.Time // the zero time: for ever, it was typed
	renewed time.Time
}

const (
	minBinding = 5 * time.Minute
	maxBinding = 24 * time.Hour
	// maxBindings are at once: who asks for more names than that loses the oldest.
	maxBindings = 8192
)

// pin binds a name that the user has given an address.
func (n *names) pin(name string, a netip.Addr) { n.put(a, binding{name: name}) }

// bind binds what an answer said.
func (n *names) bind(name string, a netip.Addr, ttl time.Duration) {
	now := n.now()
	n.put(a, binding{name: name, until: now.Add(min(max(ttl, minBinding), maxBinding)), renewed: now})
}

func (n *names) put(a netip.Addr, b binding) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, old := range n.m[a] {
		if old.name != b.name {
			continue
		}
		if !old.until.IsZero() {
			n.m[a][i] = b
		}
		return
	}
	if n.count >= maxBindings {
		n.evict()
	}
	if n.m == nil {
		n.m = map[netip.Addr][]binding{}
	}
	n.m[a] = append(n.m[a], b)
	n.count++
}

// evict drops what has expired, or else the eighth that was renewed longest ago: so
// it is not called for every name that comes.
func (n *names) evict() {
	now := n.now()
	n.drop(func(b binding) bool { return b.expired(now) })
	if n.count < maxBindings {
		return
	}
	var ages []time.Time
	for _, list := range n.m {
		for _, b := range list {
			if !b.until.IsZero() {
				ages = append(ages, b.renewed)
			}
		}
	}
	if len(ages) == 0 {
		return
	}
	slices.SortFunc(ages, time.Time.Compare)
	limit := ages[len(ages)/8]
	n.drop(func(b binding) bool { return !b.until.IsZero() && !b.renewed.After(limit) })
}

func (n *names) drop(gone func(binding) bool) {
	for a, list := range n.m {
		kept := slices.DeleteFunc(list, gone)
		n.count -= len(list) - len(kept)
		if len(kept) == 0 {
			delete(n.m, a)
		} else {
			n.m[a] = kept
		}
	}
}

func (b binding) expired(now time.Time) bool { return !b.until.IsZero() && now.After(b.until) }

// of gives the names of an address, the one that was asked for last first. pinned are
// those that the user gave it, expired those that it had, as long as they are remembered.
func (n *names) of(a netip.Addr) (live, pinned, expired []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.Clone(n.m[a])
	slices.SortStableFunc(list, func(x, y binding) int { return y.renewed.Compare(x.renewed) })
	now := n.now()
	for _, b := range list {
		switch {
		case b.expired(now):
			expired = append(expired, b.name)
			continue
		case b.until.IsZero():
			pinned = append(pinned, b.name)
		}
		live = append(live, b.name)
	}
	return live, pinned, expired
}
