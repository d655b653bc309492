package cli

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"coracle/internal/engine"
	"coracle/spec"
)

// endFlags say how a container is stopped.
type endFlags struct {
	Time   *int   `name:"time" aliases:"timeout" short:"t" placeholder:"SECONDS" help:"How long to wait before KILL (default: the container's, mostly 10; -1 is for ever)."`
	Signal string `short:"s" placeholder:"SIGNAL" help:"Send this in the place of its stop signal."`
}

func (f endFlags) options() (o engine.StopOptions, err error) {
	if f.Signal != "" {
		n, err := spec.ParseSignal(f.Signal)
		if err != nil {
			return o, doing("read the signal", f.Signal, err)
		}
		o.Signal = syscall.Signal(n)
	}
	o.Timeout = inSeconds(f.Time)
	return o, nil
}

type stopCmd struct {
	endFlags `embed:""`

	Ignore bool `short:"i" help:"It is no error if there is none of that name."`

	selection `embed:""`
}

func (*stopCmd) Help() string {
	return `Sends the container's stop signal (--stop-signal, the image's, or TERM), waits
until it has ended, and kills it when it does not. Prints what was stopped.

  coracle stop web
  coracle stop -t 2 -a`
}

func (c *stopCmd) run(a *app) (int, error) {
	o, err := c.options()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	return c.together(a, 64, "stop", isRunning, func(e engineAPI, name string) error {
		err := e.Stop(ctx, name, o)
		if c.Ignore && isNotFound(err) {
			return errNothingDone
		}
		return err
	})
}

// inSeconds is a time that may not have been given.
func inSeconds(n *int) *time.Duration {
	if n == nil {
		return nil
	}
	d := time.Duration(*n) * time.Second
	return &d
}

type killCmd struct {
	Signal string `short:"s" placeholder:"SIGNAL" default:"KILL" help:"A name or number (default: KILL)."`

	selection `embed:""`
}

func (*killCmd) Help() string {
	return `  coracle kill web
  coracle kill -s HUP web`
}

func (c *killCmd) run(a *app) (int, error) {
	sig, err := spec.ParseSignal(c.Signal)
	if err != nil {
		return exitOurs, doing("read the signal", c.Signal, err)
	}
	ctx, stop := interruptible()
	defer stop()
	return c.each(a, "kill", isRunning, func(e engineAPI, name string) error { return e.Kill(ctx, name, syscall.Signal(sig)) })
}

type restartCmd struct {
	endFlags `embed:""`

	Running bool `help:"Only those that run."`

	selection `embed:""`
}

func (*restartCmd) Help() string { return `  coracle restart web` }

func (c *restartCmd) run(a *app) (int, error) {
	o, err := c.options()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	s := c.selection
	s.All = s.All || c.Running && len(s.Containers) == 0
	fits := func(box engine.Container) bool { return !c.Running || box.Running() }
	return s.together(a, 8, "restart", fits, func(e engineAPI, name string) error {
		return e.RestartContainer(ctx, name, o)
	})
}

type pauseCmd struct {
	selection `embed:""`
}

func (*pauseCmd) Help() string { return `  coracle pause web` }

func (c *pauseCmd) run(a *app) (int, error) {
	ctx, stop := interruptible()
	defer stop()
	return c.each(a, "pause", isRunning, func(e engineAPI, name string) error { return e.Pause(ctx, name) })
}

type unpauseCmd struct {
	selection `embed:""`
}

func (*unpauseCmd) Help() string { return `  coracle unpause web` }

func (c *unpauseCmd) run(a *app) (int, error) {
	paused := func(box engine.Container) bool { return box.Status == engine.Paused }
	return c.each(a, "unpause", paused, func(e engineAPI, name string) error { return e.Unpause(name) })
}

type waitCmd struct {
	Condition []string `placeholder:"STATE" help:"Wait for another state: created, running, paused, exited, healthy, removing... May be given several times."`
	Interval  interval `short:"i" default:"250ms" placeholder:"TIME" help:"How often to look, with --condition (default: 250ms)."`
	Ignore    bool     `help:"It is no error if there is none of that name: -1 is printed."`
	Latest    bool     `short:"l" help:"The one that was made last."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

func (*waitCmd) Help() string {
	return `Prints the exit code of each container once it has ended.

  coracle wait job
  coracle wait --condition running --condition exited job`
}

func (c *waitCmd) run(a *app) (int, error) {
	var states []string
	for _, s := range c.Condition {
		states = append(states, strings.Split(s, ",")...)
	}
	if err := checkStates(states); err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := selection{Latest: c.Latest, Containers: c.Containers}.names(e, "wait", isRunning)
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	var failed []error
	for _, name := range names {
		exit, err := e.Wait(ctx, name, states, time.Duration(c.Interval))
		if err != nil && c.Ignore && isNotFound(err) {
			exit, err = engine.Exit{Code: -1}, nil
		}
		if err != nil {
			failed = append(failed, doing("wait for container", name, err))
			continue
		}
		fmt.Fprintln(a.out, exit.Code)
		_ = a.out.Flush()
		a.sayOOM(name, exit)
	}
	return 0, a.failures(failed)
}

// sayOOM tells a container that the kernel has ended for want of memory from one
// that somebody has killed: the code is the same.
func (a *app) sayOOM(name string, exit engine.Exit) {
	if exit.OOMKilled && exit.Code != 0 {
		a.warn(name+": the kernel has killed a process for want of memory (OOM)", "--memory sets how much there is; coracle stats shows what is used")
	}
}

// interval is a time as podman takes it: 250ms, 2s, or a number of milliseconds.
type interval time.Duration

// UnmarshalText implements encoding.TextUnmarshaler for kong.
func (i *interval) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		d, err = time.ParseDuration(string(text) + "ms")
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a time: 250ms, 2s, or a number of milliseconds", text)
	}
	*i = interval(d)
	return nil
}

func checkStates(states []string) error {
	known := engine.WaitStates()
	for _, s := range states {
		found := false
		for _, k := range known {
			found = found || s == k
		}
		if !found {
			return &usageError{msg: fmt.Sprintf("wait: there is no state %q", s), hint: strings.Join(known, ", ")}
		}
	}
	return nil
}

type renameCmd struct {
	Container string `arg:"" name:"CONTAINER"`
	Name      string `arg:"" name:"NAME"`
}

func (*renameCmd) Help() string { return `  coracle rename web old-web` }

func (c *renameCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	return 0, e.Rename(ctx, c.Container, c.Name)
}
