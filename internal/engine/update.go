package engine

import (
	"cmp"
	"errors"
	"fmt"

	"coracle/spec"
)

// UpdateOptions are what is changed of a container that is there.
type UpdateOptions struct {
	Restart *RestartPolicy // nil: stays
	Limits  spec.Limits    // what is not given stays
}

// UpdateContainer changes a container: all that was asked for, or nothing. A
// restart policy holds from the next end on: the monitor of one that runs looks
// at each end. Limits hold at once, and at later starts.
func (e *Engine) UpdateContainer(name string, o UpdateOptions) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	op := "update container " + c.Name
	if err := o.suits(c, op); err != nil {
		return err
	}
	if err := e.mayChange(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var failed error
	c, err = e.change(c.ID, func(c *Container) {
		if o.Limits.Given() {
			if failed = e.updateLimits(c, o.Limits); failed != nil {
				return
			}
		}
		if o.Restart != nil {
			c.Restart, c.Restarts = *o.Restart, 0
		}
	})
	if isNotFound(err) {
		return errNotFound(name)
	}
	if err = cmp.Or(failed, err); err != nil {
		return explainUpdate(op, o.Limits, err)
	}
	e.emit(c.event("update"))
	return nil
}

// suits refuses a policy that a container cannot have.
func (o UpdateOptions) suits(c Container, op string) error {
	if o.Restart == nil {
		return nil
	}
	if c.Remove && o.Restart.Name != "" {
		return &Error{Op: op, Err: errors.New("--restart starts it again when it ends, and it is to be removed then (--rm)")}
	}
	if !c.Detached && o.Restart.Name != "" {
		return &Error{Op: op, Err: errors.New("it runs in the foreground of another command, which does not start it again"), Help: "a container has a policy when it is made with --detach or --restart"}
	}
	return nil
}
