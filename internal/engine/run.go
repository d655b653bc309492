package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"coracle/fuse"
	"coracle/spec"
	"coracle/spec/seccomp"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Run makes a container, runs it in the foreground, and returns how the
// payload ended. An error says why it never ran; its ExitCode method tells
// 126 and 127 (the command) from 125 (all else).
func (e *Engine) Run(ctx context.Context, o RunOptions) (_ Exit, err error) {
	r := &run{e: e, o: o, stub: inBackground(userns.OpenStub)}
	defer r.close()
	if err := r.resolve(ctx); err != nil {
		return Exit{Code: 125}, err
	}
	if o.DryRun {
		return Exit{}, r.print(ctx)
	}
	if err := r.makeBox(ctx); err != nil {
		return Exit{Code: 125}, err
	}
	r.sayNoNetwork()
	exit, err := r.run(ctx)
	return exit, errors.Join(err, r.finish(ctx, exit, err))
}

// run is one container on its way from options to result.
type run struct {
	e *Engine
	o RunOptions

	caller userns.Identity
	ids    userns.Resolved
	root   *rootSource

	stub   func() (*os.File, error)
	box    *box
	result spec.Result
	extra  spec.Extra

	started, ended time.Time
	usage          syscall.Rusage

	wrotePID, wroteCID bool
}

// inBackground starts f at once, on another core; the answer is for later.
func inBackground[T any](f func() (T, error)) func() (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	return sync.OnceValues(func() (T, error) {
		r := <-done
		return r.v, r.err
	})
}

func (r *run) close() {
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

// resolve finds out whose container of what it is. Nothing is made yet, but
// for the image, which is pulled and unpacked where it is missing.
func (r *run) resolve(ctx context.Context) (err error) {
	if err := checkName(r.o.Name); err != nil {
		return err
	}
	if err := checkReport(r.o.Report); err != nil {
		return err
	}
	if r.caller, err = r.e.caller(); err != nil {
		return err
	}
	req := r.o.Userns
	req.RunRoot = r.e.runRoot
	if r.ids, err = userns.Resolve(ctx, r.caller, req); err != nil {
		return err
	}
	if r.ids.Notice != "" {
		r.e.warn(r.ids.Notice, r.ids.Hint)
	}
	r.root, err = r.e.openRoot(ctx, r.o, r.ids)
	return err
}

func (r *run) makeBox(ctx context.Context) (err error) {
	c := r.container(newID())
	if r.box, err = r.e.newBox(ctx, c, r.o.Replace); err != nil {
		return err
	}
	if err := r.configure(ctx, r.box.ID, r.box.Name, r.box.dir); err != nil {
		r.box.remove(ctx)
		return err
	}
	if err := r.write(); err != nil {
		r.box.remove(ctx)
		return err
	}
	return nil
}

// sayNoNetwork tells a person, once in each boot, that the default is no
// network yet: people know other tools to give one.
func (r *run) sayNoNetwork() {
	if r.o.Network != "" || !isTerminal(r.o.Stderr) {
		return
	}
	if writeFile(filepath.Join(r.e.runRoot, "said-no-network"), nil, 0o600, unix.O_EXCL) == nil {
		r.e.warn("containers have no network unless one is asked for", "--network host shares the host's; --network none says that none is wanted")
	}
}

func (r *run) container(id string) Container {
	return Container{
		ID: id, Name: r.o.Name, Image: r.o.Image, ImageID: r.root.imageID,
		Created: time.Now().UTC(), Remove: r.o.Remove, Map: r.ids.Base, Status: Running,
	}
}

// configure computes the configuration and what goes with it.
func (r *run) configure(ctx context.Context, id, name, dir string) (err error) {
	files := filepath.Join(dir, "files")
	in := spec.Input{
		ID: id, Name: name, Image: r.root.config, NoImage: r.root.imageID == "", Options: r.options(), Root: r.root.reader, Host: hostFacts{},
		RootDir: filepath.Join(dir, "root"), Files: files,
		UIDMap: r.ids.Map.UIDs, GIDMap: r.ids.Map.GIDs,
		HostUID: r.caller.UID, HostGID: r.caller.GID, HostGroups: r.caller.Groups, HostName: r.caller.Name,
		ContainerUID: r.ids.UID, ContainerGID: r.ids.GID, KeepID: r.ids.KeepID, SingleID: r.ids.Single,
	}
	if r.result, err = spec.Generate(in); err != nil {
		return err
	}
	for _, w := range r.result.Warnings {
		r.e.warn(w, "")
	}
	s := r.result.Spec
	x := spec.Extra{
		Init: r.result.Init, Preserve: r.o.PreserveFDs, Handles: outsider(r.ids),
		Resolve: r.root.resolve, Compiled: r.root.close, IsDir: isDir(files), Directories: r.result.Directories,
	}
	filter := inBackground(func() (seccomp.Program, error) {
		if s.Linux.Seccomp == nil {
			return seccomp.Program{}, nil
		}
		return seccomp.Compile(s.Linux.Seccomp, runtime.GOARCH)
	})
	if x.Root, err = r.root.choose(ctx, dir, r.o.Remove); err != nil {
		return err
	}
	prog, err := filter()
	if err != nil {
		return err
	}
	if s.Linux.Seccomp != nil {
		if prog.Notify() {
			return &Error{Op: "load the seccomp profile", Err: errors.New("SCMP_ACT_NOTIFY needs a listener, and those come with the OCI runtime"), Help: "use another action in the profile"}
		}
		if len(prog.Unknown) > 0 {
			r.e.warn("the seccomp profile names system calls that do not exist: "+strings.Join(prog.Unknown, ", "), "")
		}
		x.Seccomp, x.SeccompFlags = prog.Filter, prog.Flags
	}
	r.extra = x
	return nil
}

// options are the user's; on the host's own root a command starts where the
// user is, and at home there, as with any command that wraps another.
func (r *run) options() spec.Options {
	o := r.o.Options
	if !r.root.host {
		return o
	}
	// Names and addresses are the host's, too, unless others are asked for.
	o.NoHosts = o.NoHosts || len(o.AddHosts) == 0
	o.NoHostname = o.NoHostname || !o.HostnameSet
	if home := r.caller.Home; home != "" {
		o.Env = append([]string{"HOME=" + home}, o.Env...)
	}
	if dir, err := os.Getwd(); err == nil && o.Workdir == "" && r.root.shows(dir) {
		o.Workdir = dir
	}
	return o
}

// isDir tells directories from files among the sources of binds; what is below
// files is a file of ours, which may not have been written yet.
func isDir(files string) func(path string) (bool, error) {
	return func(path string) (bool, error) {
		if filepath.Dir(path) == files {
			return false, nil
		}
		st, err := os.Stat(path)
		if err != nil {
			return false, err
		}
		return st.IsDir(), nil
	}
}

// write makes the files that the start needs.
func (r *run) write() error {
	b := r.box
	files := filepath.Join(b.dir, "files")
	for name, data := range r.result.Files {
		if err := writeFile(filepath.Join(files, name), data, 0o644, unix.O_EXCL); err != nil {
			return fmt.Errorf("write the container's files: %w", err)
		}
	}
	for _, o := range r.result.Overlays {
		for _, d := range []string{o.Upper, o.Work} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("make the upper directory of %s: %w", o.Destination, err)
			}
		}
	}
	b.Command = r.result.Spec.Process.Args
	b.Labels = r.result.Labels
	if f := r.o.CIDFile; f != "" {
		if err := createFile("container id", f, b.ID); err != nil {
			return err
		}
		r.wroteCID = true
	}
	return nil
}

