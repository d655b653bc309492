package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"coracle/fuse"
	"coracle/internal/hire"
	"coracle/internal/plainfile"
	"coracle/internal/signals"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// A monitor is this program once more, one for each detached container: in the
// launcher's place it holds what the launcher of a container in the foreground
// holds, the lock, the guard and the payload's streams; it writes the log,
// serves those who attach, starts the payload again where its policy says so,
// and writes down how it ended. It has no terminal and no session of anybody's.
// When it is killed the guard ends the container, and the next command the books.
type monitor struct {
	*run
	hub     *hub
	checker *checker     // nil without a health check
	conn    *hire.Hearer // who started it, until the payload runs for the first time
	door    *door

	mu      sync.Mutex
	process *spec.Process // nil while none runs
	stop    chan struct{} // closed when somebody asks for the end
	stopped sync.Once
	past    atomic.Bool // the reports are closed
	anew    atomic.Bool // it is to be started again whatever the policy says
}

// MonitorMain is the monitor's main function; it returns the exit code.
func MonitorMain(conn *hire.Hearer) int {
	_ = plainfile.Write("/proc/self/comm", []byte("coracle:monitor"), 0, 0) // else ps -o comm shows "exe"
	m := &monitor{conn: conn, stop: make(chan struct{})}
	err := m.begin(context.Background())
	if err == nil {
		err = m.live(context.Background())
	}
	if errors.Is(err, hire.ErrNoOrder) {
		return 1 // it is not needed after all
	}
	if err != nil {
		m.fail(err)
		return 1
	}
	return 0
}

// fail says why the payload does not run, to who started it.
func (m *monitor) fail(err error) {
	var coded interface{ ExitCode() int }
	code := 125
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	var hint string
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		hint = hinted.Hint()
	}
	_ = m.conn.Tell(reportLine{Error: err.Error(), Hint: hint, Code: code})
}

// warn tells who waits for the start; nobody is there to be told afterwards.
func (m *monitor) warn(msg, hint string) {
	if !m.past.Load() {
		_ = m.conn.Tell(reportLine{Warning: msg, Hint: hint})
	}
}

// live starts the payload, again and again where it is to be, until the
// container has ended.
func (m *monitor) live(ctx context.Context) error {
	told := make(chan os.Signal, 8)
	err := cmp.Or(signals.KeepAfterPipe(), signals.Notify(told, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP))
	if err != nil {
		return err
	}
	defer m.run.close()
	go m.endOnSignal(told)
	wait := backOff{}
	for first := true; ; first = false {
		p, err := m.launch(ctx)
		if err != nil && first {
			m.notStarted(err)
			return err
		}
		exit := Exit{Code: 125}
		if err == nil {
			if first {
				_ = m.conn.Tell(reportLine{PID: p.PID})
				m.past.Store(true)
				m.conn.Close()
			}
			go m.e.syncRecord(m.id)
			exit = m.attend(p)
		}
		again := m.again(exit)
		m.settle(ctx, exit, err, again)
		if !again || !wait.sleep(m.ended.Sub(m.started), m.stop) {
			m.leave(ctx)
			return nil
		}
	}
}

// launch starts the payload.
func (m *monitor) launch(ctx context.Context) (*spec.Process, error) {
	m.started = time.Now()
	p, err := m.tryLaunch(ctx)
	if err != nil {
		m.ended = time.Now()
		return nil, err
	}
	m.mu.Lock()
	m.process = p
	m.mu.Unlock()
	health := m.checker.reset()
	// On the disk once the launcher has its answer: after a power cut nothing runs
	// whatever the record says.
	c, err := m.e.rewrite(m.id, false, func(c *Container) {
		c.Health = health
		c.Status, c.Started, c.Finished, c.Error = Running, m.started.UTC(), time.Time{}, ""
		c.Ports, c.NetworkLost = m.box.Ports, m.netLost.Load()
		c.ExitCode, c.Signal, c.OOMKilled, c.OOMKills, c.TimedOut = 0, 0, false, 0, false
	})
	if err != nil {
		_ = p.Signal(unix.SIGKILL)
		m.attend(p)
		return nil, fmt.Errorf("write down that container %s runs: %w", m.box.Name, err)
	}
	m.box.Container = c
	m.e.emit(c.event("init"), c.event("start"))
	return p, nil
}

