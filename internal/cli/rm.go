package cli

import "fmt"

type rmCmd struct {
	All     bool `short:"a" help:"Remove all containers that have ended; with --force, all."`
	Force   bool `short:"f" help:"Kill it first if it is running."`
	Ignore  bool `short:"i" help:"It is no error if there is none of that name."`
	Volumes bool `short:"v" help:"Remove its anonymous volumes, too."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

func (*rmCmd) Help() string {
	return `Takes names, ids or the first digits of an id. Prints what was removed.

  coracle rm -f web
  coracle rm -a`
}

func (*rmCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{
		flags:  "l latest t time depend cidfile filter link",
		reason: "it is no part of this version",
	}}, name)
}

func (c *rmCmd) run(a *app) (int, error) {
	if c.All == (len(c.Containers) > 0) {
		return exitOurs, &usageError{msg: "rm: either CONTAINER or --all is needed", hint: `see "coracle rm --help"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names := c.Containers
	if c.All {
		if names, err = c.removable(e); err != nil {
			return exitOurs, err
		}
	}
	ctx, stop := interruptible()
	defer stop()
	var failed []error
	for _, name := range names {
		switch err := e.RemoveContainer(ctx, name, c.Force, c.Volumes); {
		case err == nil:
			fmt.Fprintln(a.out, visible(name))
		case c.Ignore && isNotFound(err):
		default:
			failed = append(failed, doing("remove container", name, err))
		}
	}
	return 0, a.failures(failed)
}

func (c *rmCmd) removable(e engineAPI) ([]string, error) {
	all, err := e.Containers()
	var ids []string
	for _, box := range all {
		if c.Force || !box.Running() {
			ids = append(ids, box.ID)
		}
	}
	return ids, err
}
