package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"coracle/spec/seccomp"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions are what a further process of a container is made with besides
// its own description.
type ExecOptions struct {
	// Stdio become descriptors 0-2; nil entries are left alone. Ignored with a
	// terminal.
	Stdio [3]*os.File
	// Preserve is the number of descriptors from 3 on that the process keeps.
	Preserve uint
	Stub     *os.File // userns.OpenStub; nil: made for this

	PIDFile       string // gets the pid before Exec returns; "" for none
	ConsoleSocket string // a listening socket that the terminal's master is sent to
	PIDFDSocket   string // one that a pidfd of the process is sent to

	// Cgroup is a directory below the container's cgroup, "" for the latter.
	Cgroup string
	// IgnoreCgroup lets the process stay in the caller's cgroup where the
	// container's cannot be joined, although the container has limits.
	IgnoreCgroup bool
	// IgnorePaused lets a process join a paused container: it waits with the
	// others.
	IgnorePaused bool
	NoNewKeyring bool // stay with the caller's session keyring
}

// Exec runs another process in the container: in its namespaces and cgroup,
// and with its seccomp filter. What p does not say of capabilities, limits,
// labels and scheduling is as for the container's first process. It returns
// once the process executes; errors are as those of Start, and unwrap to
// ErrNotRunning and ErrPaused.
func (c *Container) Exec(ctx context.Context, p *specs.Process, o ExecOptions) (_ *Process, err error) {
	if err := c.takesExec(o.IgnorePaused); err != nil {
		return nil, err
	}
	s, err := c.execSpec(p)
	if err != nil {
		return nil, err
	}
	e := &joining{c: c, s: s, o: o}
	defer e.close()
	if err := e.prepare(); err != nil {
		return nil, err
	}
	out := &Process{}
	err = e.start(ctx)
	if out.child, out.Console = e.l.child, e.l.console; err == nil {
		out.PID = out.child.PID
		err = handOver(out, o.ConsoleSocket, o.PIDFDSocket, o.PIDFile)
	}
	if err != nil {
		if out.child != nil {
			out.abort()
		}
		return nil, commandError(err)
	}
	return out, nil
}

// takesExec says why nothing can be executed in the container now.
func (c *Container) takesExec(paused bool) error {
	switch st := c.status(); st {
	case specs.StateRunning, specs.StateCreated:
		return nil
	case StatePaused:
		if paused {
			return nil
		}
		return fmt.Errorf("cannot exec in a paused container (use --ignore-paused to override): %w", &idError{c.ID, ErrPaused})
	case specs.StateStopped:
		return fmt.Errorf("cannot exec in a stopped container: %w", &idError{c.ID, ErrNotRunning})
	default:
		return fmt.Errorf("cannot exec in a container in the %s state: %w", st, &idError{c.ID, ErrNotRunning})
	}
}

// joining is a process on its way into a container.
type joining struct {
	c *Container
	s *specs.Spec // the container's, with the new process
	o ExecOptions

	x     Extra
	first firstProcess
	l     *launch
	stub  *os.File
}

// firstProcess is the container's, whose namespaces are joined.
type firstProcess struct {
	pid   int
	pidfd *os.File
	root  *os.File // its root; nil where that is the one of its mount namespace
	flags uintptr  // the namespaces that are not ours already
	// inodes are those that the container was made with. Its first process can
	// have left them since, for others that it has prepared for us.
	inodes map[string]uint64
}

func (e *joining) prepare() (err error) {
	if e.first, err = e.c.firstProcess(); err != nil {
		return err
	}
	e.s.Process.Env = withHome(e.s.Process.Env, "/proc/"+strconv.Itoa(e.c.Pid)+"/root", e.s.Process.User.UID)
	e.x = Extra{Stub: e.o.Stub, Stdio: e.o.Stdio, Preserve: e.o.Preserve, lacks: probeExec(e.s.Process.Terminal)}
	e.x.ID, e.x.NoNewKeyring = e.c.ID, e.o.NoNewKeyring
	e.x.State = e.c.State
	e.x.State.Status = specs.StateRunning
	if e.x.Stub == nil {
		if e.stub, err = userns.OpenStub(); err != nil {
			return err
		}
		e.x.Stub = e.stub
	}
	if filter := e.s.Linux.Seccomp; filter != nil {
		prog, err := seccomp.Compile(filter, runtime.GOARCH)
		if err != nil {
			return fmt.Errorf("linux.seccomp: %w", err)
		}
		e.x.Seccomp, e.x.SeccompFlags, e.x.Listener, e.x.ListenerMetadata = prog.Filter, prog.Flags, prog.ListenerPath, prog.ListenerMetadata
	}
	return e.cgroup()
}

