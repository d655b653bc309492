package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"coracle/internal/engine"
)

type rmCmd struct {
	All     bool     `short:"a" help:"Remove all containers that have ended; with --force, all."`
	Force   bool     `short:"f" help:"Kill it first if it is running; that there is none is no error."`
	Time    *int     `name:"time" short:"t" placeholder:"SECONDS" help:"With --force: stop it as coracle stop does, with so much time."`
	Ignore  bool     `short:"i" help:"It is no error if there is none of that name."`
	Volumes bool     `short:"v" help:"Remove its anonymous volumes, too."`
	Depend  bool     `help:"Remove those that share its namespaces, too."`
	Latest  bool     `short:"l" help:"The one that was made last."`
	Filter  []string `sep:"none" placeholder:"KEY=VALUE" help:"Those that fit: name, id, label, status, ancestor... as for ps."`
	CIDFile []string `name:"cidfile" sep:"none" placeholder:"FILE" help:"The one whose id is in FILE."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

func (*rmCmd) Help() string {
	return `Takes names, ids or the first digits of an id. Prints what was removed. Ends
with 1 if there is none of a name, and with 2 if one runs (without --force).

  coracle rm -f web
  coracle rm -a
  coracle rm --filter status=exited --filter label=tier=test`
}

func (*rmCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "link", never: true, reason: "docker itself calls links legacy, and there are none here"},
	}, name)
}

func (c *rmCmd) run(a *app) (int, error) {
	if c.Time != nil && !c.Force {
		return exitOurs, &usageError{msg: "rm: --time is for containers that run, which are removed only with --force", hint: "coracle rm --force --time 5 CONTAINER"}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	s := selection{All: c.All, Latest: c.Latest, Filter: c.Filter, CIDFile: c.CIDFile, Containers: c.Containers}
	names, err := s.names(e, "rm", func(box engine.Container) bool {
		return c.Force || !box.Running() || !c.All // one that was asked for and runs is an error
	})
	if (c.Ignore || c.Force) && isNotFound(err) {
		return 0, nil // a file of --cidfile that was never written
	}
	if err != nil {
		return exitOurs, err
	}
	if c.Depend {
		names = withDependents(e, names)
	}
	ctx, stop := interruptible()
	defer stop()
	var failed []error
	missing, running := 0, 0
	for _, name := range names {
		switch err := c.remove(ctx, e, name); {
		case err == nil:
			fmt.Fprintln(a.out, visible(name))
			_ = a.out.Flush() // each at its time
		case (c.Ignore || c.Force) && isNotFound(err):
		default:
			failed = append(failed, doing("remove container", name, err))
			if isNotFound(err) {
				missing++
			} else if errors.Is(err, engine.ErrRunning) {
				running++
			}
		}
	}
	code := 0 // source: podman-rm(1), "Exit status"
	switch {
	case len(failed) > 0 && missing == len(failed):
		code = 1
	case len(failed) > 0 && running == len(failed):
		code = 2
	}
	return code, a.failures(failed)
}

// withDependents puts before each what depends on it.
func withDependents(e engineAPI, names []string) []string {
	var out []string
	for _, name := range names {
		deps, _ := e.Dependents(name) // what cannot be found the removal says
		for _, d := range deps {
			if !slices.Contains(out, d.ID) {
				out = append(out, d.ID)
			}
		}
		out = append(out, name)
	}
	return out
}

func (c *rmCmd) remove(ctx context.Context, e engineAPI, name string) error {
	if c.Time != nil {
		if err := e.Stop(ctx, name, engine.StopOptions{Timeout: inSeconds(c.Time)}); err != nil && !isNotFound(err) {
			return err
		}
	}
	return e.RemoveContainer(ctx, name, c.Force, c.Volumes)
}
