package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kill kills everything in the cgroup and below, frozen or not, and waits
// until the last process has ended, for ten seconds at most. A cgroup that is
// gone has nothing to kill.
func (c *Cgroup) Kill(ctx context.Context) error {
	if c.dir == nil {
		return fmt.Errorf("kill: %w", ErrNone)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := c.write("cgroup.kill", "1")
	switch {
	case err == nil:
		err = c.empty(ctx)
	case errors.Is(err, ErrGone):
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.EOPNOTSUPP):
		// Before 5.14, or a threaded cgroup.
		err = c.killEach(ctx)
	}
	if err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("kill cgroup %s: %w", c.ref.Path, err)
	}
	return nil
}

// killEach does by hand what cgroup.kill does: it holds everything still, so
// that nothing forks away from the list, and kills what is on it. What was
// between fork and the list is found by the next round.
func (c *Cgroup) killEach(ctx context.Context) error {
	for range 50 {
		if err := c.Signal(ctx, unix.SIGKILL); err != nil {
			return err
		}
		_ = c.setFreeze("0")
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		err := c.empty(short)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return fmt.Errorf("%w after 50 rounds of SIGKILL", ErrNotEmpty)
}

// empty waits until no process is left.
func (c *Cgroup) empty(ctx context.Context) error {
	return c.until(ctx, func(e map[string]uint64) bool { return e["populated"] == 0 })
}

// Signal sends a signal to each process of the cgroup and below. They are
// frozen meanwhile where the kernel can, so that none is missed; a cgroup that
// was frozen stays so, and gets the signal when it is thawed.
func (c *Cgroup) Signal(ctx context.Context, sig unix.Signal) error {
	if c.dir == nil {
		return fmt.Errorf("signal: %w", ErrNone)
	}
	frozen, err := c.Frozen()
	if err != nil {
		return err
	}
	if !frozen {
		// What cannot be frozen (D state) can still be signalled.
		if err := c.Freeze(ctx); err == nil {
			defer func() { _ = c.Thaw() }()
		} else if errors.Is(err, ErrGone) {
			return err
		}
	}
	pids, err := c.Procs()
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(pids, 256) {
		if err := c.signalChunk(chunk, sig); err != nil {
			return err
		}
	}
	return nil
}

// signalChunk signals some processes. A pid that is read may be another's when
// it is signalled: so each is taken hold of first, and only what is on the list
// even then gets it.
func (c *Cgroup) signalChunk(pids []int, sig unix.Signal) error {
	fds := map[int]int{}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		switch err {
		case nil:
			fds[pid] = fd
		case unix.ENOSYS: // before 5.3
			fds[pid] = -1
		}
	}
	still, err := c.Procs()
	if err != nil {
		return err
	}
	for pid, fd := range fds {
		if _, ok := slices.BinarySearch(still, pid); !ok {
			continue
		}
		if fd >= 0 {
			err = unix.PidfdSendSignal(fd, sig, nil, 0)
		} else {
			err = unix.Kill(pid, sig)
		}
		if err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return nil
}
