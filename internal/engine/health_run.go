package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"coracle/spec"

	"golang.org/x/sys/unix"
)

// checker looks after the health of a monitor's container, in one life of the
// payload after the other: reset, begin, and the end that this returns.
type checker struct {
	m     *monitor
	check HealthCheck

	one sync.Mutex // a check at a time

	mu      sync.Mutex
	health  Health
	started time.Time
	life    context.Context // ends with the payload; nil before the first
	end     context.CancelFunc
	acted   bool // what was to be done about its being unhealthy
}

// errNoHealthCheck is the answer to a check of a container without one.
var errNoHealthCheck = errors.New("it has no health check")

// reset is for the start of the payload: nothing is known. It says which word
// the record gets.
func (k *checker) reset() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.health, k.acted, k.started = Health{Status: healthStarting}, false, time.Now()
	k.life, k.end = context.WithCancel(context.Background())
	if err := k.health.save(k.m.box.dir); err != nil {
		k.m.hub.note(err.Error())
	}
	return k.health.Status
}

// begin checks again and again until end is called, which does not wait for
// what a check has started: that is killed.
func (k *checker) begin() (end func()) {
	if k == nil {
		return func() {}
	}
	k.mu.Lock()
	ctx, cancel := k.life, k.end
	k.mu.Unlock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		k.loop(ctx)
	}()
	return func() {
		cancel()
		select {
		case <-over:
		case <-time.After(time.Second): // a process that cannot be killed now: it is not waited for
		}
	}
}

func (k *checker) loop(ctx context.Context) {
	if k.check.Interval == 0 {
		return
	}
	for {
		if _, err := k.once(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spec.ErrPaused) {
			k.m.hub.note("check the health: " + err.Error())
		}
		k.mu.Lock()
		wait := k.health.wait(k.check, k.started, time.Now())
		k.mu.Unlock()
		trim := trimLater()
		select {
		case <-time.After(wait):
			trim.Stop()
		case <-ctx.Done():
			trim.Stop()
			return
		}
	}
}

// once does one check and draws the conclusions. An error says why there was none.
func (k *checker) once(ctx context.Context) (Health, error) {
	k.one.Lock()
	defer k.one.Unlock()
	st, err := k.m.box.rt.Load(k.m.id)
	if err != nil {
		return Health{}, err
	}
	if st.Status().Status == spec.StatePaused {
		return Health{}, spec.ErrPaused
	}
	var stub *os.File
	if pid := k.m.o.PID; pid != "" && pid != "private" {
		if stub, err = k.m.stub(); err != nil {
			return Health{}, err
		}
	}
	r := runCheck(ctx, st, k.check, stub)
	if r.ExitCode == 128+int(unix.SIGKILL) {
		// The end of the container kills its checks before we hear of it.
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	switch {
	case ctx.Err() != nil: // what the end of the container did to it says nothing
		return Health{}, spec.ErrNotRunning
	case r.ExitCode != 0 && st.Status().Status == spec.StatePaused: // it was frozen with the others
		return Health{}, spec.ErrPaused
	}
	k.mu.Lock()
	was := k.health.Status
	k.health = k.health.after(r, k.check, k.started)
	now := k.health
	act := now.Status == healthBad && !k.acted
	k.acted = k.acted || act
	k.mu.Unlock()
	err = now.save(k.m.box.dir)
	err = errors.Join(err, k.tell(now, was != now.Status))
	if act {
		k.act()
	}
	return now, err
}

// tell writes down what a check has found, where it is news, and makes an event
// of each, as podman does in all its versions; docker has one where it is news.
func (k *checker) tell(h Health, news bool) error {
	var c Container
	var err error
	if news {
		c, err = k.m.e.change(k.m.id, func(c *Container) { c.Health = h.Status })
	} else {
		c, err = readRecord(k.m.box.dir)
	}
	if err != nil {
		return err
	}
	ev := c.event("health_status")
	ev.HealthStatus = h.Status
	k.m.e.emit(ev)
	return nil
}

// act does what --health-on-failure says.
func (k *checker) act() {
	switch k.check.OnFailure {
	case "kill":
		k.m.hub.note("unhealthy: killed")
		k.m.signal(unix.SIGKILL)
	case "stop":
		k.m.hub.note("unhealthy: stopped")
		_, _ = k.m.e.change(k.m.id, func(c *Container) { c.StoppedByUser = true })
		k.m.askToStop()
		k.m.endInOrder()
	case "restart":
		k.m.hub.note("unhealthy: restarted")
		k.m.anew.Store(true)
		k.m.endInOrder()
	}
}

// healthAnswer is what a monitor says of a check that it was asked for.
type healthAnswer struct {
	Health Health
	Error  string `json:",omitempty"`
}

// answerCheck does a check for somebody who asked for it.
func (m *monitor) answerCheck(conn *os.File) {
	defer conn.Close()
	var a healthAnswer
	err := errNoHealthCheck
	if k := m.checker; k != nil {
		k.mu.Lock()
		life := k.life
		k.mu.Unlock()
		if err = spec.ErrNotRunning; life != nil {
			a.Health, err = k.once(life)
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	// What is short enough for one message: the last result is what counts.
	if n := len(a.Health.Log); n > 1 {
		a.Health.Log = a.Health.Log[n-1:]
	}
	said, err := json.Marshal(a)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Write(append([]byte{frameHealth}, said...))
	}
}

// CheckHealth runs a container's health check now. The result is the last of
// the Log.
func (e *Engine) CheckHealth(ctx context.Context, name string) (Health, error) {
	c, err := e.find(name)
	if err != nil {
		return Health{}, err
	}
	op := "check the health of container " + c.Name
	if c.Health == "" && c.ID != "" {
		if p, err := e.readBlueprint(c.ID); err != nil || p.Health == nil {
			return Health{}, &Error{Op: op, Err: errNoHealthCheck, Help: "coracle run --health-cmd gives it one"}
		}
	}
	if !c.Running() {
		return Health{}, &Error{Op: op, Err: fmt.Errorf("it is not running but %s", c.Status), Help: "coracle start " + c.Name}
	}
	if c.Status == Paused {
		return Health{}, &Error{Op: op, Err: spec.ErrPaused, Help: "coracle unpause " + c.Name}
	}
	conn, _, err := e.knock(c.ID, doorRequest{Op: "healthcheck"})
	if err != nil {
		return Health{}, fmt.Errorf("%s: %w", op, err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	kind, data, err := readFrame(conn, make([]byte, 1+frameSize))
	if ctx.Err() != nil {
		return Health{}, context.Cause(ctx)
	}
	var a healthAnswer
	switch {
	case err != nil:
	case kind != frameHealth:
		err = fmt.Errorf("its monitor answers with a %q", kind)
	default:
		err = json.Unmarshal(data, &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return Health{}, fmt.Errorf("%s: %w", op, err)
	}
	return a.Health, nil
}

// endInOrder ends the payload as stop does.
func (m *monitor) endInOrder() {
	m.signal(syscall.Signal(m.box.StopSignal))
	m.mu.Lock()
	p := m.process
	m.mu.Unlock()
	t := m.box.StopTimeout
	if t < 0 {
		return
	}
	time.AfterFunc(t, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.process != nil && (p == nil || m.process == p) { // and not the one after it
			_ = m.process.Signal(unix.SIGKILL)
		}
	})
}
