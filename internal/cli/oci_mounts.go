package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"coracle/spec"
)

// ociMountsCmd is crun's.
type ociMountsCmd struct {
	Action string `arg:"" name:"ACTION" enum:"add,remove"`
	ID     string `arg:"" name:"ID"`
	File   string `arg:"" name:"FILE"`
}

func (*ociMountsCmd) Help() string {
	return `FILE, or - for standard input, is a JSON list of mounts as in config.json. add
mounts them in that order into a container that was created, runs or is paused:
sources of bind mounts are those of the caller, links on the way to a destination
are the container's and stay inside. remove detaches what is mounted at the
destinations, the last first, and follows no links.`
}

func (c *ociMountsCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return 1, fmt.Errorf("read the mounts: %w", err)
		}
		defer f.Close()
		in = f
	}
	mounts, err := spec.LoadMounts(in)
	if err != nil {
		return 1, fmt.Errorf("%s: %w", c.File, err)
	}
	if c.Action == "remove" {
		return 0, r.RemoveMounts(context.Background(), c.ID, mounts)
	}
	return 0, r.AddMounts(context.Background(), c.ID, mounts)
}
