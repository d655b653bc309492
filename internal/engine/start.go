package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// StartOptions say how a container that is there is started.
type StartOptions struct {
	Attach bool
	AttachOptions
}

// Start starts a container that was created or has ended. It runs under a
// monitor from then on. Without Attach the Exit says nothing.
func (e *Engine) Start(ctx context.Context, name string, o StartOptions) (Exit, error) {
	c, err := e.find(name)
	if err != nil {
		return Exit{Code: 125}, err
	}
	keys, err := parseDetachKeys(o.DetachKeys)
	if err != nil {
		return Exit{Code: 125}, err
	}
	if c.Running() && o.Attach {
		return e.Attach(ctx, name, o.AttachOptions)
	}
	if c.Running() {
		return Exit{}, nil // as podman and docker: it is what was asked for
	}
	if err := e.startOwners(ctx, c); err != nil {
		return Exit{Code: 125}, err
	}
	b, err := e.holdStopped(ctx, c)
	if err != nil {
		return Exit{Code: 125}, err
	}
	if b == nil { // somebody else has started it this moment
		return e.Start(ctx, c.ID, o)
	}
	return e.startHeld(ctx, b, o, keys)
}

// startHeld starts a container whose lock is ours, which goes to its monitor.
func (e *Engine) startHeld(ctx context.Context, b *box, o StartOptions, keys []byte) (Exit, error) {
	if !o.Attach {
		return Exit{}, e.spawn(b, nil)
	}
	p, err := e.readBlueprint(b.ID)
	if err != nil {
		b.close()
		return Exit{Code: 125}, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		b.close()
		return Exit{Code: 125}, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "monitor"), os.NewFile(uintptr(fds[1]), "client")
	s := &session{e: e, id: b.ID, conn: ours, o: o.AttachOptions, keys: keys, tty: p.Options.TTY, stdin: p.Options.Interactive && !o.NoStdin}
	if s.tty {
		s.sendSize() // before the payload can ask for it
	}
	err = e.spawn(b, theirs)
	theirs.Close()
	if err != nil {
		ours.Close()
		return Exit{Code: 125}, err
	}
	return s.attend(ctx)
}

// holdStopped takes the lock of a container that does not run; nil when it
// turns out that it does.
func (e *Engine) holdStopped(ctx context.Context, c Container) (*box, error) {
	op := "start container " + c.Name
	if err := e.mayChange(); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	lock, err := e.claim(c.ID, c.ImageID)
	for range 1000 { // ten seconds: another start is on its way, or the last monitor
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if now, lerr := e.load(c.ID); lerr == nil && now.Running() {
			return nil, nil
		}
		time.Sleep(10 * time.Millisecond)
		lock, err = e.claim(c.ID, c.ImageID)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &Error{Op: op, Err: errors.New("another command is at it"), Help: "see what holds it: fuser -v " + e.runningFile(c.ID)}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	b := &box{Container: c, e: e, dir: e.containerDir(c.ID), rt: e.runtime(e.ownRunDir(c.ID)), lock: lock}
	// What a launcher that was killed has left of the last run.
	if err := e.forget(ctx, c.ID); err != nil {
		b.close()
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	killed := false // with its monitor, and nobody has noticed yet
	if b.Container, err = e.change(c.ID, func(c *Container) {
		if killed = c.Status == Running; killed {
			c.Status, c.ExitCode, c.Signal = Stopped, 137, 9
		}
		c.Detached, c.StoppedByUser, c.Restarts = true, false, 0
	}); err != nil {
		b.close()
		if isNotFound(err) {
			return nil, errNotFound(c.Name)
		}
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if killed {
		e.emit(b.died())
	}
	return b, nil
}