// firstProcess opens the container's first process and looks whether it is still in
// the namespaces that it was made with.
func (c *Container) firstProcess() (t firstProcess, err error) {
	if len(c.Namespaces) == 0 {
		// It is being made, or its process had ended before anybody could look.
		return t, fmt.Errorf("join container %s: its namespaces are not known: it was never made to the end: %w", c.ID, ErrNotRunning)
	}
	t.pid = c.Pid
	if t.pidfd, err = c.process(); err != nil {
		return t, err
	}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	t.inodes = make(map[string]uint64, len(c.Namespaces))
	for _, k := range namespaceKinds {
		want, ok := c.Namespaces[k.file]
		if !ok {
			continue
		}
		own, err := namespaceInode("/proc/self/ns/" + k.file)
		if err != nil {
			return t, fmt.Errorf("look at our own %s namespace: %w", k.kind, err)
		}
		now, err := namespaceInode("/proc/" + strconv.Itoa(c.Pid) + "/ns/" + k.file)
		if isGone(err) { // between the two looks, or about to: then it has no namespaces
			return t, &idError{c.ID, ErrNotRunning}
		}
		if err != nil {
			return t, fmt.Errorf("look at the %s namespace of container %s: %w", k.kind, c.ID, err)
		}
		if now != want {
			return t, fmt.Errorf("join container %s: its first process has left the %s namespace that it was made with", c.ID, k.kind)
		}
		if own != want {
			t.flags |= k.flag
			t.inodes[k.file] = want
		}
	}
	if t.flags&unix.CLONE_NEWNS == 0 {
		if t.root, err = os.OpenFile(fmt.Sprintf("/proc/%d/root", c.Pid), unix.O_PATH|unix.O_DIRECTORY, 0); isGone(err) {
			return t, &idError{c.ID, ErrNotRunning}
		} else if err != nil {
			return t, fmt.Errorf("open the root of container %s: %w", c.ID, err)
		}
	}
	return t, nil
}

func (t firstProcess) close() {
	for _, f := range []*os.File{t.pidfd, t.root} {
		if f != nil {
			f.Close()
		}
	}
}

// start clones the process, into the cgroup, and sees it through to its exec.
func (e *joining) start(ctx context.Context) error {
	e.l = &launch{s: e.s, x: &e.x, share: e.canShare()}
	if err := e.l.sockets(); err != nil {
		return err
	}
	prog, err := compileExec(e.s, &e.x, e.first)
	if err != nil {
		return err
	}
	err = onCPUs("process.execCPUAffinity.initial", initialCPUs(e.s.Process), func() error { return e.l.clone(prog, 0) })
	if err != nil && e.l.child != nil {
		err = e.otherCgroup(err)
	}
	if err != nil {
		return err
	}
	fromOutside(e.s, e.l.child.PID)
	// A paused container lets nothing go on until it is resumed.
	stop := context.AfterFunc(ctx, func() { _ = e.l.child.Kill() })
	defer stop()
	if err := e.l.child.Release(); err != nil {
		return errors.Join(e.l.child.WaitExec(), err)
	}
	if e.x.Console != nil {
		e.x.Console.Close() // the child's own now: when it dies, ours says so
	}
	e.l.agent.started()
	if e.first.flags&unix.CLONE_NEWPID != 0 {
		if err := e.l.child.AwaitFork(); err != nil {
			return err
		}
	}
	if e.l.sock != nil {
		e.l.console, _ = receiveFD(e.l.sock) // a child that fails before says why
	}
	if err := e.l.agent.hand(&e.x, e.l.child.PID); err != nil {
		return err
	}
	if err := e.l.child.WaitExec(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// canShare says whether the process may have our memory on its way in, see
// Newborn. Nobody in the container can name it there: it never is in their pid
// namespace, only the process that it forks, which has a copy.
func (e *joining) canShare() bool {
	return e.first.flags&unix.CLONE_NEWPID != 0 && e.first.flags&unix.CLONE_NEWTIME == 0 && e.s.Process.OOMScoreAdj == nil && roomToShare(e.x.Cgroup)
}

func (e *joining) close() {
	if e.l != nil {
		e.l.close()
	}
	if e.x.Cgroup != nil {
		e.x.Cgroup.Close()
	}
	for _, f := range []*os.File{e.first.pidfd, e.first.root, e.stub} {
		if f != nil {
			f.Close()
		}
	}
}
