package spec

import (
	"context"
	"fmt"
	"io"
	"slices"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// LoadMounts reads the file of `mounts add` and `mounts remove`: a list as in
// config.json's mounts.
func LoadMounts(r io.Reader) ([]specs.Mount, error) {
	var mounts []specs.Mount
	return mounts, load(r, &mounts)
}

// AddMounts mounts into a container that has been created, in the order of the
// list. Sources of bind mounts are the caller's, all other names are the
// container's, and its links lead nowhere else. When one fails, those before it
// stay.
func (r *Runtime) AddMounts(ctx context.Context, id string, mounts []specs.Mount) error {
	return r.changeMounts(id, mounts, func(s *specs.Spec, t firstProcess) (*userns.Program, func(), error) {
		return planAdd(ctx, s, t)
	})
}

// RemoveMounts detaches what is mounted at the destinations, the last first.
func (r *Runtime) RemoveMounts(_ context.Context, id string, mounts []specs.Mount) error {
	return r.changeMounts(id, mounts, planRemove)
}

type planMounts func(s *specs.Spec, t firstProcess) (p *userns.Program, done func(), err error)

// changeMounts carries out a plan in the namespaces of the container, which it
// gets with the mounts in the place of its own.
func (r *Runtime) changeMounts(id string, mounts []specs.Mount, plan planMounts) error {
	lock, err := r.lock(id)
	if err != nil {
		return err
	}
	defer lock.Close()
	c, err := r.Load(id)
	if err != nil {
		return err
	}
	switch st := c.status(); st {
	case specs.StateCreated, specs.StateRunning, StatePaused:
	case specs.StateStopped:
		return &idError{id, ErrNotRunning}
	default:
		return fmt.Errorf("cannot change the mounts of a container in the %s state: container %s", st, id)
	}
	s, err := c.mountSpec(mounts)
	if err != nil {
		return err
	}
	t, err := c.firstProcess()
	if err != nil {
		return err
	}
	defer t.close()
	if t.flags&unix.CLONE_NEWNS == 0 {
		return fmt.Errorf("change the mounts of container %s: it has no mount namespace of its own", id)
	}
	p, done, err := plan(s, t)
	if err != nil {
		return err
	}
	defer done()
	return carryOutMounts(p, t)
}

// mountSpec is the container's configuration with other mounts, checked.
func (c *Container) mountSpec(mounts []specs.Mount) (*specs.Spec, error) {
	s, err := c.Spec()
	if err != nil {
		return nil, err
	}
	if s.Process == nil || s.Linux == nil {
		return nil, fmt.Errorf("read the configuration of container %s: process or linux is missing", c.ID)
	}
	linux := *s.Linux
	linux.RootfsPropagation = "" // was the root's, when it was made
	s.Mounts, s.Linux = mounts, &linux
	host, err := ReadHost(s)
	if err != nil {
		return nil, err
	}
	v := &validator{s: s, h: &host}
	if err := v.mounts(); err != nil {
		return nil, err
	}
	for _, w := range v.warnings {
		c.rt.debug("%s", w)
	}
	return s, nil
}

func carryOutMounts(p *userns.Program, t firstProcess) error {
	child, err := userns.Start(p, 0)
	if err != nil {
		return err
	}
	err = child.Release()
	if err == nil && t.flags&unix.CLONE_NEWPID != 0 {
		err = child.AwaitFork()
	}
	if err == nil {
		err = child.Await(reportMounts) // one that is killed says nothing, and has not done it
	}
	if err != nil {
		child.Abort()
		return err
	}
	_, _, err = child.Wait()
	child.Close()
	return err
}

func planAdd(ctx context.Context, s *specs.Spec, t firstProcess) (_ *userns.Program, done func(), err error) {
	for i := range s.Mounts {
		o := parseMountOpts(s.Mounts[i].Options)
		field := fmt.Sprintf("mounts[%d].options", i)
		switch {
		case o.remount:
			return nil, nil, wrong(field, "remount changes a mount that is there")
		case o.copyUp:
			return nil, nil, wrong(field, "tmpcopyup takes a program of ours in the container, where processes run by now that could reach it")
		}
	}
	// What is mounted beside the container's processes is clones of the host's
	// mounts, with their attributes, held in descriptors until they are there.
	switch l := probeKernel(); {
	case l.mounts:
		return nil, nil, fmt.Errorf("add mounts: %w", errNoMounts())
	case l.openat2:
		return nil, nil, fmt.Errorf("add mounts: %w", &MissingCallError{"openat2", "5.6", release()})
	case l.setattr:
		return nil, nil, fmt.Errorf("add mounts: %w", errNoSetattr)
	}
	x := &Extra{}
	if x.handleBase, err = freeHandles(handleCount(s, nil)); err != nil {
		return nil, nil, err
	}
	if err := openIDMapped(ctx, s, x, userns.Map{UIDs: s.Linux.UIDMappings, GIDs: s.Linux.GIDMappings}); err != nil {
		return nil, nil, err
	}
	p, err := compileAdd(s, x, t)
	if err != nil {
		closeIDMapped(x)
		return nil, nil, err
	}
	return p, func() { closeIDMapped(x) }, nil
}

// compileAdd is the program of a process that clones the sources where the
// caller is, joins the container, and mounts them there.
func compileAdd(s *specs.Spec, x *Extra, t firstProcess) (*userns.Program, error) {
	c := newJoined(s, x, t)
	c.cloneSources(t)
	t.flags &^= unix.CLONE_NEWUSER // cloneSources has joined it
	c.join(t)
	c.insideRoot()
	for i := range s.Mounts {
		c.mountOne(i)
	}
	return c.reportAndExit()
}

// newJoined begins the program of a process that joins a container to change
// its mounts.
func newJoined(s *specs.Spec, x *Extra, t firstProcess) *child {
	c := &child{
		p: &userns.Program{}, s: s, x: x, joined: true, userns: t.flags&unix.CLONE_NEWUSER != 0,
		// Nothing of the host's stands in for what cannot be mounted.
		ns: &namespaces{fresh: ^uintptr(0)},
	}
	c.root, c.target, c.mount = c.p.NewReg(), c.p.NewReg(), c.p.NewReg()
	c.dir, c.tmp = c.p.NewReg(), c.p.NewReg()
	c.openProc()
	c.p.Call("hide from the container's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	return c
}

func (c *child) insideRoot() {
	c.p.Call("open the container's root", unix.SYS_OPENAT, atFDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.root)
	c.p.Call("set the umask to 0", unix.SYS_UMASK, 0)
}

func (c *child) reportAndExit() (*userns.Program, error) {
	c.p.Report("report that all is done", reportMounts)
	c.p.Call("end", unix.SYS_EXIT_GROUP, 0)
	if c.err != nil {
		return nil, c.err
	}
	return c.p, c.p.Err()
}

// cloneSources clones the sources of bind mounts while this process still sees
// the caller's mounts, and may what the caller may. To clone takes a mount
// namespace that the container's user namespace owns: a copy of the caller's.
func (c *child) cloneSources(t firstProcess) {
	if c.userns {
		c.p.Call("join the container's user namespace", unix.SYS_SETNS, t.pidfd.Fd(), unix.CLONE_NEWUSER)
	}
	if !slices.ContainsFunc(c.s.Mounts, func(m specs.Mount) bool { o := parseMountOpts(m.Options); return isBind(&m, &o) }) {
		return
	}
	c.p.Call("make a mount namespace to clone sources in", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	c.propagation()
	c.cloned = make(map[int]int)
	for i := range c.s.Mounts {
		m := &c.s.Mounts[i]
		o := parseMountOpts(m.Options)
		if !isBind(m, &o) || o.idmap || o.ridmap {
			continue
		}
		label, fd, placed := fmt.Sprintf("bind %s on %s", m.Source, m.Destination), c.x.handleBase+i, c.p.NewSpot()
		c.openTree(label, atFDCWD, m.Source, !o.bind || o.rbind)
		c.p.Call(label, unix.SYS_DUP3, c.mount, fd, unix.O_CLOEXEC).Catch(unix.EINVAL, placed) // it has the number already
		c.closeReg(c.mount)
		c.p.Mark(placed)
		c.cloned[i] = fd
	}
}

// planRemove follows no links: a process of the container could lead one to a
// mask, which it may not unmount itself.
func planRemove(s *specs.Spec, t firstProcess) (*userns.Program, func(), error) {
	x := &Extra{lacks: probeKernel()}
	var err error
	if x.handleBase, err = freeHandles(handleCount(s, nil)); err != nil {
		return nil, nil, err
	}
	c := newJoined(s, x, t)
	c.join(t)
	c.insideRoot()
	// The host's, whatever the container's /proc is. umount2(2) takes a path,
	// and this one leads to what was opened and nowhere else.
	c.p.Call("enter /proc", unix.SYS_FCHDIR, c.proc)
	for _, m := range slices.Backward(s.Mounts) {
		label, placed := "unmount "+m.Destination, c.p.NewSpot()
		c.inRoot(label, m.Destination, unix.O_PATH, unix.RESOLVE_NO_SYMLINKS, c.target)
		c.p.Call(label, unix.SYS_DUP3, c.target, x.handleBase, unix.O_CLOEXEC).Catch(unix.EINVAL, placed)
		c.closeReg(c.target)
		c.p.Mark(placed)
		c.p.Call(label+": is it a mount point?", unix.SYS_UMOUNT2, fmt.Sprintf("self/fd/%d", x.handleBase), unix.MNT_DETACH)
	}
	p, err := c.reportAndExit()
	return p, func() {}, err
}
