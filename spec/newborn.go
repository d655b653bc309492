package spec

import (
	"context"

	"coracle/cgroupv2"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Newborn is a container's first process, started as soon as its namespaces
// are known: the kernel makes them, and newuidmap and newgidmap write its maps,
// while the launcher works out what the process will have to do.
type Newborn struct {
	done  chan struct{} // closed when the rest is known
	child *userns.Child // nil where none could be made: Start makes one as well
	err   error         // of its id maps

	flags  uintptr
	cgroup int // its directory, -1 for the caller's
}

// Begin starts one for Extra.Newborn, which is to be used or abandoned. Of s it
// reads the namespaces; m are the id maps, and cg is its cgroup, nil for the
// caller's. It is nil where the first process must not share our memory, see
// userns.Begin.
func Begin(ctx context.Context, s *specs.Spec, m userns.Map, cg *cgroupv2.Cgroup) *Newborn {
	n, err := planNamespaces(s)
	// The kernel sets oom_score_adj of all that share a memory.
	if err != nil || !n.atOnce() || n.fresh&unix.CLONE_NEWUSER == 0 || s.Process.OOMScoreAdj != nil || cg != nil && cg.Pending() {
		return nil
	}
	b := &Newborn{done: make(chan struct{}), cgroup: (&Extra{Cgroup: cg}).cgroupFD()}
	b.flags = n.cloneFlags(b.cgroup >= 0)
	go func() {
		defer close(b.done)
		b.child, err = userns.Begin(b.flags, b.cgroup)
		if err != nil {
			return // Start finds out what is wrong, if anything is
		}
		if b.err = userns.WriteMap(ctx, b.child.PID, m); b.err != nil {
			b.child.Abort()
			b.child = nil
		}
	}()
	return b
}

// take hands the process over, once; nil where there is none.
func (b *Newborn) take() (*userns.Child, error) {
	if b == nil {
		return nil, nil
	}
	<-b.done
	c := b.child
	b.child = nil
	return c, b.err
}

// Abandon ends the process unless it was used.
func (b *Newborn) Abandon() {
	if c, _ := b.take(); c != nil {
		c.Abort()
	}
}

// adopt makes the newborn the child, if there is one and it will do.
func (l *launch) adopt(prog *userns.Program, flags uintptr) (bool, error) {
	b := l.x.Newborn
	if b == nil || b.flags != flags || b.cgroup != l.x.cgroupFD() {
		b.Abandon()
		return false, nil
	}
	var err error
	if l.child, err = b.take(); l.child == nil {
		return false, err
	}
	return true, l.child.Give(prog)
}
