package engine

import (
	"context"

	"coracle/cgroupv2"
)

// oomWatch notices, while a payload runs, that the kernel kills processes of it
// for want of memory.
type oomWatch struct {
	tell func() // at each time
	stop context.CancelFunc
	done chan struct{}
	seen uint64 // so many; to be read once it is done
}

// watchOOM begins; nil where nobody counts: without a cgroup, or without the
// memory controller in it. It costs a thread, which those do not pay for.
func watchOOM(ref cgroupv2.Ref, tell func()) *oomWatch {
	cg, err := cgroupv2.Open(ref)
	if err != nil {
		return nil
	}
	if _, err := cg.OOMKills(); err != nil {
		cg.Close()
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &oomWatch{tell: tell, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		defer cg.Close()
		_ = cg.Watch(ctx, func(kills uint64) {
			w.seen = kills
			tell()
		})
	}()
	return w
}

// end ends it and says how many it has seen.
func (w *oomWatch) end() uint64 {
	w.stop()
	<-w.done
	return w.seen
}

// measure reads what the payload has used, all of its processes together. It is
// for the end, before the cgroup goes with the state.
func (r *run) measure(w *oomWatch, exit *Exit) {
	r.spent, r.oomKills = nil, 0
	if w != nil {
		r.oomKills = w.end()
	}
	if r.state != nil {
		r.spent = usageOf(r.state.Cgroup)
	}
	// A scope of systemd's may be gone by now: what was seen counts. And what
	// happened before the watch had begun, or at the last, was not seen.
	if r.spent != nil && r.spent.OOMKills > r.oomKills {
		r.oomKills = r.spent.OOMKills
		if w != nil {
			w.tell()
		}
	}
	exit.OOMKilled = r.oomKills > 0
}

// usageOf is what was used in a cgroup; nil where there is none.
func usageOf(ref cgroupv2.Ref) *cgroupv2.Usage {
	cg, err := cgroupv2.Open(ref)
	if err != nil {
		return nil
	}
	defer cg.Close()
	u, err := cg.Usage(cgroupv2.UsageEvents)
	if err != nil {
		return nil
	}
	return &u
}

// oomKillsOf counts them for a container whose launcher was killed, and so could not.
func (e *Engine) oomKillsOf(id string) uint64 {
	st, err := e.runtimeOf(id).Load(id)
	if err != nil {
		return 0
	}
	if u := usageOf(st.Cgroup); u != nil {
		return u.OOMKills
	}
	return 0
}
