package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"coracle/cgroupv2"
	"coracle/fuse"
	"coracle/internal/begin"
	"coracle/internal/foreground"
	"coracle/internal/later/registries"
	"coracle/internal/review"
	"coracle/internal/sandbox"
	"coracle/spec"
	"coracle/spec/seccomp"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// SandboxOptions is one `coracle sandbox`.
type SandboxOptions struct {
	sandbox.Options
	EgressOptions
	Limits     spec.Limits // by cgroup
	Files      []string    // --file FD:DEST
	Streams    SandboxStreams
	ProxyEnv   bool   // --proxy-env
	Pull       string // of --root IMAGE: always, missing, never or newer
	Progress   func(name string, size int64) io.WriteCloser
	Seccomp    string // a profile's file; "" is the sandbox's own
	BestEffort bool   // what cannot be enforced is left out, and said
	OnExit     string // ask, apply, discard or keep; "" is ask
	Explain    bool   // print what would be enforced, and do nothing
	Format     string // of that: text or json
	Report     string // FILE, - or fd:N
	Denials    string // of what is refused is recorded: all or none; "" is all with Report
	// Learned gets what the run has shown, of which a profile can be proposed.
	Learned *sandbox.Lesson
	Stdio
}

// Sandbox runs a command of the host's in a sandbox and returns how it ended. An
// error says why it never ran, as Run's do.
func (e *Engine) Sandbox(ctx context.Context, o SandboxOptions) (Exit, error) {
	s := &boxed{e: e, o: o, id: newID(), stub: sync.OnceValues(userns.OpenStub)}
	s.r = &run{e: e, id: s.id, stub: s.stub, manager: e.manager, box: &box{}, o: RunOptions{SigProxy: true}}
	defer s.close()
	if !s.plain() {
		registries.Digests()
	}
	err := s.prepare(ctx)
	if err != nil {
		return s.refuse(err)
	}
	if o.Explain {
		return Exit{}, s.explain()
	}
	exit, err := s.run(ctx)
	return s.finish(ctx, exit, err)
}

// plain says that nothing up to the command's end has to do with images or containers.
func (s *boxed) plain() bool {
	o := s.o
	return os.Getuid() != 0 && !o.Explain && !s.ownRoot() &&
		(o.Network.Mode == "" || o.Network.Mode == sandbox.NoNetwork) && o.EgressOptions.flag() == "" && o.Limits.Memory+o.Limits.PidsLimit+o.Limits.CPUs == ""
}

// boxed is one sandbox on its way from options to result.
type boxed struct {
	e  *Engine
	o  SandboxOptions
	id string

	caller    userns.Identity
	facts     sandbox.Facts
	plan      sandbox.Plan
	root      sandboxRoot
	stub      func() (*os.File, error)
	changes   *review.Sandbox // nil: none are kept, or in memory
	r         *run            // what it has in common with a container: cgroup, network
	streams   *foreground.Streams
	opened    []*os.File   // of these, ours
	reportTo  *Destination // nil: none, standard output, or a descriptor
	mayReport bool
	noUpper   bool     // the store's file system can hold no layer
	disk      *os.File // the tmpfs that all writes go to; nil: the layers are on the disk
	uppers    []string // of the layers on it
	toldPID   int      // on --json-status-fd, while it was blocked
	process   *spec.Process
	cgroup    cgroupv2.Ref // where it has one
	missing   []string     // what is not enforced

	started, ended time.Time
	usage          syscall.Rusage
	outcome        outcome
	flooded        chan struct{}    // closed when it has printed more than it may; nil: it may
	filter         *seccomp.Program // of --seccomp
	witnessed      watch
}

func (s *boxed) close() {
	s.witnessed.stop()
	s.r.newborn.Abandon()
	s.r.disconnect()
	if s.process != nil {
		s.process.Release()
	}
	s.r.leaveEarly()
	s.root.close()
	for _, f := range s.opened {
		f.Close()
	}
	s.reportTo.Close()
	if stub, err := s.stub(); err == nil {
		stub.Close()
	}
	if s.changes != nil && s.ended.IsZero() { // it never ran
		_ = s.changes.Discard()
	}
}

