package engine

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"coracle/internal/plainfile"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// StopOptions say how a container is stopped; the zero value is as it says itself.
type StopOptions struct {
	Timeout *time.Duration // until KILL
	Signal  syscall.Signal // in the place of its own
}

// Stop ends a container: its stop signal first, and SIGKILL after the time that
// is given, or its own with nil; negative is for ever. One that does not run is
// no error.
func (e *Engine) Stop(ctx context.Context, name string, o StopOptions) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	return e.stop(ctx, c, o)
}

func (e *Engine) stop(ctx context.Context, c Container, o StopOptions) error {
	e.noMoreStarts(c.ID)
	if !e.alive(c.ID) {
		return nil
	}
	if err := e.end(ctx, c, o); err != nil {
		return err
	}
	e.emit(c.event("stop"))
	return nil
}

// end sends the signals of stop, and waits.
func (e *Engine) end(ctx context.Context, c Container, o StopOptions) error {
	wait, sig := c.StopTimeout, syscall.Signal(c.StopSignal)
	if sig == 0 {
		sig, wait = unix.SIGTERM, 10*time.Second // an earlier version's
	}
	if o.Timeout != nil {
		wait = *o.Timeout
	}
	if o.Signal != 0 {
		sig = o.Signal
	}
	over := e.whenOver(c.ID)
	if wait == 0 {
		return e.killAndWait(ctx, c, over)
	}
	if err := e.send(ctx, c, sig); err != nil {
		return err
	}
	if e.stateless(c) {
		_ = e.signalLauncher(c.ID, unix.SIGTERM) // which sends the stop signal; what is below tells whether it worked
	}
	var late <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late:
	}
	return e.killAndWait(ctx, c, over)
}

// killAndWait sends SIGKILL, again and again while somebody starts it anew.
func (e *Engine) killAndWait(ctx context.Context, c Container, over <-chan struct{}) error {
	for round := range 100 {
		if err := e.send(ctx, c, unix.SIGKILL); err != nil {
			return err
		}
		if round >= patientRounds && e.stateless(c) {
			_ = e.signalLauncher(c.ID, unix.SIGKILL)
		}
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return &Error{Op: "stop container " + c.Name, Err: errors.New("it does not end although SIGKILL was sent"), Help: "a process in uninterruptible sleep waits for a device or a network file system: see ps"}
}

// patientRounds, of 100 ms or less each, are left to a start that is on its way.
const patientRounds = 10

// stateless says that a container has run, and that nothing in the runtime
// directory tells of it: that was removed, or it is just between two starts.
func (e *Engine) stateless(c Container) bool {
	if !c.Running() || c.Started.IsZero() {
		return false
	}
	_, err := e.runtimeOf(c.ID).Load(c.ID)
	return errors.Is(err, spec.ErrNotExist)
}

// noMoreStarts keeps a container's policy from starting it again.
func (e *Engine) noMoreStarts(id string) {
	_, _ = e.change(id, func(c *Container) { c.StoppedByUser = true }) // one that is just starting has no record yet
	if conn, _, err := e.knock(id, doorRequest{Op: "stopping"}); err == nil {
		conn.Close()
	}
}

// send sends a signal to the container's first process; one that is not there
// (any more, or between two starts) is no error.
func (e *Engine) send(ctx context.Context, c Container, sig syscall.Signal) error {
	st, err := e.runtimeOf(c.ID).Load(c.ID)
	if err == nil {
		err = st.Kill(ctx, sig, false)
		if err == nil && sig != unix.SIGKILL && st.Status().Status == spec.StatePaused {
			err = st.Resume() // a frozen process takes no signal
		}
	}
	if err != nil && !errors.Is(err, spec.ErrNotExist) && !errors.Is(err, spec.ErrNotRunning) {
		return fmt.Errorf("stop container %s: %w", c.Name, err)
	}
	return nil
}

// whenOver is closed when whoever runs the container has let go of it.
func (e *Engine) whenOver(id string) <-chan struct{} {
	over := make(chan struct{})
	fd, err := unix.Open(e.runningFile(id), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		close(over)
		return over
	}
	go func() {
		defer close(over)
		defer unix.Close(fd)
		_, _ = plainfile.Retry(func() (int, error) { return 0, unix.Flock(fd, unix.LOCK_SH) })
	}()
	return over
}

// Kill sends a signal to a container that runs.
func (e *Engine) Kill(ctx context.Context, name string, sig syscall.Signal) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	op := "kill container " + c.Name
	if !c.Running() {
		return &Error{Op: op, Err: fmt.Errorf("it is not running but %s", c.Status)}
	}
	if sig == unix.SIGKILL {
		e.noMoreStarts(c.ID)
	}
	st, err := e.runtimeOf(c.ID).Load(c.ID)
	if err == nil {
		err = st.Kill(ctx, sig, false)
	}
	if sig == unix.SIGKILL && e.stateless(c) {
		err = e.signalLauncher(c.ID, sig)
	}
	if errors.Is(err, spec.ErrNotExist) || errors.Is(err, spec.ErrNotRunning) || errors.Is(err, unix.ESRCH) {
		return &Error{Op: op, Err: errors.New("it is not running at this moment")}
	}
	if err != nil {
		return fmt.Errorf("%s with signal %d: %w", op, sig, err)
	}
	ev := c.event("kill")
	ev.Signal = int(sig)
	e.emit(ev)
	return nil
}

// RestartContainer stops a container, if it runs, and starts it.
func (e *Engine) RestartContainer(ctx context.Context, name string, o StopOptions) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	e.emit(c.event("restart"))
	if err := e.stop(ctx, c, o); err != nil {
		return err
	}
	_, err = e.Start(ctx, c.ID, StartOptions{})
	return err
}

// StartsWithSession says whether the container's policy wants it to run from
// the start of a session, or of the machine, on.
func (c Container) StartsWithSession() bool {
	return c.Restart.Name == "always" || c.Restart.Name == "unless-stopped" && !c.StoppedByUser
}
