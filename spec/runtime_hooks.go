package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

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
	if err := m.hostHooks(ctx); err != nil || m.s.Hooks == nil {
		return err
	}
	for i, hook := range m.s.Hooks.CreateContainer {
		if err := m.c.runHookInside(ctx, hook, m.c.State); err != nil {
			return fmt.Errorf("hooks.createContainer[%d]: %w", i, err)
		}
	}
	return nil
}

// hostHooks are those that run here: prestart and createRuntime.
func (m *making) hostHooks(ctx context.Context) error {
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

// startInside starts a program in the container's namespaces, as their root. It
// ends with the thread that calls this.
func (c *Container) startInside(h specs.Hook, stub *os.File, stdio [3]*os.File) (*userns.Child, error) {
	p := &userns.Program{}
	ns, err := c.joinAll(p)
	if err != nil {
		return nil, err
	}
	defer ns.close()
	p.Call("end with the launcher", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
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
	t.setns(p)
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
