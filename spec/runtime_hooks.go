package spec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hooksOf are the hooks of some points, in order.
func hooksOf(s *specs.Spec, points func(*specs.Hooks) [][]specs.Hook) []specs.Hook {
	if s.Hooks == nil {
		return nil
	}
	var out []specs.Hook
	for _, p := range points(s.Hooks) {
		out = append(out, p...)
	}
	return out
}

// hooks runs what comes between the making of the namespaces and pivot_root
// (runtime-spec config.md#posix-platform-hooks): prestart and createRuntime
// here, createContainer in the container's namespaces.
func (m *making) hooks(ctx context.Context, pidfd *os.File) error {
	ctx, stop := whileAlive(ctx, pidfd)
	defer stop()
	// First: hooks may look at the interfaces.
	if err := moveNetDevices(m.s, m.c.Pid); err != nil {
		return err
	}
	m.hooked = true
	if m.s.Hooks == nil {
		return nil
	}
	h, st := m.s.Hooks, m.c.State
	for _, point := range []struct {
		name  string
		hooks []specs.Hook
	}{{"prestart", h.Prestart}, {"createRuntime", h.CreateRuntime}} { //nolint:staticcheck // deprecated, and still to be run
		st := st
		if point.name == "prestart" {
			st.Status = specs.StateCreated // what crun says and the OCI's suite expects; it has its process by now
		}
		for i, hook := range point.hooks {
			if err := runHook(ctx, hook, st); err != nil {
				return fmt.Errorf("hooks.%s[%d]: %w", point.name, i, err)
			}
		}
	}
	for i, hook := range h.CreateContainer {
		if err := m.c.runHookInside(ctx, hook, st); err != nil {
			return fmt.Errorf("hooks.createContainer[%d]: %w", i, err)
		}
	}
	return nil
}

// startContainer runs the hooks that see the container's own root.
func (c *Container) startContainer(ctx context.Context, s *specs.Spec) error {
	st := c.State
	st.Status = specs.StateCreated
	for i, hook := range hooksOf(s, func(h *specs.Hooks) [][]specs.Hook { return [][]specs.Hook{h.StartContainer} }) {
		if err := c.runHookInside(ctx, hook, st); err != nil {
			return fmt.Errorf("hooks.startContainer[%d]: %w", i, err)
		}
	}
	return nil
}

// poststart and poststop hooks that fail are only told of.
func (c *Container) poststart(ctx context.Context, s *specs.Spec) {
	st := c.State
	st.Status = specs.StateRunning
	for i, hook := range hooksOf(s, func(h *specs.Hooks) [][]specs.Hook { return [][]specs.Hook{h.Poststart} }) {
		if err := runHook(ctx, hook, st); err != nil {
			c.rt.warn("hooks.poststart[%d]: %v", i, err)
		}
	}
}

// A start that fails runs them, and a delete after it does not again.
func (c *Container) poststop(ctx context.Context, s *specs.Spec) {
	if c.Poststopped {
		return
	}
	c.Poststopped = true
	st := c.State
	st.Status, st.Pid = specs.StateStopped, 0
	for i, hook := range hooksOf(s, func(h *specs.Hooks) [][]specs.Hook { return [][]specs.Hook{h.Poststop} }) {
		if err := runHook(ctx, hook, st); err != nil {
			c.rt.warn("hooks.poststop[%d]: %v", i, err)
		}
	}
}

// hookContext bounds a hook by its timeout.
func hookContext(ctx context.Context, h specs.Hook) (context.Context, context.CancelFunc) {
	if h.Timeout == nil {
		return context.WithCancel(ctx)
	}
	limit := time.Duration(*h.Timeout) * time.Second
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than its timeout of %s", limit))
}

// whileAlive is a context that ends with a process: nobody waits for the hooks
// of a container that was killed meanwhile. stop is to be called before the
// pidfd is closed.
func whileAlive(ctx context.Context, pidfd *os.File) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 20); n > 0 {
				cancel(errors.New("the container was killed"))
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-watched
	}
}

// runHook runs a hook where we are, with the state on its standard input.
func runHook(ctx context.Context, h specs.Hook, st specs.State) error {
	ctx, cancel := hookContext(ctx, h)
	defer cancel()
	state, err := json.Marshal(st)
	if err != nil {
		return err
	}
	// What our caller left open is not for hooks. The payload, which may be
	// promised some of it, has descriptors of its own by now.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("run %s: close descriptors: %w", h.Path, err)
	}
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args, cmd.Env = hookArgs(h), h.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would hand on ours
	}
	cmd.Stdin = bytes.NewReader(state)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second // for what the hook left behind with its output
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return hookError(ctx, h, err, said.String())
}

