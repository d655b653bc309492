package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"coracle/cgroupv2"
	"coracle/spec"
)

// Pause freezes a container's processes, Unpause lets them go on.
func (e *Engine) Pause(ctx context.Context, name string) error {
	return e.freeze(name, "pause", func(st *spec.Container) error { return st.Pause(ctx) })
}

// Unpause is the reverse of Pause.
func (e *Engine) Unpause(name string) error {
	return e.freeze(name, "unpause", (*spec.Container).Resume)
}

func (e *Engine) freeze(name, op string, f func(*spec.Container) error) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	event := c.event(op)
	op += " container " + c.Name
	st, err := e.runtimeOf(c.ID).Load(c.ID)
	switch {
	case !c.Running():
		return &Error{Op: op, Err: fmt.Errorf("it is not running but %s", c.Status)}
	case errors.Is(err, spec.ErrNotExist): // it has ended since, or another start of it is under way
		return &Error{Op: op, Err: errors.New("it is not running at this moment")}
	case err == nil:
		err = f(st)
	}
	switch {
	case errors.Is(err, spec.ErrPaused):
		return &Error{Op: op, Err: errors.New("it is paused already")}
	case errors.Is(err, spec.ErrNotPaused):
		return &Error{Op: op, Err: errors.New("it is not paused")}
	case err == nil:
		e.emit(event)
	case errors.Is(err, cgroupv2.ErrNone):
		why := "it has no cgroup"
		if reason := strings.TrimPrefix(st.Cgroup.None, "no cgroup: "); reason != "" {
			why += ": " + reason
		}
		return &Error{Op: op, Err: errors.New(why), Help: "pausing needs a cgroup v2 of yours: see coracle doctor"}
	default:
		return &Error{Op: op, Err: err, Help: "pausing needs a cgroup v2 of yours: see coracle doctor"}
	}
	return nil
}
