package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Kill sends a signal to the container's first process, or with all to every
// process in it.
func (c *Container) Kill(ctx context.Context, sig syscall.Signal, all bool) error {
	if all {
		return c.killAll(ctx, sig)
	}
	f, err := c.process()
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return &idError{c.ID, ErrNotRunning}
	}
	if err != nil {
		return fmt.Errorf("send signal %d to container %s: %w", sig, c.ID, err)
	}
	if sig == unix.SIGKILL && c.frozen() {
		// A frozen process dies when it thaws only.
		if cg, err := c.cgroup(); err == nil {
			defer cg.Close()
			return cg.Thaw()
		}
	}
	return nil
}

// killAll signals what is in the cgroup, or without one in the pid namespace.
func (c *Container) killAll(ctx context.Context, sig syscall.Signal) error {
	cg, err := c.cgroup()
	if err == nil {
		defer cg.Close()
		if sig == unix.SIGKILL {
			err = cg.Kill(ctx)
		} else {
			err = cg.Signal(ctx, sig)
		}
		if !errors.Is(err, cgroupv2.ErrNone) {
			return err
		}
	} else if errors.Is(err, cgroupv2.ErrGone) && !c.alive() {
		return nil
	}
	if sig == unix.SIGKILL || !c.OwnPIDNamespace() {
		return c.Kill(ctx, sig, false)
	}
	pids, err := c.inPIDNamespace()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("send signal %d to process %d: %w", sig, pid, err)
		}
	}
	return nil
}

// OwnPIDNamespace says whether the container has a pid namespace that is not ours:
// then all its processes end with the first.
func (c *Container) OwnPIDNamespace() bool {
	var st unix.Stat_t
	return c.Namespaces["pid"] != 0 && unix.Stat("/proc/self/ns/pid", &st) == nil && st.Ino != c.Namespaces["pid"]
}

// Processes are the pids, as we see them, of what runs in the container: of its
// cgroup, and without one of its pid namespace.
func (c *Container) Processes() ([]int, error) {
	if c.status() == specs.StateStopped {
		return nil, &idError{c.ID, ErrNotRunning}
	}
	cg, err := c.cgroup()
	if err == nil {
		defer cg.Close()
		pids, err := cg.Procs()
		if !errors.Is(err, cgroupv2.ErrNone) {
			return pids, err
		}
	}
	if !c.OwnPIDNamespace() {
		return []int{c.Pid}, nil
	}
	return c.inPIDNamespace()
}

// inPIDNamespace looks at every process for those of the container's pid
// namespace.
func (c *Container) inPIDNamespace() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+e.Name()+"/ns/pid", &st) == nil && st.Ino == c.Namespaces["pid"] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Pause freezes all processes of the container.
func (c *Container) Pause(ctx context.Context) error {
	switch st := c.status(); st {
	case specs.StateRunning, specs.StateCreated:
	case StatePaused:
		return &idError{c.ID, ErrPaused}
	default:
		return &idError{c.ID, ErrNotRunning}
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	defer cg.Close()
	if err := cg.Freeze(ctx); err != nil {
		return fmt.Errorf("pause container %s: %w", c.ID, explainNone(cg, err))
	}
	return nil
}

// Resume is the reverse of Pause.
func (c *Container) Resume() error {
	if st := c.status(); st != StatePaused {
		if st == specs.StateStopped {
			return &idError{c.ID, ErrNotRunning}
		}
		return &idError{c.ID, ErrNotPaused}
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	defer cg.Close()
	if err := cg.Thaw(); err != nil {
		return fmt.Errorf("resume container %s: %w", c.ID, err)
	}
	return nil
}

func explainNone(cg *cgroupv2.Cgroup, err error) error {
	if errors.Is(err, cgroupv2.ErrNone) && cg.Reason() != "" {
		return fmt.Errorf("%w: %s", err, cg.Reason())
	}
	return err
}
