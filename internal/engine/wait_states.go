package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

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