// record writes down what the container is: nothing that the start needs, so
// it is done while the container's first process is at work.
func (r *run) record() error {
	if err := r.box.save(false); err != nil {
		return err
	}
	config, err := json.Marshal(r.result.Spec)
	if err != nil {
		return fmt.Errorf("write config.json: %w", err)
	}
	return writeFile(filepath.Join(r.box.dir, "config.json"), config, 0o644, unix.O_EXCL)
}

// run starts the payload and stays until it ends.
func (r *run) run(ctx context.Context) (Exit, error) {
	if err := r.checkPreserved(); err != nil {
		return Exit{Code: 125}, err
	}
	for _, c := range r.result.Chowns {
		if err := r.e.chown(ctx, r.ids.Map, c); err != nil {
			return Exit{Code: 125}, err
		}
	}
	if err := r.root.prepare(ctx, r.box.dir, r.ids); err != nil {
		return Exit{Code: 125}, err
	}
	var err error
	if r.extra.Stub, err = r.stub(); err != nil {
		return Exit{Code: 125}, err
	}
	if r.extra.Root.Kind == fuse.FuseOverlayFS {
		if r.extra.FuseLog, err = os.Create(filepath.Join(r.box.dir, "fuse-overlayfs.log")); err != nil {
			return Exit{Code: 125}, err
		}
		defer r.extra.FuseLog.Close()
	}
	s, err := newStreams(r.o)
	if err != nil {
		return Exit{Code: 125}, err
	}
	r.extra.Stdio = s.child
	if r.o.TTY && r.result.Spec.Process.ConsoleSize == nil {
		r.result.Spec.Process.ConsoleSize = s.size()
	}
	if r.o.PID == "host" {
		if err := adoptOrphans(); err != nil {
			return Exit{Code: 125}, err
		}
		defer endOrphans()
	}
	// From here on a signal is for the payload. SIGPIPE only makes our own
	// writes fail.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM) // to the end: the program is about to

	r.started = time.Now()
	recorded := make(chan error, 1)
	go func() { recorded <- r.record() }()
	p, err := spec.Start(ctx, r.result.Spec, r.extra, r.ids.Map)
	recordErr := <-recorded
	if err != nil {
		s.abandon()
		return r.explain(err)
	}
	s.start(p)
	signal.Notify(signals, forwarded()...) // there are many, and each costs
	if recordErr == nil {
		recordErr = r.running(p)
	}
	if err := recordErr; err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
		s.finish(signals, time.Second)
		return Exit{Code: 125}, err
	}
	exit, err := r.wait(p, signals)
	limit := time.Duration(0)
	if exit.TimedOut {
		limit = time.Second
	}
	s.finish(signals, limit)
	return exit, err
}

