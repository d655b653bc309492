package cli

import (
	"fmt"

	"coracle/internal/denial"
	"coracle/internal/review"
)

type discardCmd struct {
	All bool `short:"a" help:"The changes of all sandboxes that do not run."`

	IDs []string `arg:"" name:"ID" optional:""`
}

func (*discardCmd) Help() string {
	return `Drops what sandboxes have changed. An ID is the start of an id; without one it
is the last sandbox that left changes. Prints the ids of what is gone.

  coracle discard
  coracle discard 3fa9 81c0
  coracle discard --all`
}

func (c *discardCmd) run(a *app) (int, error) {
	root, err := a.sandboxRoot()
	if err != nil {
		return exitOurs, err
	}
	if c.All && len(c.IDs) > 0 {
		return exitOurs, &usageError{msg: "discard: --all and an ID exclude each other"}
	}
	var chosen []*review.Sandbox
	var failed []error
	switch {
	case c.All:
		if chosen, err = review.List(root); err != nil {
			return exitOurs, err
		}
		if err := review.Sweep(root); err != nil {
			failed = append(failed, err)
		}
	case len(c.IDs) == 0:
		c.IDs = []string{""}
	}
	for _, id := range c.IDs {
		s, err := review.Find(root, id)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		chosen = append(chosen, s)
	}
	if c.All {
		denial.Forget(root, "")
	}
	for _, s := range chosen {
		if c.All && s.Running() {
			continue
		}
		err := s.Lock()
		if err == nil {
			err = s.Drop()
			s.Release()
		}
		if err != nil {
			failed = append(failed, aboutSandbox(s, err))
			continue
		}
		denial.Forget(root, s.ID)
		fmt.Fprintln(a.out, s.ID)
	}
	return 0, a.failures(failed)
}
