package engine

import (
	"errors"
	"fmt"
)

// UpdateOptions are what is changed of a container that is there.
type UpdateOptions struct {
	Restart *RestartPolicy // nil: stays
}

// UpdateContainer changes a container. A restart policy holds from the next end
// on: the monitor of one that runs looks at each end.
func (e *Engine) UpdateContainer(name string, o UpdateOptions) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	op := "update container " + c.Name
	if o.Restart == nil {
		return nil
	}
	if c.Remove && o.Restart.Name != "" {
		return &Error{Op: op, Err: errors.New("--restart starts it again when it ends, and it is to be removed then (--rm)")}
	}
	if !c.Detached && o.Restart.Name != "" {
		return &Error{Op: op, Err: errors.New("it runs in the foreground of another command, which does not start it again"), Help: "a container has a policy when it is made with --detach or --restart"}
	}
	c, err = e.change(c.ID, func(c *Container) { c.Restart, c.Restarts = *o.Restart, 0 })
	if isNotFound(err) {
		return errNotFound(name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	e.emit(c.event("update"))
	return nil
}
