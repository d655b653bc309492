package engine

import (
	"os"
	"syscall"
	"time"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Foreground connects our standard streams with a process of the OCI runtime,
// passes signals on, and waits for its end. start gets what the process is to
// have as its standard streams and, with a terminal, the size of ours.
func Foreground(stdio Stdio, tty bool, start func(child [3]*os.File, size *specs.Box) (*spec.Process, error)) (Exit, error) {
	s, err := newStreams(RunOptions{Stdin: stdio.Stdin, Stdout: stdio.Stdout, Stderr: stdio.Stderr,
		Options: spec.Options{TTY: tty, Interactive: true}})
	if err != nil {
		return Exit{}, err
	}
	told, err := catchSignals()
	if err != nil {
		return Exit{}, err
	}
	p, err := start(s.child, s.size())
	if err != nil {
		s.abandon()
		return Exit{}, err
	}
	if err := s.start(p); err != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
		return Exit{}, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case sig := <-told:
				if n, ok := sig.(syscall.Signal); ok {
					_ = p.Signal(n) // one that is gone is about to be noticed
				}
			case <-ended:
				return
			}
		}
	}()
	ws, _, err := p.Wait()
	close(ended)
	s.finish(told, time.Duration(0))
	return exitOf(ws), err
}
