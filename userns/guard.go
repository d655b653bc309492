package userns

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Guard is a process outside the container's pid namespace that kills its
// pid 1 as soon as the launcher is gone, however it went. A parent-death
// signal is not enough: a payload that is pid 1 can clear it.
type Guard struct {
	child *Child
	pipe  *os.File // the launcher's end; nobody else holds it
	reap  sync.Once
}

// StartGuard starts the guard of a child that has not been released yet.
func StartGuard(stub *os.File, pidfd *os.File) (*Guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the guard's pipe: %w", err)
	}
	defer r.Close()
	var p Program
	pr, pf, st := p.NewReg(), p.NewReg(), p.NewReg()
	// A session of its own, and deaf: a ^C on the terminal is not for it.
	p.Call("leave the session", unix.SYS_SETSID)
	all := p.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	p.Call("block signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, all, 0, 8)
	p.Call("leave the directory", unix.SYS_CHDIR, "/")
	p.Call("keep the pipe", unix.SYS_FCNTL, r.Fd(), unix.F_DUPFD_CLOEXEC, 3).To(pr)
	p.Call("keep the pidfd", unix.SYS_FCNTL, pidfd.Fd(), unix.F_DUPFD_CLOEXEC, 3).To(pf)
	p.Call("keep the stub", unix.SYS_FCNTL, stub.Fd(), unix.F_DUPFD_CLOEXEC, 3).To(st)
	p.Call("place the pipe", unix.SYS_DUP3, pr, 0, 0)
	p.Call("place the pidfd", unix.SYS_DUP3, pf, 1, 0)
	p.CloseExec(2)
	argv := []string{StubGuard, "0", "0"}
	p.Call("exec the guard", unix.SYS_EXECVEAT, st, "", p.Strings(argv), p.Strings(nil), unix.AT_EMPTY_PATH)
	c, err := Start(&p, 0)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	if err := c.Release(); err != nil {
		w.Close()
		c.Abort()
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &Guard{child: c, pipe: w}, nil
}

// Ready waits until the guard stands.
func (g *Guard) Ready() error {
	if err := g.child.WaitExec(); err != nil {
		return fmt.Errorf("start the guard: %w", err)
	}
	return nil
}

// Wait returns when the guard has ended, however.
func (g *Guard) Wait() {
	g.reap.Do(func() { _, _, _ = g.child.Wait() })
}

// Stop ends the guard (and kills the container, if it still runs) and reaps it.
func (g *Guard) Stop() {
	g.pipe.Close()
	g.Wait()
	g.child.Close()
}
