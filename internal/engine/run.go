package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"coracle/cgroupv2"
	"coracle/fuse"
	"coracle/internal/foreground"
	"coracle/netns/egress"
	"coracle/spec"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Run makes a container, runs it in the foreground, and returns how the
// payload ended. An error says why it never ran; its ExitCode method tells
// 126 and 127 (the command) from 125 (all else).
func (e *Engine) Run(ctx context.Context, o RunOptions) (_ Exit, err error) {
	if o.Detached() && !o.DryRun {
		return e.runAttached(ctx, o)
	}
	r := &run{e: e, o: o, id: newID(), stub: sync.OnceValues(userns.OpenStub)}
	defer r.close()
	err = r.check()
	if err == nil {
		err = r.begin(ctx)
	}
	if err == nil {
		err = r.resolve(ctx)
	}
	if err != nil {
		return Exit{Code: 125}, err
	}
	if o.DryRun {
		return Exit{}, r.print(ctx)
	}
	switch { // the image's: a monitor does that
	case r.health != nil && o.PreserveFDs == 0:
		r.close()
		return e.runAttached(ctx, o)
	case r.health != nil:
		e.warn("the health check of the image is left out: it takes a monitor, which does not have the descriptors of --preserve-fds", "--no-healthcheck says that none is wanted")
	}
	if err := r.makeBox(ctx); err != nil {
		return Exit{Code: 125}, err
	}
	exit, err := r.run(ctx)
	return exit, errors.Join(err, r.finish(ctx, exit, err))
}

// run is one container on its way from options to result.
type run struct {
	e  *Engine
	o  RunOptions
	id string

	caller userns.Identity
	ids    userns.Resolved
	root   *rootSource
	rootfs func() (*fuse.Rootfs, error) // how it is mounted; computed meanwhile

	stub      func() (*os.File, error)
	streams   *foreground.Streams // nil for a dry run
	early     *early              // its cgroup, made before all else; nil without
	tried     bool                // that was
	unlimited []string            // default limits that it could not have, and why
	newborn   *spec.Newborn
	ahead     bool // a monitor is wanted at once
	monitor   *hired
	process   *spec.Process // has ended, and what served it is about to
	box       *box
	state     *spec.Container // nil until it runs
	shown     bool
	result    spec.Result
	owners    []string     // containers whose namespaces are shared
	joined    spec.Joined  // what comes from them
	health    *HealthCheck // nil without
	manager   string       // of cgroups, when it was made
	extra     spec.Extra
	net       *network    // nil: it has none of its own
	netMu     sync.Mutex  // its driver is asked for ports while others end it
	netLost   atomic.Bool // who carries its packets has ended

	gate        atomic.Pointer[egress.Gate] // the network's
	told        func(msg, hint string)      // who is told while the payload runs; nil: as always
	hadTerminal bool

	started, ended time.Time
	usage          syscall.Rusage
	spent          *cgroupv2.Usage // by all of its processes; nil without a cgroup
	oomKills       uint64
	news           []Event // not written down yet

	wrotePID, wroteCID bool
	reportTo           *Destination // nil: none, or standard output
}

func (r *run) close() {
	r.newborn.Abandon()
	r.reportTo.Close()
	r.disconnect()
	r.leaveEarly()
	if r.process != nil {
		r.process.Release()
	}
	if r.ids.Reservation != nil {
		r.ids.Reservation.Close()
	}
	if r.root != nil {
		r.root.close()
	}
	if stub, err := r.stub(); err == nil {
		stub.Close()
	}
}

// check looks at what can be said without a look at image and machine.
func (r *run) check() error {
	if err := checkName(r.o.Name); err != nil {
		return err
	}
	if err := r.openReport(); err != nil {
		return err
	}
	r.o.Network = cmp.Or(r.o.Network, defaultNetwork)
	if err := checkEgress(r.o); err != nil {
		return err
	}
	r.manager = r.e.manager
	if !r.o.DryRun {
		if len(r.o.AllowNet) > 0 {
			if err := checkNames(context.Background(), r.o, hostResolver().Absent); err != nil {
				return err
			}
		}
		return r.e.ready()
	}
	return nil
}

// resolve finds out whose container of what it is. Nothing is made yet, but
// for the image, which is pulled and unpacked where it is missing.
func (r *run) resolve(ctx context.Context) (err error) {
	if r.o.Image == hostImage && !r.o.Rootfs {
		r.chooseMeanwhile(ctx, hostSource(r.e))
	}
	if r.caller, err = r.e.caller(); err != nil {
		return err
	}
	req := r.o.Userns
	req.RunRoot = r.e.runRoot
	if err := r.findOwners(); err != nil {
		return err
	}
	if req, err = r.findNetworkPath(req); err != nil {
		return err
	}
	if len(r.owners) == 0 {
		if r.ids, err = userns.Resolve(ctx, r.caller, req); err != nil {
			return err
		}
	}
	r.newborn.Map(ctx, r.ids.Map)
	if r.ids.Notice != "" {
		r.e.warn(r.ids.Notice, r.ids.Hint)
	}
	if r.root, err = r.e.openRoot(ctx, r.o, r.ids); err != nil {
		return err
	}
	if r.health, err = r.o.Health.resolve(r.root.health); err != nil {
		return err
	}
	if r.rootfs == nil {
		r.chooseMeanwhile(ctx, r.root)
	}
	return nil
}

// chooseMeanwhile has it worked out how the root is mounted, while other things are.
func (r *run) chooseMeanwhile(ctx context.Context, root *rootSource) {
	r.rootfs = inBackground(func() (*fuse.Rootfs, error) { return root.choose(ctx, r.e.containerDir(r.id), r.o.Remove) })
}

