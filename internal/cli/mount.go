package cli

import (
	"fmt"

	"coracle/internal/engine"
)

type mountCmd struct {
	All    bool   `short:"a" help:"Mount all images."`
	Format string `placeholder:"json" help:"json: an array of objects."`

	Images []string `arg:"" name:"IMAGE" optional:""`
}

func (*mountCmd) Help() string {
	return `Mounts images read-only, and prints where. Without IMAGE, lists what is mounted.
This takes a mount namespace of your own: coracle unshare. What is mounted in
there can be seen by its programs only, and is gone when the last has ended.

  coracle unshare
  ls $(coracle mount debian)/etc
  coracle unshare sh -c 'du -s $(coracle mount debian)'`
}

// mountRow is a row of --format json, with podman's names.
type mountRow struct {
	ID           string `json:"id"`
	Repositories []string
	Mountpoint   string `json:"mountpoint"`
}

func (c *mountCmd) run(a *app) (int, error) {
	if c.Format != "" && c.Format != "json" {
		return exitOurs, &usageError{msg: fmt.Sprintf("mount: --format %q: only json is known", c.Format)}
	}
	if c.All && len(c.Images) > 0 {
		return exitOurs, &usageError{msg: "mount: either IMAGE or --all"}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names := c.Images
	if c.All {
		if names, err = imageIDs(e); err != nil {
			return exitOurs, err
		}
	}
	if len(names) == 0 {
		all, err := e.ImageMounts()
		if err != nil {
			return exitOurs, doing("mount", "images", err)
		}
		return 0, c.print(a, all, true)
	}
	ctx, stop := interruptible()
	defer stop()
	var done []engine.ImageMount
	var failed []error
	for _, name := range names {
		m, err := e.MountImage(ctx, name)
		if err != nil {
			failed = append(failed, doing("mount", name, err))
			continue
		}
		done = append(done, m)
	}
	if err := c.print(a, done, len(names) > 1); err != nil {
		return exitOurs, err
	}
	return 0, a.failures(failed)
}

// print shows mounts: of one that was asked for only where it is, for scripts.
func (c *mountCmd) print(a *app, all []engine.ImageMount, named bool) error {
	if c.Format == "json" {
		rows := []mountRow{}
		for _, m := range all {
			row := mountRow{ID: m.ID.Encoded(), Repositories: []string{}, Mountpoint: visible(m.Path)}
			for _, n := range m.Names {
				row.Repositories = append(row.Repositories, visible(n))
			}
			rows = append(rows, row)
		}
		return writeJSON(a.out, rows)
	}
	for _, m := range all {
		name := shortID(m.ID.String(), false)
		if len(m.Names) > 0 {
			name = m.Names[0]
		}
		if named {
			fmt.Fprintf(a.out, "%s %s\n", visible(name), visible(m.Path))
		} else {
			fmt.Fprintln(a.out, visible(m.Path))
		}
	}
	return nil
}

// imageIDs names every image once.
func imageIDs(e engineAPI) ([]string, error) {
	all, err := e.Images()
	var ids []string
	for _, img := range all {
		ids = append(ids, img.ID.String())
	}
	return ids, err
}

type unmountCmd struct {
	All   bool `short:"a" help:"Unmount all that is mounted here."`
	Force bool `short:"f" help:"Also what is in use: it is gone when that ends."`

	Images []string `arg:"" name:"IMAGE" optional:""`
}

func (*unmountCmd) Help() string {
	return `Unmounts images that were mounted in this coracle unshare, and prints their ids.

  coracle unmount debian
  coracle unmount --all`
}

func (c *unmountCmd) run(a *app) (int, error) {
	if c.All == (len(c.Images) > 0) {
		return exitOurs, &usageError{msg: "unmount: either IMAGE or --all is needed", hint: `see "coracle unmount --help"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names := c.Images
	if c.All {
		all, err := e.ImageMounts()
		if err != nil {
			return exitOurs, doing("unmount", "images", err)
		}
		for _, m := range all {
			names = append(names, m.ID.String())
		}
	}
	var failed []error
	for _, name := range names {
		id, err := e.UnmountImage(name, c.Force)
		if err != nil {
			failed = append(failed, doing("unmount", name, err))
			continue
		}
		fmt.Fprintln(a.out, id.Encoded())
	}
	return 0, a.failures(failed)
}
