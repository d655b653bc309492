package cli

import (
	"fmt"
	"strings"
)

type diffCmd struct {
	Format string `placeholder:"json" help:"json: an object with the lists changed, added and deleted."`

	Latest bool `short:"l" help:"The container that was made last."`

	Name  string `arg:"" name:"NAME" optional:""`
	Other string `arg:"" name:"OTHER" optional:""`
}

func (*diffCmd) Help() string {
	return `Prints what differs: A for added, C for changed, D for deleted. Of a container,
from its image; of an image or a layer, from what is below its topmost layer;
of two names, what is different in the second. A layer is named by its diffID or
its chain id, or the start of one. What is mounted, and what every container
gets, such as /etc/hosts, is left out.

  coracle diff web
  coracle diff debian:12 debian:13
  coracle diff web:patched web`
}

// diffLists is --format json, with podman's names.
type diffLists struct {
	Changed []string `json:"changed,omitempty"`
	Added   []string `json:"added,omitempty"`
	Deleted []string `json:"deleted,omitempty"`
}

func (c *diffCmd) run(a *app) (int, error) {
	if c.Format != "" && c.Format != "json" {
		return exitOurs, &usageError{msg: fmt.Sprintf("diff: --format %q: only json is known", c.Format)}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if c.Latest == (c.Name != "") {
		return exitOurs, &usageError{msg: "diff: either NAME or --latest is needed", hint: `see "coracle diff --help"`}
	}
	if c.Latest {
		names, err := selection{Latest: true}.names(e, "diff", isRunning)
		if err != nil {
			return exitOurs, err
		}
		c.Name = names[0]
	}
	ctx, stop := interruptible()
	defer stop()
	all, err := e.Diff(ctx, c.Name, c.Other)
	if err != nil {
		return exitOurs, doing("diff", strings.TrimSpace(c.Name+" "+c.Other), err)
	}
	var lists diffLists
	for _, one := range all {
		switch {
		case c.Format == "":
			fmt.Fprintln(a.out, one.Kind, visible(one.Path))
		case one.Kind == "A":
			lists.Added = append(lists.Added, one.Path)
		case one.Kind == "C":
			lists.Changed = append(lists.Changed, one.Path)
		default:
			lists.Deleted = append(lists.Deleted, one.Path)
		}
	}
	if c.Format == "json" {
		return 0, writeJSON(a.out, lists)
	}
	return 0, nil
}
