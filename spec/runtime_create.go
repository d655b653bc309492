package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"coracle/cgroupv2"
	"coracle/internal/plainfile"
	"coracle/internal/plainjson"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CreateOptions are what a container is made with besides its configuration.
type CreateOptions struct {
	Bundle string      // its directory
	Config *specs.Spec // nil: the bundle's config.json
	Extra  Extra       // the pieces that only the caller has

	// Final says that Config is valid and lacks nothing, as what Generate makes.
	// The bundle's config.json is then the caller's to write: it is where
	// Container.Spec finds it.
	Final bool
	// Guarded: the container ends with the caller, however that ends.
	Guarded bool
	// Unrecorded is for Run: nothing is written down until Container.Record is
	// called, if ever. For a caller who waits for the container, and knows by
	// other means what to do when it is killed itself: most containers have ended
	// before anybody could ask for them. A container that needs its directory
	// before (for a cgroup, hooks, mounts of the host's) is written down as ever.
	Unrecorded bool

	// Implied are limits that nobody asked for: they are set as far as they can
	// be had, see Container.Unlimited. OnlyLimits makes a cgroup for nothing but limits.
	Implied    *specs.LinuxResources
	OnlyLimits bool
	Cgroup     *LimitedCgroup // made already, see Runtime.NewCgroup
	Unlimited  []string       // that has said so already
	// WritableCgroup fails where the container cannot have a cgroup.
	WritableCgroup bool

	PIDFile       string // gets the pid before Create returns; "" for none
	ConsoleSocket string // a listening socket that the terminal's master is sent to
	PIDFDSocket   string // one that a pidfd of the first process is sent to
}

