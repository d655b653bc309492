package spec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"coracle/fuse"
	"coracle/internal/plainfile"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// launch is a container's first process on its way to the payload. The child
// and its launcher meet like this; what stands in brackets is not always there:
//
//	launcher                               child
//	clone, [write its maps], Release    →  begins (both may be done by then, see Newborn)
//	[                                   ←  reportUserNS, where namespaces are entered one by one
//	write its maps, Release             →  ]
//	[                                   ←  forks into the pid namespace, and waits
//	                                       mounts
//	[                                   ←  reportMounts
//	hooks, Release                      →  ]
//	the guard or the state, Release     →  enters the root, becomes the payload's user
//	                                    ←  EOF: the payload (or the stub that waits to be started) runs
type launch struct {
	s *specs.Spec
	x *Extra
	m userns.Map

	child          *userns.Child
	sock, fuseSock *os.File // our ends
	straysSock     *os.File
	scratchSock    *os.File
	scratch        *os.File // the tmpfs of Extra.HandScratch
	ns             *os.File // the child's user namespace
	mounts         *os.File // its mount namespace, see Process
	strays         *os.File // the same, as a socket brought it
	fuse           *userns.Child
	console        *os.File
	tunSock, tun   *os.File // our end, and the device that comes over it
	agent          *seccompAgent
	inodes         map[string]uint64 // see Newborn
	share          bool              // the child has our memory until it executes or forks
}

// begin clones the child, gives it its maps, and lets it go to its mounts.
func (l *launch) begin(ctx context.Context) (err error) {
	x, n := l.x, namespaces{}
	if x.namespaces == nil {
		if n, err = planNamespaces(l.s); err != nil {
			return err
		}
		x.namespaces = &n
	}
	if err := x.namespaces.open(); err != nil {
		return err
	}
	defer x.namespaces.close()
	if err := l.sockets(); err != nil {
		return err
	}
	x.lacks = probeKernel()
	if x.lacks.setattr {
		if x.mountPoints, err = mountPoints(); err != nil {
			return err
		}
	}
	if x.Handles || x.lacks.any() {
		if err := x.numbers(handleCount(l.s, x.Root)); err != nil {
			return err
		}
	}
	if x.Resolve == nil && x.Root == nil {
		x.Resolve = insideOf(x.hostPath(l.s.Root.Path))
	}
	if err := openIDMapped(ctx, l.s, x, l.m); err != nil {
		return err
	}
	defer closeIDMapped(x)
	prog, flags, err := Compile(l.s, x)
	if err != nil {
		return err
	}
	if x.Compiled != nil {
		x.Compiled()
	}
	born, err := l.adopt(prog, flags)
	if err == nil && !born {
		err = l.clone(prog, flags)
	}
	if err != nil {
		return err
	}
	if l.fuseSock != nil {
		// Now: once the child has changed its user it is not dumpable any more,
		// and its /proc files are closed to us.
		if l.ns, err = plainfile.Open(fmt.Sprintf("/proc/%d/ns/user", l.child.PID), unix.O_RDONLY, 0); err != nil {
			return fmt.Errorf("open the container's user namespace: %w", err)
		}
	}
	if born {
		fromOutside(l.s, l.child.PID)
		if err := l.child.Release(); err != nil {
			return err
		}
	}
	// The child's ends are its own now: when it dies, ours say so.
	for _, f := range []*os.File{x.Console, x.FuseSock, x.straysSock, x.scratchSock, x.tunSock()} {
		if f != nil {
			f.Close()
		}
	}
	l.agent.started()
	if born {
		return nil
	}
	return l.maps(ctx)
}

func (l *launch) sockets() (err error) {
	x := l.x
	if l.s.Process.Terminal {
		if l.sock, x.Console, err = socketPair(); err != nil {
			return err
		}
	}
	if x.Root != nil && x.Root.Kind == fuse.FuseOverlayFS {
		if l.fuseSock, x.FuseSock, err = socketPair(); err != nil {
			return err
		}
	}
	if x.Strays {
		if l.straysSock, x.straysSock, err = socketPair(); err != nil {
			return err
		}
	}
	if x.HandScratch && x.Root != nil && x.Root.Scratch != nil {
		if l.scratchSock, x.scratchSock, err = socketPair(); err != nil {
			return err
		}
	}
	if x.Tun != nil {
		if l.tunSock, x.Tun.sock, err = socketPair(); err != nil {
			return err
		}
	}
	l.agent, err = dialAgent(x)
	return err
}