func (m *monitor) tryLaunch(ctx context.Context) (*spec.Process, error) {
	s := m.result.Spec
	err := m.currentLimits()
	if err != nil {
		return nil, err
	}
	if err := m.root.open(); err != nil {
		return nil, err
	}
	defer m.root.close()
	if m.rootfs == nil {
		m.rootfs = sync.OnceValues(func() (*fuse.Rootfs, error) { return m.root.choose(ctx, m.box.dir, false) })
	}
	if err := m.assemble(); err != nil {
		return nil, err
	}
	if m.extra.Stdio, err = m.hub.streams(s.Process.Terminal); err != nil {
		return nil, err
	}
	defer m.hub.handedOver()
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	if m.extra.FuseLog != nil {
		defer m.extra.FuseLog.Close()
	}
	if m.o.PID == "host" {
		if err := adoptOrphans(); err != nil {
			return nil, err
		}
	}
	m.useCgroup(m.box.rt)
	config, release, err := m.join()
	if err != nil {
		return nil, err
	}
	defer release()
	st, p, err := m.box.rt.Run(ctx, m.id, spec.CreateOptions{
		Bundle: m.box.dir, Config: config, Final: true, Extra: m.extra, Guarded: true, PIDFile: m.o.PIDFile,
		Implied: m.result.Implied, Cgroup: m.earlyCgroup(), WritableCgroup: m.result.WritableCgroup,
	})
	if err != nil {
		_, err = m.explain(err)
		return nil, err
	}
	m.state = st
	m.newborn, m.early = nil, nil // the next start has its own
	m.hub.serve(p.Console)
	if err := m.attach(p); err != nil {
		_ = p.Signal(unix.SIGKILL)
		m.attend(p)
		return nil, err
	}
	return p, nil
}

// attend waits for the payload's end, and for the last of its output.
func (m *monitor) attend(p *spec.Process) Exit {
	trim := trimLater()
	defer trim.Stop()
	var timedOut atomic.Bool
	if m.o.Timeout > 0 {
		t := time.AfterFunc(m.o.Timeout, func() {
			timedOut.Store(true)
			_ = p.Signal(unix.SIGKILL)
		})
		defer t.Stop()
	}
	endChecks := m.checker.begin()
	watch := watchOOM(m.state.Cgroup, func() { m.e.emit(m.box.event("oom")) })
	ws, ru, err := p.WaitPayload()
	m.ended = time.Now()
	m.disconnect()
	endChecks()
	if ru != nil {
		m.usage = *ru
	}
	exit := exitOf(ws)
	if err != nil {
		exit = Exit{Code: 125}
	}
	exit.TimedOut = timedOut.Load()
	m.measure(watch, &exit)
	m.mu.Lock()
	m.process = nil
	m.mu.Unlock()
	p.Release()
	if m.o.PID == "host" {
		endOrphans()
	}
	m.hub.drain()
	return exit
}

// again says whether the policy wants another start.
func (m *monitor) again(exit Exit) bool {
	select {
	case <-m.stop:
		return false
	default:
	}
	c, err := readRecord(m.box.dir)
	if err != nil || c.StoppedByUser {
		return false
	}
	if m.anew.Swap(false) {
		return true
	}
	switch c.Restart.Name {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return exit.Code != 0 && (c.Restart.Max == 0 || c.Restarts < c.Restart.Max)
	}
	return false
}

// settle writes down how the payload ended, and removes its state.
func (m *monitor) settle(ctx context.Context, exit Exit, startErr error, again bool) {
	if m.o.Report != "" && !again {
		if err := m.report(exit, startErr); err != nil {
			m.hub.note("write the report: " + err.Error())
		}
	}
	if m.o.PIDFile != "" {
		os.Remove(m.o.PIDFile)
	}
	var stateErr error
	if m.state != nil {
		stateErr = m.box.forget(ctx)
	}
	c, err := m.e.change(m.id, func(c *Container) {
		m.tellEnd(c, exit)
		if startErr != nil {
			c.Error = startErr.Error()
		}
		if again {
			c.Restarts++
		}
	})
	if err == nil {
		m.box.Container = c
		m.e.emit(c.died())
	}
	if err := errors.Join(stateErr, err); err != nil && !isNotFound(err) {
		m.hub.note("end the books of the container: " + err.Error())
	}
	m.hub.ended(exit, again)
}

// notStarted is the end of a container whose first start failed: it stays as it was.
func (m *monitor) notStarted(err error) {
	_, _ = m.e.change(m.id, func(c *Container) { c.Error = err.Error() })
	m.door.close()
	m.hub.close()
	m.box.close()
}

// leave is the end of the monitor: the container stays, or goes with --rm.
func (m *monitor) leave(ctx context.Context) {
	m.door.close()
	m.hub.endLog() // who sees the container ended reads all of it
	if m.box.Remove {
		if m.box.remove(ctx) {
			m.e.emit(m.box.event("remove"))
		}
	} else {
		m.box.close()
	}
	m.hub.close() // now: who waits on a connection finds the books closed
}

// endOnSignal ends the container when the monitor is told to end, as at
// shutdown: as stop does.
func (m *monitor) endOnSignal(told <-chan os.Signal) {
	for sig := range told {
		if sig == unix.SIGHUP {
			m.reloadRules() // the session is not ours
			continue
		}
		m.askToStop()
		m.endInOrder()
	}
}

// askToStop keeps the payload from being started again.
func (m *monitor) askToStop() { m.stopped.Do(func() { close(m.stop) }) }

// signal sends a signal to the payload, if it runs.
func (m *monitor) signal(sig syscall.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		_ = m.process.Signal(sig)
	}
}