// Create makes a container whose payload waits to be started, by whomever. Its
// first process is the caller's child: the Process is to be waited for, or left
// with Detach, and then outlives the caller. Errors unwrap to *userns.StepError
// (which step of the set-up failed), *userns.ExecError (the command could not be
// executed) or ErrExist.
func (r *Runtime) Create(ctx context.Context, id string, o CreateOptions) (*Container, *Process, error) {
	m := &making{rt: r, o: o, wait: true}
	p, err := m.make(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return m.c, p, nil
}

// Run is Create and Start in one.
func (r *Runtime) Run(ctx context.Context, id string, o CreateOptions) (*Container, *Process, error) {
	m := &making{rt: r, o: o}
	p, err := m.make(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if m.wait {
		if err := m.c.start(ctx, m.s); err != nil {
			p.abort()
			return nil, nil, errors.Join(err, m.c.Delete(context.WithoutCancel(ctx), true))
		}
	}
	m.c.poststart(ctx, m.s)
	return m.c, p, nil
}

// making is a container on its way to being created.
type making struct {
	rt   *Runtime
	o    CreateOptions
	wait bool // the payload is to wait until Start

	s      *specs.Spec // as it is carried out
	c      *Container
	lock   *os.File // nil: nothing is written down
	cgroup *cgroupv2.Cgroup
	stub   *os.File
	under  uint64 // the mount that the root's directory is on
	hooked bool   // hooks have run, so poststop hooks have to
}

func (m *making) make(ctx context.Context, id string) (_ *Process, err error) {
	if err := m.configure(ctx, id); err != nil {
		return nil, err
	}
	if m.c.unrecorded = m.unrecorded(); !m.c.unrecorded {
		if m.lock, err = m.rt.claim(id); err != nil {
			return nil, err
		}
		defer m.lock.Close()
	}
	p := &Process{}
	defer func() {
		if err != nil {
			err = m.forWantOfMemory(err)
			m.undo(context.WithoutCancel(ctx), p)
		}
		m.close()
	}()
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	l := &launch{s: m.s, x: &m.o.Extra, m: m.maps()}
	defer l.close()
	err = l.begin(ctx)
	if p.child = l.child; err != nil {
		return nil, err
	}
	p.PID = l.child.PID
	if m.cgroup != nil && m.cgroup.Path() != m.c.Cgroup.Path { // a scope, which is there only now
		m.rt.warnAbove(m.cgroup, m.s.Linux.Resources)
	}
	// While the child is at its mounts.
	if err := m.watchOver(p); err != nil {
		return nil, err
	}
	if err := l.hooks(func() error { return m.hooks(ctx, l.child.PIDFD) }); err != nil {
		return nil, err
	}
	err = l.finish()
	p.Console, p.Tun, p.Scratch, p.fuse = l.console, l.tun, l.scratch, l.fuse
	if err != nil {
		return nil, commandError(err)
	}
	m.c.Namespaces = l.inodes
	m.markStrays(l.strays)
	if err := m.handOver(p); err != nil {
		return nil, err
	}
	if m.o.Guarded || !m.wait && m.s.Hooks == nil { // hooks of its end may count on its mounts being gone
		p.mounts, l.mounts = l.mounts, nil
	}
	p.strays, l.strays = l.strays, nil
	if m.o.Guarded {
		go p.watch(m.o.Extra.Stub)
	}
	return p, nil
}

// unrecorded says whether the start can do without the state directory.
func (m *making) unrecorded() bool {
	return m.o.Unrecorded && !m.wait && (m.rt.NoCgroup || m.o.Cgroup != nil) && m.s.Hooks == nil && !m.hostMounts() && !m.o.Extra.Strays
}

// watchOver sees to it that the container does not get lost with its maker: it
// is written down, and can be deleted, or its guard ends it.
func (m *making) watchOver(p *Process) (err error) {
	m.c.Pid = p.PID
	if m.o.Guarded {
		if p.guard, err = userns.StartGuard(m.o.Extra.Stub, p.child.PIDFD); err != nil {
			return err
		}
		p.stub, m.stub = m.stub, nil // for further guards
	}
	if m.lock == nil {
		return nil
	}
	return m.record(p.PID)
}

// prepare makes what the start needs: first the cgroup, for then the kernel can
// be at the namespaces while the rest is done.
func (m *making) prepare(ctx context.Context) (err error) {
	x := &m.o.Extra
	if m.hostMounts() {
		m.under = mountID(m.c.Rootfs)
	}
	if err := m.makeCgroup(); err != nil {
		return err
	}
	if x.Newborn == nil && x.Network == nil { // one that shares our memory has its files closed to all but us
		x.Newborn = Begin(ctx, m.s, m.maps(), m.cgroup)
	}
	if x.Stub == nil {
		if m.stub, err = userns.OpenStub(); err != nil {
			return err
		}
		x.Stub = m.stub
	}
	x.ID = m.c.ID
	x.Bundle = m.o.Bundle
	x.Hooks = len(hooksOf(m.s, func(h *specs.Hooks) [][]specs.Hook {
		return [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer} //nolint:staticcheck // deprecated, and still to be run
	})) > 0 || len(m.s.Linux.NetDevices) > 0 // which are moved at that time
	// Hooks that run in the container between its creation and its start.
	m.wait = m.wait || len(hooksOf(m.s, func(h *specs.Hooks) [][]specs.Hook { return [][]specs.Hook{h.StartContainer} })) > 0
	if m.wait {
		if x.Created, err = m.pipes(); err != nil {
			return err
		}
	}
	return m.filter()
}

func (m *making) maps() userns.Map {
	return userns.Map{UIDs: m.s.Linux.UIDMappings, GIDs: m.s.Linux.GIDMappings}
}

// record writes down the process and the configuration, while the child is at
// its mounts.
func (m *making) record(pid int) (err error) {
	if m.cgroup != nil {
		m.c.Cgroup = m.cgroup.Ref() // a scope of systemd's is there only now
		if err := m.giveCgroup(); err != nil {
			return err
		}
	}
	if err := m.c.identify(pid); err != nil {
		return err
	}
	m.markStrays(nil)
	if err := m.c.save(); err != nil || m.o.Final {
		return err
	}
	config, err := plainjson.Encode(m.s)
	if err == nil {
		err = plainfile.Write(filepath.Join(m.c.dir(), configFile), config, 0o600, unix.O_TRUNC|unix.O_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("write the configuration of container %s: %w", m.c.ID, err)
	}
	return nil
}

// undo removes all that was made of a container that did not come about.
func (m *making) undo(ctx context.Context, p *Process) {
	m.o.Extra.Newborn.Abandon() // unless it was used
	if p.child != nil {
		p.abort()
	}
	if m.hooked {
		m.c.poststop(ctx, m.s)
	}
	if m.hostMounts() {
		if id := mountID(m.c.Rootfs); id != m.under {
			m.c.RootMount = id
			m.c.detachRoot()
		}
	}
	if m.cgroup != nil {
		if err := m.cgroup.Remove(ctx); err != nil {
			m.rt.warn("%v", err)
		}
	}
	if m.lock == nil {
		return
	}
	if err := m.rt.removeDir(m.c.ID); err != nil {
		m.rt.warn("%v", err)
	}
}

func (m *making) close() {
	if c := m.o.Extra.Created; c != nil {
		c.Start.Close()
		c.Report.Close()
	}
	if m.stub != nil {
		m.stub.Close()
	}
	if m.cgroup != nil {
		m.cgroup.Close()
	}
}