// clone starts the child, in its cgroup if it has one.
func (l *launch) clone(prog *userns.Program, flags uintptr) (err error) {
	if l.share && l.shared(prog, flags) {
		return nil
	}
	if l.x.Cgroup == nil || !l.x.Cgroup.Pending() {
		l.child, err = userns.StartIn(prog, flags, l.x.cgroupFD())
		if !errors.Is(err, userns.ErrNoCloneInto) {
			return err
		}
	}
	if l.child, err = userns.Start(prog, flags); err != nil {
		return err
	}
	// The child has not begun: it does so, and makes its namespaces, there.
	return l.x.Cgroup.AddProcess(l.child.PID)
}

// shared is clone for a child with our memory; false where it cannot be had.
func (l *launch) shared(prog *userns.Program, flags uintptr) bool {
	child, err := userns.Begin(flags, l.x.cgroupFD())
	if err != nil {
		return false
	}
	if err := child.Give(prog); err != nil {
		child.Abort()
		return false
	}
	l.child = child
	return true
}

// maps writes the id maps when it is time, and follows the child to where it
// is the process that will become the payload.
func (l *launch) maps(ctx context.Context) error {
	n := l.x.namespaces
	fresh := n.fresh&unix.CLONE_NEWUSER != 0
	if n.atOnce() {
		if fresh {
			if err := userns.WriteMap(ctx, l.child.PID, l.m); err != nil {
				return err
			}
		}
		fromOutside(l.s, l.child.PID)
		if l.x.Network != nil {
			if err := l.x.Network(l.child.PID); err != nil {
				return err
			}
		}
		return l.child.Release()
	}
	if l.x.Network != nil {
		return errors.New("make the container's network: it shares namespaces with others, and only private, none and host can be had then")
	}
	if err := l.child.Release(); err != nil {
		return err
	}
	if fresh {
		if err := l.child.Await(reportUserNS); err != nil {
			return err
		}
		if err := userns.WriteMap(ctx, l.child.PID, l.m); err != nil {
			return err
		}
		fromOutside(l.s, l.child.PID)
		if err := l.child.Release(); err != nil {
			return err
		}
	}
	if n.has(unix.CLONE_NEWPID) {
		return l.child.AwaitFork()
	}
	return nil
}

// hooks runs f while the child waits before its root, where it does.
func (l *launch) hooks(f func() error) error {
	if !l.x.Hooks {
		return nil
	}
	if err := l.child.Await(reportMounts); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return l.child.Release()
}

// finish lets the child become the payload, and waits until it is.
func (l *launch) finish() (err error) {
	if err := l.child.Release(); err != nil {
		return cmp.Or(l.child.WaitExec(), err) // the child's own report says more
	}
	if l.fuseSock != nil {
		if l.fuse, err = startFuse(l.fuseSock, l.ns, l.x.FuseLog, l.x.Root.Fuse); err != nil {
			return errors.Join(err, l.child.WaitExec())
		}
	}
	if l.straysSock != nil {
		if l.strays, err = receiveFD(l.straysSock); err != nil {
			return cmp.Or(l.child.WaitExec(), err)
		}
	}
	if l.scratchSock != nil {
		if l.scratch, err = receiveFD(l.scratchSock); err != nil {
			return cmp.Or(l.child.WaitExec(), err)
		}
	}
	if l.tunSock != nil {
		l.tun, _ = receiveFD(l.tunSock) // as with the terminal
	}
	if l.sock != nil {
		// When the child fails before that, its report says why.
		l.console, _ = receiveFD(l.sock)
	}
	if err := l.agent.hand(l.x, l.child.PID); err != nil {
		return err
	}
	return l.child.WaitExec()
}

// close releases what only the start needs.
func (l *launch) close() {
	l.agent.close()
	for _, f := range []*os.File{l.sock, l.fuseSock, l.straysSock, l.scratchSock, l.ns, l.mounts, l.strays, l.x.Console, l.x.FuseSock, l.x.straysSock, l.x.scratchSock,
		l.tunSock, l.x.tunSock()} {
		if f != nil {
			f.Close() // some are closed already, which is no matter
		}
	}
}
