package cli

import (
	"errors"
	"fmt"
	"strings"

	"coracle/images"
	"coracle/internal/engine"
)

// imageExistsCmd answers by its exit code, as podman's.
type imageExistsCmd struct {
	Image string `arg:"" name:"IMAGE"`
}

func (*imageExistsCmd) Help() string {
	return `Exits with 0 where there is such an image, and with 1 where there is none. No
registry is asked.

  coracle image exists debian:12 || coracle pull debian:12`
}

func (c *imageExistsCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	_, err = e.Image(c.Image)
	if errors.Is(err, images.ErrNotFound) {
		return 1, nil
	}
	return 0, err
}

// imagePruneCmd is what system prune does for images.
type imagePruneCmd struct {
	All    bool     `short:"a" help:"All images that no container uses, not only those without a name."`
	Filter []string `sep:"none" placeholder:"KEY=VALUE" help:"Only those that fit: until=TIME, made before."`
	DryRun bool     `name:"dry-run" help:"Say what would be removed."`
	Force  bool     `short:"f" help:"Do not ask."`
}

func (*imagePruneCmd) Help() string {
	return `Removes images without a name that no container uses, and what is left in the
store of no image. Prints their ids, and on stderr what that frees.

  coracle image prune
  coracle image prune -af --filter until=168h`
}

func (*imagePruneCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "external", never: true, reason: "what other programs keep is theirs", hint: "leave it out"},
		{flags: "build-cache", never: true, reason: "nothing is built, so there is no cache of it", hint: "leave it out"},
	}, name)
}

func (c *imagePruneCmd) run(a *app) (int, error) {
	for _, f := range c.Filter {
		if key, _, _ := strings.Cut(f, "="); key != "until" {
			return exitOurs, unknownFilter(&engine.UnknownFilterError{Key: key, Known: []string{"until"}})
		}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	what := "This removes all images without a name that no container uses."
	if c.All {
		what = "This removes all images that no container uses."
	}
	if !c.Force && !c.DryRun && !a.sure(what) {
		return 0, nil
	}
	ctx, stop := interruptible()
	defer stop()
	gone, err := e.Prune(ctx, engine.PruneOptions{ImagesOnly: true, All: c.All, Filters: c.Filter, DryRun: c.DryRun})
	for _, id := range gone.Images {
		fmt.Fprintln(a.out, visible(id))
	}
	if err == nil || len(gone.Images) > 0 {
		a.freed(gone.Freed, c.DryRun)
	}
	return exitOnError(err)
}

// freed tells what a removal frees, or would.
func (a *app) freed(n int64, dry bool) {
	_ = a.out.Flush()
	what := "Total reclaimed space"
	if dry {
		what = "Would be reclaimed"
	}
	fmt.Fprintf(a.err, "%s: %s\n", what, humanSize(n))
}