func hookArgs(h specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

func hookError(ctx context.Context, h specs.Hook, err error, said string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if said = strings.TrimSpace(said); said != "" {
		return fmt.Errorf("run %s: %w: %s", h.Path, err, said)
	}
	return fmt.Errorf("run %s: %w", h.Path, err)
}

// tail keeps the last KiB of what a hook says.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - 1024; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// runHookInside runs a hook in all namespaces of the container, whose first
// process is waiting.
func (c *Container) runHookInside(ctx context.Context, h specs.Hook, st specs.State) error {
	ctx, cancel := hookContext(ctx, h)
	defer cancel()
	stdin, err := stateFD(st)
	if err != nil {
		return err
	}
	defer stdin.Close()
	out, err := memFile("hook-output")
	if err != nil {
		return err
	}
	defer out.Close()
	stub, err := userns.OpenStub()
	if err != nil {
		return err
	}
	defer stub.Close()
	child, err := c.startInside(h, stub, [3]*os.File{stdin, out, out})
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = child.Kill() })
		var ws unix.WaitStatus
		sys, _, werr := child.Wait()
		stop()
		child.Close()
		if ws, err = unix.WaitStatus(sys), werr; err == nil && !(ws.Exited() && ws.ExitStatus() == 0) {
			err = statusError(ws)
		}
	}
	said := make([]byte, 1024)
	n, _ := out.ReadAt(said, 0)
	return hookError(ctx, h, err, string(said[:n]))
}

func statusError(ws unix.WaitStatus) error {
	if ws.Signaled() {
		return fmt.Errorf("it was killed by signal %d", ws.Signal())
	}
	return fmt.Errorf("exit status %d", ws.ExitStatus())
}

// startInside starts a program in the container's namespaces, as their root.
func (c *Container) startInside(h specs.Hook, stub *os.File, stdio [3]*os.File) (*userns.Child, error) {
	p := &userns.Program{}
	ns, err := c.joinAll(p)
	if err != nil {
		return nil, err
	}
	defer ns.close()
	for i, f := range stdio {
		p.Call("place a standard stream", unix.SYS_DUP3, f.Fd(), i, 0)
	}
	x := userns.Exec{Candidates: []string{h.Path}, Args: hookArgs(h), Env: h.Env, FirstFD: 3}
	fd := p.PrepareStub(stub, x)
	p.ExecStub(fd, x)
	child, err := userns.Start(p, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(child.Release(), child.WaitExec()); err != nil {
		child.Abort()
		var ee *userns.ExecError
		if errors.As(err, &ee) {
			err = ee.Errno // an ExecError is about the payload
		}
		return nil, err
	}
	return child, nil
}

// joinAll appends the steps that join every namespace of the container's
// process that is not ours already, and make the child root there. The result
// is to be closed once the child has started.
func (c *Container) joinAll(p *userns.Program) (firstProcess, error) {
	if c.Namespaces == nil { // it is being made: nothing of the image's has run in it
		if err := c.recordNamespaces(); err != nil {
			return firstProcess{}, err
		}
		defer func() { c.Namespaces = nil }()
	}
	t, err := c.firstProcess()
	if err != nil {
		return t, err
	}
	// Nobody inside may trace this process or open its files: it is our program.
	p.Call("hide from the container's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	p.Call("join the container's namespaces", unix.SYS_SETNS, t.pidfd.Fd(), t.flags)
	if t.root != nil {
		p.Call("enter the container's root", unix.SYS_FCHDIR, t.root.Fd())
		p.Call("enter the container's root", unix.SYS_CHROOT, ".")
	}
	if t.flags&unix.CLONE_NEWUSER != 0 {
		p.Call("become group 0", unix.SYS_SETRESGID, 0, 0, 0).Allow(unix.EINVAL) // a map without 0
		p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0).Allow(unix.EINVAL)
	}
	if t.flags&unix.CLONE_NEWPID != 0 {
		p.Fork("enter the pid namespace")
	}
	p.Call("start a session", unix.SYS_SETSID)
	return t, nil
}

// stateFD is a file with the state as hooks get it.
func stateFD(st specs.State) (*os.File, error) {
	data, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	f, err := memFile("state")
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write the state for a hook: %w", err)
	}
	return f, nil
}

func memFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
