package cli

import (
	"context"
	"fmt"

	"coracle/internal/engine"
)

type startCmd struct {
	Attach        bool   `short:"a" help:"Show what it prints, and end with its exit code."`
	Interactive   bool   `short:"i" help:"Attach, with standard input."`
	DetachKeys    string `name:"detach-keys" placeholder:"KEYS" help:"What is typed to leave it (default: ctrl-p,ctrl-q)."`
	SigProxy      bool   `name:"sig-proxy" default:"true" placeholder:"false" help:"Keep signals here."`
	RestartPolicy bool   `name:"restart-policy" help:"All that are to run always, or unless stopped: for the start of a session."`
	All           bool   `help:"All that do not run."`
	Latest        bool   `short:"l" help:"The one that was made last."`

	Filter     []string `short:"f" sep:"none" placeholder:"KEY=VALUE" help:"Those that fit and do not run: name, id, label, status... as for ps."`
	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

func (*startCmd) Help() string {
	return `Starts containers that were created or have ended, in the background unless
--attach says otherwise. Prints their names.

  coracle start web
  coracle start -ai shell
  coracle start --restart-policy`
}

func (*startCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{
		flags:  "checkpoint checkpoint-dir",
		reason: "containers are not restored from checkpoints",
		hint:   "see coracle oci restore --help",
	}}, name)
}

func (c *startCmd) run(a *app) (int, error) {
	attach := c.Attach || c.Interactive
	s := selection{All: c.All || c.RestartPolicy, Latest: c.Latest, Filter: c.Filter, Containers: c.Containers}
	if attach && (s.All || len(s.Filter) > 0 || len(c.Containers) > 1) {
		return exitOurs, &usageError{msg: "start: one container can be attached to at a time", hint: "leave --attach out, and see coracle logs"}
	}
	if attach {
		return c.attached(a, s)
	}
	ctx, stop := interruptible()
	defer stop()
	return s.each(a, "start", c.fits, func(e engineAPI, name string) error {
		_, err := e.Start(ctx, name, engine.StartOptions{})
		return err
	})
}

func (c *startCmd) fits(box engine.Container) bool {
	if c.RestartPolicy {
		return !box.Running() && box.StartsWithSession()
	}
	return !box.Running()
}

func (c *startCmd) attached(a *app, s selection) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := s.names(e, "start", isRunning)
	if err != nil {
		return exitOurs, err
	}
	exit, err := e.Start(context.Background(), names[0], engine.StartOptions{Attach: true, AttachOptions: engine.AttachOptions{
		Stdio: a.stdio(), NoStdin: !c.Interactive, DetachKeys: c.DetachKeys, SigProxy: c.SigProxy,
	}})
	a.sayOOM(names[0], exit)
	return exit.Code, err
}

func (a *app) stdio() engine.Stdio {
	return engine.Stdio{Stdin: a.files[0], Stdout: a.files[1], Stderr: a.files[2]}
}

type attachCmd struct {
	NoStdin    bool   `name:"no-stdin" help:"Do not send standard input."`
	DetachKeys string `name:"detach-keys" placeholder:"KEYS" help:"What is typed to leave it (default: ctrl-p,ctrl-q)."`
	SigProxy   bool   `name:"sig-proxy" default:"true" placeholder:"false" help:"Keep signals here."`
	Latest     bool   `short:"l" help:"The one that was made last."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

func (*attachCmd) Help() string {
	return `Shows what a container prints from now on, sends it what is typed, and ends
with its exit code. Several can be attached at once.

  coracle attach web
  coracle attach --detach-keys ctrl-x shell`
}

func (c *attachCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := selection{Latest: c.Latest, Containers: c.Containers}.names(e, "attach", isRunning)
	if err != nil {
		return exitOurs, err
	}
	if len(names) != 1 {
		return exitOurs, &usageError{msg: fmt.Sprintf("attach: one container, and not %d", len(names))}
	}
	exit, err := e.Attach(context.Background(), names[0], engine.AttachOptions{
		Stdio: a.stdio(), NoStdin: c.NoStdin, DetachKeys: c.DetachKeys, SigProxy: c.SigProxy,
	})
	a.sayOOM(names[0], exit)
	return exit.Code, err
}
