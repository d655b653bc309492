package cli

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"coracle/internal/engine"
)

type containerPruneCmd struct {
	Force  bool     `short:"f" help:"Do not ask."`
	Filter []string `sep:"none" placeholder:"KEY=VALUE" help:"Only those that fit: until=TIME, label=KEY[=VALUE], label!=KEY."`
}

func (*containerPruneCmd) Help() string {
	return `Removes all containers that do not run, also those that never have. Prints their
ids, and on stderr what that frees.

  coracle container prune
  coracle container prune -f --filter until=24h`
}

// pruneFilters refuses the filters that choose nothing to remove.
func pruneFilters(filters []string) error {
	known := []string{"label", "label!", "until"}
	for _, f := range filters {
		if key, _, _ := strings.Cut(f, "="); !slices.Contains(known, key) {
			return unknownFilter(&engine.UnknownFilterError{Key: key, Known: known})
		}
	}
	return nil
}

func (c *containerPruneCmd) run(a *app) (int, error) {
	if err := pruneFilters(c.Filter); err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	filter, err := filterOf(e, c.Filter)
	if err != nil {
		return exitOurs, err
	}
	if !c.Force && !a.sure("This removes all containers that do not run.") {
		return 0, nil
	}
	boxes, err := e.Containers()
	if err != nil {
		return exitOurs, err
	}
	boxes = slices.DeleteFunc(boxes, func(box engine.Container) bool { return box.Running() || !filter.Match(box) })
	ctx, stop := interruptible()
	defer stop()
	sizes, sizeErr := e.Sizes(ctx, boxes)
	var failed []error
	var freed int64
	for _, box := range boxes {
		switch err := e.RemoveContainer(ctx, box.ID, false, false); {
		case err == nil:
			freed += sizes[box.ID].RW
			fmt.Fprintln(a.out, visible(box.ID))
			_ = a.out.Flush()
		case isNotFound(err): // somebody was faster
		default:
			failed = append(failed, doing("remove container", box.Name, err))
		}
	}
	if sizeErr == nil {
		fmt.Fprintf(a.err, "Total reclaimed space: %s\n", humanSize(freed))
	}
	return 0, a.failures(failed)
}

// sure asks; only y and yes are a yes.
func (a *app) sure(what string) bool {
	fmt.Fprintf(a.err, "%s\nAre you sure you want to continue? [y/N] ", what)
	line, _ := bufio.NewReader(a.files[0]).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true
	}
	return false
}
