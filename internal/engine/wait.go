package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"coracle/spec"
)

// wait forwards signals until the payload ends; p.Release must follow.
func (r *run) wait(p *spec.Process, told <-chan os.Signal, ooms <-chan struct{}) (Exit, error) {
	type end struct {
		ws  syscall.WaitStatus
		ru  *syscall.Rusage
		err error
	}
	ended := make(chan end, 1)
	go func() {
		ws, ru, err := p.WaitPayload()
		ended <- end{ws, ru, err}
	}()
	r.hadTerminal = r.o.AllowNetFile != "" && haveTerminal()
	var timeout <-chan time.Time
	if r.o.Timeout > 0 {
		t := time.NewTimer(r.o.Timeout)
		defer t.Stop()
		timeout = t.C
	}
	defer trimLater().Stop()
	// Most containers end within a moment, before anybody could have looked at
	// them: these have no state, and with --rm no record either.
	moment := time.NewTimer(20 * time.Millisecond)
	defer moment.Stop()
	timedOut := false
	for {
		select {
		case sig := <-told:
			r.forward(p, sig)
		case <-moment.C:
			r.show(p)
		case <-ooms:
			r.news = append(r.news, r.box.event("oom"))
			if r.shown {
				r.tell()
			}
		case <-timeout:
			timedOut = true
			_ = p.Signal(unix.SIGKILL)
		case x := <-ended:
			r.ended = time.Now()
			if x.err != nil {
				return Exit{Code: 125}, x.err
			}
			r.usage = *x.ru
			exit := exitOf(x.ws)
			exit.TimedOut = timedOut
			return exit, nil
		}
	}
}

func (r *run) forward(p *spec.Process, sig os.Signal) {
	if sig == unix.SIGHUP && r.o.AllowNetFile != "" && !r.hungUp() {
		r.reloadRules()
		return
	}
	if n, ok := sig.(syscall.Signal); ok && r.o.SigProxy {
		_ = p.Signal(n) // a container that is gone is about to be noticed
	}
}

func exitOf(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	}
	return Exit{Code: ws.ExitStatus()}
}

// tellEnd says in a record how its payload ended.
func (r *run) tellEnd(c *Container, exit Exit) {
	c.Status, c.Finished = Stopped, r.ended.UTC()
	c.ExitCode, c.Signal, c.TimedOut = exit.Code, exit.Signal, exit.TimedOut
	c.OOMKilled, c.OOMKills = exit.OOMKilled, r.oomKills
}

// finish ends the books: the record stays, or all of it goes with --rm.
func (r *run) finish(ctx context.Context, exit Exit, runErr error) error {
	b := r.box
	if r.ended.IsZero() {
		r.ended = time.Now()
	}
	r.disconnect() // the report has all flows
	if r.o.Report != "" {
		// The payload's own exit code counts for more than a record of it.
		if err := r.report(exit, runErr); err != nil {
			r.e.warn(fmt.Sprintf("write the report: %v", err), "")
		}
	}
	if data, err := os.ReadFile(r.o.PIDFile); r.wrotePID && err == nil && string(data) == strconv.Itoa(r.state.Pid) {
		os.Remove(r.o.PIDFile) // still ours
	}
	if r.state != nil && r.state.Recorded() {
		if err := b.forget(ctx); err != nil {
			r.e.warn(fmt.Sprintf("remove the state of container %.12s: %v", b.ID, err), "")
		}
	}
	r.leaveEarly() // while running/ID still names the cgroup
	r.tellEnd(&b.Container, exit)
	// A container whose payload never ran is of no use to anybody.
	if r.o.Remove || runErr != nil {
		if r.wroteCID && runErr != nil {
			os.Remove(r.o.CIDFile)
		}
		gone := b.remove(ctx)
		if runErr == nil {
			r.news = append(r.news, b.died())
			if gone {
				r.news = append(r.news, b.event("remove"))
			}
		}
		r.tell()
		return nil
	}
	// What other commands have written meanwhile stays: update, rename, stop.
	now, err := r.e.change(b.ID, func(c *Container) { r.tellEnd(c, exit) })
	if err == nil {
		b.Container = now
	}
	r.news = append(r.news, b.died())
	r.tell()
	b.close()
	return err
}
