package cli

import (
	"context"
	"fmt"

	"coracle/images"
	"coracle/internal/engine"
)

// systemAPI is what the commands on the store ask of the engine.
type systemAPI interface {
	DiskUsage(ctx context.Context) ([]engine.UsageRow, error)
	Prune(ctx context.Context, o engine.PruneOptions) (engine.Pruned, error)
	CheckStore(ctx context.Context, repair bool) ([]images.Problem, error)
}

type systemDfCmd struct {
	Format string `placeholder:"json" help:"json: an array of objects."`
}

func (*systemDfCmd) Help() string {
	return `Shows what images (as they are stored, and unpacked), containers and volumes
take of the disk, and how much of it nobody uses.

  coracle system df`
}

func (*systemDfCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{flags: "v verbose", reason: "there is one line for each kind", hint: "coracle images, coracle ps -a --size"}}, name)
}

// usageRow is a row of --format json, with podman's names.
type usageRow struct {
	Type           string `json:"Type"`
	Total          int    `json:"Total"`
	Active         int    `json:"Active"`
	RawSize        int64  `json:"RawSize"`
	RawReclaimable int64  `json:"RawReclaimable"`
	Size           string `json:"Size"`
	Reclaimable    string `json:"Reclaimable"`
}

func (c *systemDfCmd) run(a *app) (int, error) {
	if c.Format != "" && c.Format != "json" {
		return exitOurs, &usageError{msg: fmt.Sprintf("system df: --format %q: only json is known", c.Format)}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	rows, err := e.DiskUsage(ctx)
	if err != nil {
		return exitOurs, err
	}
	out := []usageRow{}
	t := table{titles: []string{"TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"}}
	for _, r := range rows {
		percent := int64(0)
		if r.Size > 0 {
			percent = r.Reclaimable * 100 / r.Size
		}
		row := usageRow{r.Kind, r.Total, r.Active, r.Size, r.Reclaimable, humanSize(r.Size), fmt.Sprintf("%s (%d%%)", humanSize(r.Reclaimable), percent)}
		out = append(out, row)
		t.rows = append(t.rows, []string{row.Type, fmt.Sprint(row.Total), fmt.Sprint(row.Active), row.Size, row.Reclaimable})
	}
	if c.Format == "json" {
		return 0, writeJSON(a.out, out)
	}
	t.write(a.out, 0)
	return 0, nil
}

type systemPruneCmd struct {
	All     bool     `short:"a" help:"All images that no container uses, not only those without a name."`
	Volumes bool     `help:"Anonymous volumes that no container uses, too."`
	Filter  []string `sep:"none" placeholder:"KEY=VALUE" help:"Only what fits: until=TIME (containers and images), label=, label!= (containers)."`
	DryRun  bool     `name:"dry-run" help:"Say what would be removed."`
	Force   bool     `short:"f" help:"Do not ask."`
}

func (*systemPruneCmd) Help() string {
	return `Removes containers that do not run, images without a name that no container
uses, and what is left in the store of neither. What a container uses stays.

  coracle system prune --dry-run
  coracle system prune -af --filter until=168h`
}

func (c *systemPruneCmd) run(a *app) (int, error) {
	if err := pruneFilters(c.Filter); err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if !c.Force && !c.DryRun && !a.sure("This removes all containers that do not run, and images that none uses.") {
		return 0, nil
	}
	ctx, stop := interruptible()
	defer stop()
	gone, err := e.Prune(ctx, engine.PruneOptions{All: c.All, Volumes: c.Volumes, Filters: c.Filter, DryRun: c.DryRun})
	for _, list := range []struct {
		title string
		ids   []string
	}{{"Containers", gone.Containers}, {"Images", gone.Images}, {"Volumes", gone.Volumes}} {
		if len(list.ids) > 0 {
			fmt.Fprintln(a.out, list.title+":")
		}
		for _, id := range list.ids {
			fmt.Fprintln(a.out, visible(id))
		}
	}
	a.freed(gone.Freed, c.DryRun)
	return exitOnError(err)
}

type systemCheckCmd struct {
	Repair bool `short:"r" help:"Remove what is damaged, and what belongs to no image."`
}

func (*systemCheckCmd) Help() string {
	return `Reads the whole store: every blob must have its digest, every image all that it
needs. Exits with 1 where something is wrong and was not repaired. --repair
removes damaged blobs, images that lack one, unless a container uses them, and
what nobody refers to: pull such images again.

  coracle system check
  coracle system check --repair`
}

func (c *systemCheckCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	all, err := e.CheckStore(ctx, c.Repair)
	code := 0
	for _, p := range all {
		state := ""
		if p.Repaired {
			state = " (repaired)"
		} else {
			code = 1
		}
		fmt.Fprintf(a.out, "%s: %s%s\n", visible(p.Object), visible(p.Text), state)
	}
	if err != nil {
		return exitOurs, err
	}
	return code, nil
}