// run starts the payload and stays until it ends.
func (r *run) run(ctx context.Context) (Exit, error) {
	if err := r.prepare(ctx); err != nil {
		return Exit{Code: 125}, err
	}
	r.extra.Stdio = r.streams.Child
	if r.o.TTY && r.result.Spec.Process.ConsoleSize == nil {
		r.result.Spec.Process.ConsoleSize = r.streams.Size()
	}
	if r.extra.FuseLog != nil {
		defer r.extra.FuseLog.Close()
	}
	if r.o.PID == "host" {
		if err := adoptOrphans(); err != nil {
			return Exit{Code: 125}, err
		}
		defer endOrphans()
	}
	told, err := foreground.CatchSignals()
	if err != nil {
		return Exit{Code: 125}, err
	}
	p, err := r.start(ctx)
	if p == nil {
		r.streams.Abandon()
		return r.explain(err)
	}
	if err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
		r.streams.Finish(told, time.Second)
		return Exit{Code: 125}, err
	}
	ooms := make(chan struct{}, 16)
	watch := watchOOM(r.state.Cgroup, func() {
		select {
		case ooms <- struct{}{}:
		default: // so many at once are told of as fewer
		}
	})
	exit, err := r.wait(p, told, ooms)
	r.measure(watch, &exit)
	for range len(ooms) {
		r.news = append(r.news, r.box.event("oom"))
	}
	if r.o.PID == "host" || r.extra.Root.Kind == fuse.FuseOverlayFS {
		p.Release() // before the orphans are counted, and before the directories of the server go
	} else {
		r.process = p
	}
	limit := time.Duration(0)
	if exit.TimedOut {
		limit = time.Second
	}
	r.streams.Finish(told, limit)
	return exit, err
}

// prepare makes the last of what the start needs.
func (r *run) prepare(ctx context.Context) (err error) {
	if err := r.checkPreserved(); err != nil {
		return err
	}
	if r.extra.Secrets, err = r.e.secretData(r.result.Secrets); err != nil {
		return err
	}
	if err := r.connect(); err != nil {
		return err
	}
	for _, c := range r.result.Chowns {
		if err := r.e.chown(ctx, r.ids.Map, c); err != nil {
			return err
		}
	}
	if err := r.root.prepare(ctx, r.box.dir, r.ids, r.extra.Root); err != nil {
		return err
	}
	if r.extra.Stub, err = r.stub(); err != nil {
		return err
	}
	if r.extra.Root.Kind == fuse.FuseOverlayFS {
		if r.extra.FuseLog, err = os.Create(filepath.Join(r.box.dir, "fuse-overlayfs.log")); err != nil {
			return err
		}
	}
	return nil
}

// start has the runtime start the payload. A process that comes with an error
// is to be ended.
func (r *run) start(ctx context.Context) (p *spec.Process, err error) {
	r.started = time.Now()
	r.box.Started = r.started.UTC()
	recorded := func() (bool, error) { return false, nil } // later, see wait
	if !r.o.Remove {
		recorded = inBackground(func() (bool, error) { return true, r.record() })
	}
	r.useCgroup(r.box.rt)
	config, release, err := r.join()
	if err != nil {
		_, _ = recorded()
		return nil, err
	}
	defer release()
	r.state, p, err = r.box.rt.Run(ctx, r.box.ID, spec.CreateOptions{
		Bundle: r.box.dir, Config: config, Final: true, Extra: r.extra,
		Guarded: true, Unrecorded: true, PIDFile: r.o.PIDFile, Implied: r.result.Implied,
		OnlyLimits: r.onlyLimits(), Cgroup: r.earlyCgroup(), Unlimited: r.unlimited, WritableCgroup: r.result.WritableCgroup,
	})
	_, recordErr := recorded()
	if err != nil {
		return nil, err
	}
	r.wrotePID = r.o.PIDFile != ""
	made, begun := r.box.event("create"), r.box.event("start")
	made.Time = r.box.Created
	r.news = append(r.news, made, begun)
	if err := cmp.Or(r.attach(p), r.streams.Start(p), recordErr); err != nil {
		return p, err
	}
	if r.wrotePID {
		r.show(p) // who reads that file may ask at once
	}
	return p, nil
}

// show writes down what ps, inspect, rm and the OCI runtime's commands look at.
func (r *run) show(p *spec.Process) {
	if r.shown {
		return
	}
	r.shown = true
	r.tell()
	var err error
	if r.o.Remove {
		err = r.record()
	}
	if err = errors.Join(err, r.state.Record(p)); err != nil {
		r.e.warn(fmt.Sprintf("write down what container %.12s is: %v", r.box.ID, err), "it runs, but other commands cannot find it")
	}
}

// tell writes down what has happened. What ends within a moment does so once, at
// its end: a write for each event would be a part of the time that it takes.
func (r *run) tell() {
	r.e.emit(r.news...)
	r.news = nil
}

// checkPreserved makes sure that --preserve-fds names descriptors that the
// caller gave us; what we opened ourselves is marked close-on-exec.
func (r *run) checkPreserved() error {
	for fd := uint(3); fd < 3+r.o.PreserveFDs; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			return &Error{Op: fmt.Sprintf("keep %d descriptors (--preserve-fds)", r.o.PreserveFDs),
				Err: fmt.Errorf("descriptor %d is not open", fd), Help: "they are numbered from 3 on, without gaps"}
		}
	}
	return nil
}
