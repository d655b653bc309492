package cli

import "fmt"

// createCmd is run without the start.
type createCmd struct {
	makeFlags `embed:""`
}

func (*createCmd) Help() string {
	return `Takes what "coracle run" takes, and prints the id of the container.

  coracle create --name web -v "$PWD":/srv nginx
  coracle start web`
}

func (*createCmd) refused(name string) (refusal, bool) {
	return findRefusal(append(runRefusals(), refusal{
		flags: "d detach detach-keys", never: true,
		reason: "nothing is started",
		hint:   "coracle start starts it in the background, coracle start --attach in the foreground",
	}), name)
}

func (c *createCmd) run(a *app) (int, error) {
	opts, err := c.options()
	if err != nil {
		return exitOurs, err
	}
	if opts.DryRun {
		return exitOurs, &usageError{msg: "create: --dry-run prints what a start would do", hint: `see "coracle run --dry-run"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if !c.Container.Quiet {
		bars := newProgress(a.err)
		defer bars.close()
		opts.Progress = bars.add
	}
	opts.Stderr = a.files[2]
	ctx, stop := interruptible()
	defer stop()
	box, err := e.Create(ctx, opts)
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, box.ID)
	return 0, nil
}
