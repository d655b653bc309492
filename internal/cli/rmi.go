package cli

import (
	"errors"
	"fmt"

	"coracle/images"
)

type rmiCmd struct {
	All    bool `short:"a" help:"Remove all images."`
	Force  bool `short:"f" help:"Also where containers use it, or it has several names."`
	Ignore bool `short:"i" help:"It is no error if there is none of that name."`

	Images []string `arg:"" name:"IMAGE" optional:""`
}

func (*rmiCmd) Help() string {
	return `Takes names, ids or the first digits of an id. Prints what was removed.

  coracle rmi debian:12 alpine
  coracle rmi -af`
}

func (c *rmiCmd) run(a *app) (int, error) {
	if c.All == (len(c.Images) > 0) {
		return exitOurs, &usageError{msg: "rmi: either IMAGE or --all is needed", hint: `see "coracle rmi --help"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names := c.Images
	if c.All {
		if names, err = allImages(e); err != nil {
			return exitOurs, err
		}
	}
	ctx, stop := interruptible()
	defer stop()
	var failed []error
	for _, name := range names {
		removed, err := e.RemoveImage(ctx, name, c.Force)
		for _, line := range removed {
			fmt.Fprintln(a.out, visible(line))
		}
		if err != nil && (!c.Ignore || !errors.Is(err, images.ErrNotFound)) {
			failed = append(failed, doing("remove image", name, err))
		}
	}
	return 0, a.failures(failed)
}

// allImages names every image so that all its names go with it.
func allImages(e engineAPI) ([]string, error) {
	all, err := e.Images()
	var names []string
	for _, img := range all {
		if img.Store != "" {
			continue // not to be removed
		}
		if len(img.Names) == 0 {
			names = append(names, img.ID.String())
		}
		names = append(names, img.Names...)
	}
	return names, err
}
