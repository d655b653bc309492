package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"coracle/cgroupv2"
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

// Wait waits until a container is in one of the states; without any, until it
// has stopped. The Exit is the payload's, and nothing for other states.
func (e *Engine) Wait(ctx context.Context, name string, states []string, every time.Duration) (Exit, error) {
	c, err := e.find(name)
	if err != nil {
		return Exit{}, err
	}
	if len(states) == 0 {
		return e.waitStopped(ctx, c)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		now, err := e.load(c.ID)
		if isNotFound(err) {
			if wants(states, "removing", "removed", "exited", "stopped") {
				return c.exit(), nil
			}
			return Exit{}, errNotFound(name)
		}
		if err != nil {
			return Exit{}, err
		}
		c = now
		// "stopped" is how podman-wait(1) calls its default: whatever does not run.
		if wants(states, now.stateWords()...) || !now.Running() && wants(states, "stopped") {
			if now.Running() {
				return Exit{}, nil
			}
			return now.exit(), nil
		}
		if now.Running() && now.Health == "" && !slices.ContainsFunc(states, func(s string) bool { return s != healthHealthy && s != healthBad }) {
			return Exit{}, &Error{Op: "wait until container " + now.Name + " is " + strings.Join(states, " or "), Err: errNoHealthCheck, Help: "coracle run --health-cmd gives it one"}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Exit{}, context.Cause(ctx)
		}
	}
}

func wants(states []string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(states, w) })
}

// exit is how the container ended the last time, as its record has it.
func (c Container) exit() Exit {
	return Exit{Code: c.ExitCode, Signal: c.Signal, TimedOut: c.TimedOut, OOMKilled: c.OOMKilled}
}

// stateWords are the states that a container is in, by all their names.
func (c Container) stateWords() []string {
	switch c.Status {
	case Stopped:
		return []string{"exited", "stopped"}
	case Created:
		return []string{"created", "configured"}
	}
	if c.Health != "" && c.Status == Running {
		return []string{string(c.Status), c.Health}
	}
	return []string{string(c.Status)}
}

// waitStopped waits for the next end of a container.
func (e *Engine) waitStopped(ctx context.Context, c Container) (Exit, error) {
	if !c.Running() {
		return c.exit(), nil
	}
	conn, _, err := e.knock(c.ID, doorRequest{Op: "wait"})
	if errors.Is(err, errNoMonitor) {
		select {
		case <-e.whenOver(c.ID):
		case <-ctx.Done():
			return Exit{}, context.Cause(ctx)
		}
		now, err := e.load(c.ID)
		if isNotFound(err) { // it was to be removed
			return Exit{}, nil
		}
		return now.exit(), err
	}
	if err != nil {
		return Exit{}, fmt.Errorf("wait for container %s: %w", c.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	buf := make([]byte, 1+frameSize)
	for {
		kind, data, err := readFrame(conn, buf)
		if err != nil {
			break
		}
		if kind == frameExit {
			var exit Exit
			if err := json.Unmarshal(data, &exit); err != nil {
				return Exit{}, fmt.Errorf("wait for container %s: %w", c.Name, err)
			}
			e.settled(ctx, conn, buf)
			return exit, nil
		}
	}
	if ctx.Err() != nil {
		return Exit{}, context.Cause(ctx)
	}
	if now, err := e.load(c.ID); err == nil && !now.Running() {
		return now.exit(), nil
	}
	return Exit{Code: 137, Signal: 9}, nil // the monitor was killed, and took it along
}

// settled waits, for a moment, until the monitor has closed the books: a
// container that waits to be started again keeps it open.
func (e *Engine) settled(ctx context.Context, conn interface{ Read([]byte) (int, error) }, buf []byte) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, _, err := readFrame(conn, buf); err != nil {
				return
			}
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// WaitStates are the states that Wait knows.
func WaitStates() []string {
	return []string{"configured", "created", "exited", "healthy", "initialized", "paused", "removing", "running", "stopped", "stopping", "unhealthy", "unknown"}
}

// StartsWithSession says whether the container's policy wants it to run from
// the start of a session, or of the machine, on.
func (c Container) StartsWithSession() bool {
	return c.Restart.Name == "always" || c.Restart.Name == "unless-stopped" && !c.StoppedByUser
}

// Rename gives a container another name.
func (e *Engine) Rename(ctx context.Context, name, to string) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	if to == "" {
		return &Error{Op: "rename container " + c.Name, Err: errors.New("the new name is empty")}
	}
	if err := checkName(to); err != nil {
		return err
	}
	if to == c.Name {
		return &Error{Op: "rename container " + c.Name, Err: errors.New("that is its name already")}
	}
	if err := e.linkName(ctx, c.ID, to, false); err != nil {
		return err
	}
	was := ""
	now, err := e.change(c.ID, func(now *Container) { was, now.Name = now.Name, to })
	if err != nil {
		e.dropName(to, c.ID)
		if isNotFound(err) {
			return errNotFound(name)
		}
		return fmt.Errorf("rename container %s: %w", c.Name, err)
	}
	if was != to {
		e.dropName(was, c.ID)
	}
	e.emit(now.event("rename"))
	return nil
}
