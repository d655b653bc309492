// Package foreground stands between the caller's terminal, streams and signals and
// a payload.
package foreground

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"coracle/internal/signals"
	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Run connects our standard streams with a process of the OCI runtime,
// passes signals on, and waits for its end. start gets what the process is to
// have as its standard streams and, with a terminal, the size of ours. Its
// context ends with a signal that asks us to end; if there is a process all the
// same by then, it gets the signal.
func Run(stdio Stdio, tty bool, start func(ctx context.Context, child [3]*os.File, size *specs.Box) (*spec.Process, error)) (syscall.WaitStatus, error) {
	s, err := New(stdio, tty, true)
	if err != nil {
		return 0, err
	}
	ws, _, err := s.Run(start)
	return ws, err
}

// Run is the function Run once the streams are made. left says that the user has
// left the process, see Typed: it goes on, and Console is somebody else's to hold.
func (s *Streams) Run(start func(ctx context.Context, child [3]*os.File, size *specs.Box) (*spec.Process, error)) (ws syscall.WaitStatus, left bool, err error) {
	told, err := CatchSignals()
	if err != nil {
		return 0, false, err
	}
	ctx, stop := untilTold(told)
	p, err := start(ctx, s.Child, s.Size())
	early := stop()
	if err != nil {
		s.Abandon()
		if cause := context.Cause(ctx); errors.Is(cause, errTold) && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return 0, false, err
	}
	if err := s.Start(p); err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
		return 0, false, err
	}
	forward := func(sig os.Signal) {
		if n, ok := sig.(syscall.Signal); ok {
			_ = p.Signal(n) // one that is gone is about to be noticed
		}
	}
	for _, sig := range early {
		forward(sig)
	}
	type end struct {
		ws  syscall.WaitStatus
		err error
	}
	ended := make(chan end, 1)
	go func() {
		ws, _, err := p.WaitPayload()
		ended <- end{ws, err}
	}()
	for {
		select {
		case sig := <-told:
			forward(sig)
		case x := <-ended:
			go p.Release() // the kernel takes its mounts apart while the caller tidies up; our end waits for it
			s.Finish(told, time.Duration(0))
			return x.ws, false, x.err
		case <-s.left:
			s.restore()
			return 0, true, nil
		}
	}
}

// Stdio are the standard streams of a command.
type Stdio struct{ Stdin, Stdout, Stderr *os.File }

// Code is the exit code for the end of a payload, by the custom of shells.
func Code(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// CatchSignals begins the time in which a signal is for the payload. SIGPIPE
// only makes our own writes fail.
func CatchSignals() (<-chan os.Signal, error) {
	told := make(chan os.Signal, 32)
	return told, cmp.Or(signals.KeepAfterPipe(), signals.Notify(told, forwarded()...))
}

// forwarded are the signals that are passed on. Those about our own children
// and our own terminal's size are not; SIGTSTP and SIGTTIN stop the launcher,
// as of any command, and not the container.
func forwarded() []syscall.Signal {
	out := []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM,
		unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGTRAP, unix.SIGSYS, unix.SIGXCPU, unix.SIGXFSZ}
	const sigRTMin, sigRTMax = 34, 64 // as libc counts
	for n := syscall.Signal(sigRTMin); n <= sigRTMax; n++ {
		out = append(out, n)
	}
	return out
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
