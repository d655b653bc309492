package spec

import (
	"context"
	"fmt"
	"os"

	"coracle/cgroupv2"
	"coracle/internal/plainfile"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Newborn is a container's first process, started as soon as its namespaces
// are known: the kernel makes them, and newuidmap and newgidmap write its maps,
// while the launcher works out what the process will have to do.
type Newborn struct {
	born   chan struct{}     // closed when there is a child, or none can be
	mapped chan struct{}     // closed when its maps are written; nil until Map
	looked chan struct{}     // closed when its namespaces were looked at
	child  *userns.Child     // nil where none could be made: Start makes one as well
	err    error             // of its id maps
	mounts *os.File          // its mount namespace, nil without one
	inodes map[string]uint64 // of its namespaces, see record.Namespaces

	flags  uintptr
	cgroup int // its directory, -1 for the caller's
}

// Begin starts one for Extra.Newborn, which is to be used or abandoned. Of s it
// reads the namespaces; m are the id maps, and cg is its cgroup, nil for the
// caller's. It is nil where the first process must not share our memory, see
// userns.Begin.
func Begin(ctx context.Context, s *specs.Spec, m userns.Map, cg *cgroupv2.Cgroup) *Newborn {
	n, err := planNamespaces(s)
	if err != nil || !n.canShare(s) || cg != nil && cg.Pending() || !roomToShare(cg) {
		return nil
	}
	b := n.begin((&Extra{Cgroup: cg}).cgroupFD())
	b.Map(ctx, m)
	return b
}

// BeginNamespaces starts one while nothing is known but its namespaces, all of
// them fresh, a user namespace among them, and its cgroup, nil for the caller's;
// Map follows. Should the configuration have others, Start makes another first
// process.
func BeginNamespaces(cg *cgroupv2.Cgroup, kinds ...specs.LinuxNamespaceType) *Newborn {
	s := &specs.Spec{Linux: &specs.Linux{}}
	for _, k := range kinds {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: k})
	}
	n, err := planNamespaces(s)
	if err != nil || !n.canShare(s) || cg != nil && cg.Pending() || !roomToShare(cg) {
		return nil
	}
	return n.begin((&Extra{Cgroup: cg}).cgroupFD())
}

// canShare says whether the first process may share our memory for a while.
func (n namespaces) canShare(s *specs.Spec) bool {
	// The kernel sets oom_score_adj of all that share a memory, and lets nobody
	// who does enter a time namespace.
	return n.atOnce() && n.fresh&unix.CLONE_NEWUSER != 0 && n.fresh&unix.CLONE_NEWTIME == 0 && (s.Process == nil || s.Process.OOMScoreAdj == nil)
}

// roomToShare says whether a cgroup has room for a process that shares our
// memory: whom the kernel kills for want of it takes all along who share his, and
// the killer looks at how large that is.
func roomToShare(cg *cgroupv2.Cgroup) bool {
	const enough = 4 << 20 // a start takes less than one
	room, limited := cg.Room()
	return !limited || room >= enough
}

func (n namespaces) begin(cgroup int) *Newborn {
	b := &Newborn{born: make(chan struct{}), looked: make(chan struct{}), cgroup: cgroup, flags: n.cloneFlags(cgroup >= 0)}
	go func() {
		defer close(b.looked)
		c, _ := userns.Begin(b.flags, b.cgroup) // Start finds out what is wrong, if anything is
		b.child = c
		close(b.born)
		if c == nil {
			return
		}
		// Now: its files under /proc are open to us, and nothing of the
		// container's has run in it.
		if b.flags&unix.CLONE_NEWNS != 0 {
			b.mounts, _ = plainfile.Open(fmt.Sprintf("/proc/%d/ns/mnt", c.PID), unix.O_RDONLY, 0) // none: the payload's end takes its mounts along
		}
		b.inodes, _ = namespacesOf(c.PID, func() bool { return true })
	}()
	return b
}

// AwaitBirth returns when there is a process, or none can be.
func (b *Newborn) AwaitBirth() {
	if b != nil {
		<-b.born
	}
}

// PID is its number once it is there and its namespaces have their ids; 0: none could be made.
func (b *Newborn) PID() int {
	if b == nil {
		return 0
	}
	<-b.born
	if b.mapped != nil {
		<-b.mapped
	}
	if b.child == nil {
		return 0
	}
	return b.child.PID
}

// Mapped says that its id maps are written, or about to be.
func (b *Newborn) Mapped() bool { return b != nil && b.mapped != nil }

// Map has the id maps written.
func (b *Newborn) Map(ctx context.Context, m userns.Map) {
	if b == nil {
		return
	}
	b.mapped = make(chan struct{})
	go func() {
		defer close(b.mapped)
		if <-b.born; b.child == nil {
			return
		}
		if b.err = userns.WriteMap(ctx, b.child.PID, m); b.err != nil {
			b.child.Abort()
			b.child = nil
		}
	}()
}

// take hands the process over, once; nil where there is none.
func (b *Newborn) take() (*userns.Child, error) {
	if b == nil {
		return nil, nil
	}
	<-b.looked
	if b.mapped != nil {
		<-b.mapped
	}
	c := b.child
	b.child = nil
	return c, b.err
}

// Abandon ends the process unless it was used.
func (b *Newborn) Abandon() {
	if c, _ := b.take(); c != nil {
		c.Abort()
	}
	if b != nil && b.mounts != nil {
		b.mounts.Close()
		b.mounts = nil
	}
}

// adopt makes the newborn the child, if there is one and it will do.
func (l *launch) adopt(prog *userns.Program, flags uintptr) (bool, error) {
	b := l.x.Newborn
	if b == nil || b.flags != flags || b.cgroup != l.x.cgroupFD() || b.mapped == nil || !l.x.namespaces.canShare(l.s) {
		b.Abandon()
		return false, nil
	}
	var err error
	if l.child, err = b.take(); l.child == nil {
		return false, err
	}
	l.mounts, b.mounts = b.mounts, nil
	if l.x.namespaces.fresh == flags { // else it makes some of them later
		l.inodes = b.inodes
	}
	return true, l.child.Give(prog)
}