// prepare computes all that there is to do. The kernel makes the namespaces meanwhile.
func (s *boxed) prepare(ctx context.Context) (err error) {
	if err := s.checkOptions(); err != nil {
		return err
	}
	if !s.o.Explain {
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	if s.caller, err = s.e.caller(); err != nil {
		return err
	}
	one := userns.Map{UIDs: sandbox.OneID(s.caller.UID), GIDs: sandbox.OneID(s.caller.GID)}
	if !s.r.newborn.Mapped() {
		s.r.newborn.Map(ctx, one)
	}
	if s.facts, err = s.findFacts(); err != nil {
		return err
	}
	if err := s.findRoot(ctx); err != nil {
		return err
	}
	s.o.Options.Network.ResolvConf = s.resolvConf()
	if s.plan, err = sandbox.New(s.o.Options, s.facts, newSandboxHost()); err != nil {
		return err
	}
	s.findUpper()
	return nil
}

func (s *boxed) checkOptions() error {
	if err := s.openReport(); err != nil {
		return err
	}
	s.o.Options.Seccomp = s.o.Seccomp
	if err := s.o.Options.Check(); err != nil {
		return err
	}
	switch s.o.OnExit {
	case "", onExitAsk, onExitApply, onExitDiscard, onExitKeep:
	default:
		return &Error{Op: "--on-exit " + s.o.OnExit, Err: errors.New("there is no such choice"), Help: "ask, apply, discard or keep"}
	}
	for _, check := range []func() error{s.checkStreams, s.checkDenials, s.readFiles, s.readProfile, s.planNetwork} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// findFacts is what the plan wants to know of the caller. Two directories of ours
// are made where they are not there.
func (s *boxed) findFacts() (sandbox.Facts, error) {
	f := sandbox.Facts{UID: s.caller.UID, GID: s.caller.GID, Groups: s.caller.Groups, Umask: umask(), Name: s.caller.Name, Home: s.caller.Home, Environ: os.Environ(),
		Empty: filepath.Join(s.e.runRoot, "empty"), Scratch: filepath.Join(s.e.runRoot, "containers"), Own: []string{s.e.root, s.e.runRoot}, Landlock: spec.LandlockABI()}
	dir, err := unix.Getwd()
	if err != nil {
		return f, &Error{Op: "find the current directory", Err: err, Help: "cd to one that is there"}
	}
	f.Cwd = dir
	if s.o.Explain {
		return f, nil
	}
	if err := s.e.makeRunRoot(); err != nil {
		return f, err
	}
	if err := unix.Mkdir(f.Empty, 0o500); err != nil && !errors.Is(err, unix.EEXIST) {
		return f, fmt.Errorf("make %s: %w", f.Empty, err)
	}
	return f, nil
}

// run starts the command and stays until it ends.
func (s *boxed) run(ctx context.Context) (Exit, error) {
	for _, n := range s.plan.Notes {
		s.e.warn(n.Text, n.Hint)
	}
	ask, err := s.ask()
	if err == nil {
		ask.Root, err = s.mountRoot(ctx)
	}
	if err != nil {
		return Exit{Code: 125}, err
	}
	made, err := s.plan.Spec(ask)
	if err != nil {
		return Exit{Code: 125}, err
	}
	if s.filter != nil {
		made.Filter = *s.filter
	}
	x := spec.Extra{Newborn: s.r.newborn, Init: true, Root: made.Root, Stdio: s.streams.Child}
	if err := s.observe(made.Filter, &x); err != nil {
		return Exit{Code: 125}, err
	}
	x.ID, x.Landlock, x.NoLoopback = s.id, s.plan.Landlock(), s.plan.Network.Loopback == sandbox.DenyLoopback
	x.HandScratch, s.uppers = s.inMemory(), made.Uppers
	if x.Stub, err = s.stub(); err != nil {
		return Exit{Code: 125}, err
	}
	if ask.Terminal {
		made.Spec.Process.ConsoleSize = s.streams.Size()
	}
	if err := s.r.connect(); err != nil {
		return Exit{Code: 125}, err
	}
	x.Tun = s.r.net.tun()
	if err := s.block(); err != nil {
		return Exit{Code: 125}, err
	}
	told, err := foreground.CatchSignals()
	if err != nil {
		return Exit{Code: 125}, err
	}
	s.started = time.Now()
	c, p, err := s.e.runtime(s.e.ownRunDir(s.id)).Run(ctx, s.id, spec.CreateOptions{
		Bundle: s.e.runRoot, Config: made.Spec, Final: true, Extra: x, Guarded: true, Unrecorded: true, Cgroup: s.r.earlyCgroup(),
	})
	if err != nil {
		s.streams.Abandon()
		return s.explainStart(err)
	}
	s.cgroup = c.Cgroup
	if s.disk = p.Scratch; s.disk != nil {
		s.opened = append(s.opened, s.disk)
	}
	if err := cmp.Or(s.r.attach(p), s.streams.Start(p)); err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
		return Exit{Code: 125}, err
	}
	s.running(p)
	exit, err := s.wait(p, told)
	s.witnessed.stop()
	s.process = p
	limit := time.Duration(0)
	if s.outcome.kind != "" {
		limit = time.Second
	}
	s.streams.Finish(told, limit)
	select {
	case <-s.flooded: // it was over before that was noticed
		s.outcome.kind = cmp.Or(s.outcome.kind, endOutput)
	default:
	}
	return exit, err
}

// ask makes what the command's layers and streams are.
func (s *boxed) ask() (sandbox.Ask, error) {
	stdio, opened, err := s.openStreams()
	s.opened = opened
	if err != nil {
		return sandbox.Ask{}, err
	}
	ask := sandbox.Ask{Terminal: foreground.IsTerminal(stdio.Stdin) && foreground.IsTerminal(stdio.Stdout)}
	if len(s.plan.Layers) > 0 {
		if err := s.keepChanges(); err != nil {
			return ask, err
		}
		if ask.Mode = s.changes.UpperMode; !s.inMemory() {
			ask.Upper, ask.Work = s.changes.UpperDir, s.changes.WorkDir
			ask.Volatile = kernelAtLeast(5, 10)
		}
	}
	return ask, s.makeStreams(stdio, ask.Terminal)
}

// umask is the caller's. It can only be asked for by setting it: to the strictest one,
// for a file that another goroutine makes meanwhile.
func umask() uint32 {
	old := unix.Umask(0o777)
	unix.Umask(old)
	return uint32(old)
}

// sandboxHost is the machine, as a plan looks at it.
type sandboxHost struct {
	fuse.HostFS
	*begin.Host
}

func newSandboxHost() sandboxHost { return sandboxHost{fuse.RealHost(), new(begin.Host)} }

func (sandboxHost) GroupName(gid uint32) string {
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(gid), 10))
	if err != nil {
		return ""
	}
	return g.Name
}
func (h sandboxHost) Stat(name string) (fuse.Stat, error) { return h.Lstat(name) }
func (sandboxHost) Real(name string) (string, error) {
	return filepath.EvalSymlinks(name)
}