// running keeps the books of a container that has just started.
func (r *run) running(p *spec.Process) error {
	t, err := startTime(p.PID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("look at the container's process: %w", err)
	}
	st := state{
		State: specs.State{Version: specs.Version, ID: r.box.ID, Status: specs.StateRunning, Pid: p.PID, Bundle: r.box.dir,
			Annotations: r.result.Spec.Annotations},
		StartTime: t, Boot: bootID(), Started: r.started,
	}
	r.box.PID = p.PID
	data, err := json.Marshal(st)
	if err == nil {
		err = writeFile(filepath.Join(r.box.run, stateFile), append(data, '\n'), 0o600, unix.O_EXCL)
	}
	if err != nil {
		return fmt.Errorf("write the container's state: %w", err)
	}
	if f := r.o.PIDFile; f != "" {
		if err := replaceFile(f, []byte(strconv.Itoa(p.PID)), 0o644, false); err != nil {
			return err
		}
		r.wrotePID = true
	}
	return nil
}

// wait forwards signals until the payload ends.
func (r *run) wait(p *spec.Process, signals <-chan os.Signal) (Exit, error) {
	type end struct {
		ws  syscall.WaitStatus
		ru  *syscall.Rusage
		err error
	}
	ended := make(chan end, 1)
	go func() {
		ws, ru, err := p.Wait()
		ended <- end{ws, ru, err}
	}()
	var timeout <-chan time.Time
	if r.o.Timeout > 0 {
		t := time.NewTimer(r.o.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	defer trimLater().Stop()
	timedOut := false
	for {
		select {
		case sig := <-signals:
			r.forward(p, sig)
		case <-timeout:
			timedOut = true
			_ = p.Signal(unix.SIGKILL)
		case x := <-ended:
			r.ended = time.Now()
			if x.err != nil {
				return Exit{Code: 125}, x.err
			}
			r.usage = *x.ru
			exit := exitOf(x.ws)
			exit.TimedOut = timedOut
			return exit, nil
		}
	}
}

// forwarded are the signals that are passed on. Those about our own children
// and our own terminal's size are not; SIGTSTP and SIGTTIN stop the launcher,
// as of any command, and not the container.
func forwarded() []os.Signal {
	out := []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM,
		unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGTRAP, unix.SIGSYS, unix.SIGXCPU, unix.SIGXFSZ}
	const sigRTMin, sigRTMax = 34, 64 // as libc counts
	for n := syscall.Signal(sigRTMin); n <= sigRTMax; n++ {
		out = append(out, n)
	}
	return out
}

func (r *run) forward(p *spec.Process, sig os.Signal) {
	if n, ok := sig.(syscall.Signal); ok && r.o.SigProxy {
		_ = p.Signal(n) // a container that is gone is about to be noticed
	}
}

func exitOf(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return Exit{Code: ws.ExitStatus()}
}

// finish ends the books: the record stays, or all of it goes with --rm.
func (r *run) finish(ctx context.Context, exit Exit, runErr error) error {
	b := r.box
	if r.ended.IsZero() {
		r.ended = time.Now()
	}
	if r.o.Report != "" {
		// The payload's own exit code counts for more than a record of it.
		if err := r.report(exit, runErr); err != nil {
			r.e.warn(fmt.Sprintf("write the report: %v", err), "")
		}
	}
	if r.wrotePID {
		os.Remove(r.o.PIDFile)
	}
	// A container whose payload never ran is of no use to anybody.
	if r.o.Remove || runErr != nil {
		if r.wroteCID && runErr != nil {
			os.Remove(r.o.CIDFile)
		}
		b.remove(ctx)
		return nil
	}
	b.Status, b.PID, b.Finished = Stopped, 0, r.ended.UTC()
	b.ExitCode, b.Signal, b.TimedOut = exit.Code, exit.Signal, exit.TimedOut
	err := b.save(true)
	b.close()
	return err
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
