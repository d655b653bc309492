package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Foreground connects our standard streams with a process of the OCI runtime,
// passes signals on, and waits for its end. start gets what the process is to
// have as its standard streams and, with a terminal, the size of ours. Its
// context ends with a signal that asks us to end; if there is a process all the
// same by then, it gets the signal.
func Foreground(stdio Stdio, tty bool, start func(ctx context.Context, child [3]*os.File, size *specs.Box) (*spec.Process, error)) (Exit, error) {
	s, err := newStreams(RunOptions{Stdin: stdio.Stdin, Stdout: stdio.Stdout, Stderr: stdio.Stderr,
		Options: spec.Options{TTY: tty, Interactive: true}})
	if err != nil {
		return Exit{}, err
	}
	told, err := catchSignals()
	if err != nil {
		return Exit{}, err
	}
	ctx, stop := untilTold(told)
	p, err := start(ctx, s.child, s.size())
	early := stop()
	if err != nil {
		s.abandon()
		if cause := context.Cause(ctx); errors.Is(cause, errTold) && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return Exit{}, err
	}
	if err := s.start(p); err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
		return Exit{}, err
	}
	forward := func(sig os.Signal) {
		if n, ok := sig.(syscall.Signal); ok {
			_ = p.Signal(n) // one that is gone is about to be noticed
		}
	}
	for _, sig := range early {
		forward(sig)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-told:
				forward(sig)
			case <-ended:
				return
			}
		}
	}()
	ws, _, err := p.WaitPayload()
	go p.Release() // the kernel takes its mounts apart while the caller tidies up; our end waits for it
	close(ended)
	s.finish(told, time.Duration(0))
	return exitOf(ws), err
}

var errTold = errors.New("stopped while it was being started")

// untilTold is a context that ends with a signal to end. stop returns all
// signals that came until then.
func untilTold(told <-chan os.Signal) (_ context.Context, stop func() []os.Signal) {
	ctx, cancel := context.WithCancelCause(context.Background())
	over, came := make(chan struct{}), make(chan []os.Signal)
	go func() {
		var all []os.Signal
		for {
			select {
			case sig := <-told:
				all = append(all, sig)
				switch sig {
				case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
					cancel(fmt.Errorf("%w, by the signal %s", errTold, sig))
				}
			case <-over:
				came <- all
				return
			}
		}
	}()
	return ctx, func() []os.Signal {
		close(over)
		all := <-came
		cancel(nil)
		return all
	}
}
