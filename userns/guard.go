package userns

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Guard is a process outside the container's pid namespace that kills its
// pid 1 as soon as the launcher is gone, however it went. A parent-death
// signal is not enough: a payload that is pid 1 can clear it.
type Guard struct {
	pid  int
	pipe int // the launcher's end; nobody else holds it
	reap sync.Once
	stop sync.Once
}

// StartGuard starts the guard of a child that has not been released yet. It
// needs no steps of its own in a copy of our memory: the stub closes what it
// inherits and turns deaf by itself.
func StartGuard(stub *os.File, pidfd *os.File) (*Guard, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make the guard's pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	// By its number there: ForkExec moves a pipe of its own out of the way of
	// Files, and may put it where the stub is here.
	pid, err := syscall.ForkExec("/proc/self/fd/2", []string{StubGuard, "0", "0"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []uintptr{uintptr(pipe[0]), pidfd.Fd(), stub.Fd()}, // the stub closes all but the first two
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		unix.Close(pipe[1])
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &Guard{pid: pid, pipe: pipe[1]}, nil
}

// Wait returns when the guard has ended, however.
func (g *Guard) Wait() {
	g.reap.Do(func() {
		for {
			if _, err := syscall.Wait4(g.pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
}

// HangUp lets the guard end, and kill the container if it still runs; Wait says
// when it has.
func (g *Guard) HangUp() { g.stop.Do(func() { unix.Close(g.pipe) }) }

// Stop is both.
func (g *Guard) Stop() {
	g.HangUp()
	g.Wait()
}
