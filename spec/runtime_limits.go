package spec

import (
	"context"
	"errors"
	"fmt"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the container's limits: all or nothing. What r leaves out
// stays as it is.
func (c *Container) Update(r *specs.LinuxResources) error {
	if c.status() == specs.StateStopped {
		return &idError{c.ID, ErrNotRunning}
	}
	s, err := c.Spec()
	if err != nil {
		return err
	}
	warnings, err := ValidateResources(r)
	for _, w := range warnings {
		c.rt.debug("%s", w)
	}
	if err != nil {
		return fmt.Errorf("update container %s: %w", c.ID, err)
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	defer cg.Close()
	if err := cg.Apply(r, s.Linux.Devices...); err != nil {
		return fmt.Errorf("update container %s: %w", c.ID, explainNone(cg, err))
	}
	c.rt.warnAbove(cg, r)
	return nil
}

// Stats reads what the container has used.
func (c *Container) Stats() (*cgroupv2.Stats, error) {
	if c.status() == specs.StateStopped {
		return nil, &idError{c.ID, ErrNotRunning}
	}
	cg, err := c.cgroup()
	if err != nil {
		return nil, err
	}
	defer cg.Close()
	st, err := cg.Stats()
	if err != nil {
		return nil, fmt.Errorf("statistics of container %s: %w", c.ID, explainNone(cg, err))
	}
	return st, nil
}

// Watch calls oom whenever the kernel has killed processes of the container
// for want of memory, and returns when the container has ended.
func (c *Container) Watch(ctx context.Context, oom func(kills uint64)) error {
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	defer cg.Close()
	return explainNone(cg, cg.Watch(ctx, oom))
}

// ChangeLimits changes the container's limits from old to now, as Update does.
// Implied ones that cannot be had are left out.
func (c *Container) ChangeLimits(old, now Limits, h Host) error {
	wasAsked, wasImplied, err := old.Resources(h)
	if err != nil {
		return err
	}
	asked, implied, err := now.Resources(h)
	if err != nil {
		return err
	}
	for {
		r := changes(WithImplied(wasAsked, wasImplied), WithImplied(asked, implied))
		if r == nil {
			return nil
		}
		err := c.Update(r)
		var field *cgroupv2.FieldError
		if err == nil || !errors.As(err, &field) || !errors.Is(err, cgroupv2.ErrUnsupported) {
			return err
		}
		left, ok := withoutField(implied, field.Field)
		if !ok {
			return err
		}
		implied = left
		wasImplied, _ = withoutField(wasImplied, field.Field)
	}
}
