package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coracle/images"
	"coracle/images/layer"
	"coracle/internal/ctrlog"
)

// UsageRow is what one kind of thing takes of the disk.
type UsageRow struct {
	Kind              string // Images, Containers, Local Volumes
	Total, Active     int
	Size, Reclaimable int64
}

// DiskUsage measures the store.
func (e *Engine) DiskUsage(ctx context.Context) ([]UsageRow, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	u, err := store.Usage()
	if err != nil {
		return nil, err
	}
	lent, unused, err := e.lentUsage(ctx)
	if err != nil {
		return nil, err
	}
	rows := []UsageRow{{"Images", u.Images, u.Active, u.Size + lent, u.Reclaimable + unused}}
	boxes, err := e.Containers()
	if err != nil {
		return nil, err
	}
	sizes, err := e.Sizes(ctx, boxes)
	if err != nil {
		return nil, err
	}
	c := UsageRow{Kind: "Containers", Total: len(boxes)}
	for _, b := range boxes {
		c.Size += sizes[b.ID].RW
		if b.Running() {
			c.Active++
		} else {
			c.Reclaimable += sizes[b.ID].RW
		}
	}
	v, err := e.volumeUsage(ctx)
	return append(rows, c, v), err
}

func (e *Engine) volumeUsage(ctx context.Context) (UsageRow, error) {
	row := UsageRow{Kind: "Local Volumes"}
	all, err := e.Volumes(nil)
	if err != nil {
		return row, err
	}
	users, err := e.volumeUsers()
	if err != nil {
		return row, err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return row, err
	}
	m := e.measurer(ctx)
	for _, v := range all {
		n, err := m.tree(Container{Map: ids.Base}, e.volumeData(v.Name))
		if err != nil {
			return row, errors.Join(fmt.Errorf("measure the volume %s: %w", v.Name, err), m.close())
		}
		row.Total++
		row.Size += n
		if len(users[v.Name]) > 0 {
			row.Active++
		} else {
			row.Reclaimable += n
		}
	}
	return row, m.close()
}

// PruneOptions are one `coracle system prune`.
type PruneOptions struct {
	All        bool     // images with names, too
	ImagesOnly bool     // neither containers nor volumes
	Volumes    bool     // anonymous volumes that nobody uses
	Filters    []string // until=TIME, label=, label!=: of containers; until of images
	DryRun     bool
}

// Pruned is what went, or would go.
type Pruned struct {
	Containers, Images, Volumes []string
	Freed                       int64 // bytes: of containers; of images with their unpacked layers, and of what processes that died have left
}

// Prune removes what is not in use.
func (e *Engine) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	var out Pruned
	if o.ImagesOnly {
		err := e.pruneImages(ctx, o, &out)
		return out, err
	}
	filter, err := e.Filter(o.Filters)
	if err != nil {
		return out, err
	}
	boxes, err := e.Containers()
	if err != nil {
		return out, err
	}
	boxes = slices.DeleteFunc(boxes, func(c Container) bool { return c.Running() || !filter.Match(c) })
	sizes, err := e.Sizes(ctx, boxes)
	if err != nil {
		return out, err
	}
	for _, c := range boxes {
		if !o.DryRun {
			if err := e.RemoveContainer(ctx, c.ID, false, false); err != nil {
				if isNotFound(err) || errors.Is(err, ErrRunning) {
					continue // somebody was faster
				}
				return out, fmt.Errorf("remove container %s: %w", c.Name, err)
			}
		}
		out.Containers, out.Freed = append(out.Containers, c.ID), out.Freed+sizes[c.ID].RW
	}
	if err := e.pruneImages(ctx, o, &out); err != nil || !o.Volumes {
		return out, err
	}
	return out, e.pruneAnonymous(ctx, o, &out)
}

func (e *Engine) pruneImages(ctx context.Context, o PruneOptions, out *Pruned) error {
	store, err := e.store()
	if err != nil {
		return err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	po := images.PruneOptions{All: o.All, DryRun: o.DryRun}
	for _, f := range o.Filters {
		switch key, value, _ := strings.Cut(f, "="); key {
		case "until":
			if po.Until, err = ctrlog.ParseTime(value, time.Now(), true); err != nil {
				return fmt.Errorf("the filter %s: %w", f, err)
			}
		default:
			return nil // a label of containers is not one of images: these stay
		}
	}
	stage := e.stage(ctx, ids.Base)
	po.Stage = func() (layer.Stage, error) { return stage, nil }
	gone, freed, err := store.Prune(ctx, po)
	lent, lerr := e.pruneLent(ctx, o.All, o.DryRun, stage)
	err, out.Freed = errors.Join(err, lerr), out.Freed+freed+lent
	for _, i := range gone {
		out.Images = append(out.Images, i.ID.Encoded())
		if !o.DryRun {
			e.emit(imageEvent("remove", i.ID.Encoded(), ""))
		}
	}
	return errors.Join(err, stage.Close())
}

func (e *Engine) pruneAnonymous(ctx context.Context, o PruneOptions, out *Pruned) error {
	if o.DryRun {
		all, err := e.Volumes([]string{"dangling=true", "anonymous=true"})
		for _, v := range all {
			out.Volumes = append(out.Volumes, v.Name)
		}
		return err
	}
	var err error
	out.Volumes, err = e.PruneVolumes(ctx, []string{"anonymous=true"})
	return err
}

// CheckStore reads the whole store, and repairs what it can if that is wanted.
func (e *Engine) CheckStore(ctx context.Context, repair bool) ([]images.Problem, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return nil, err
	}
	stage := e.stage(ctx, ids.Base)
	all, err := store.Check(ctx, images.CheckOptions{Repair: repair, Stage: func() (layer.Stage, error) { return stage, nil }})
	if err == nil {
		var more []images.Problem
		more, err = e.checkLent(ctx, repair, stage)
		all = append(all, more...)
	}
	return all, errors.Join(err, stage.Close())
}
