package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// OOMKills counts the processes that the kernel killed for want of memory, in
// the cgroup and below. The error is ErrUnsupported without the memory
// controller.
func (c *Cgroup) OOMKills() (uint64, error) {
	if c.dir == nil {
		return 0, fmt.Errorf("count OOM kills: %w", ErrNone)
	}
	s, err := c.read("memory.events")
	if errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrGone) {
		err = fmt.Errorf("%w: the cgroup does not have the memory controller", ErrUnsupported)
	}
	if err != nil {
		return 0, fmt.Errorf("count OOM kills: %w", err)
	}
	return keyValues(s)["oom_kill"], nil
}

// Room is how much memory the cgroup's own limit leaves; false where there is
// none, or it cannot be told.
func (c *Cgroup) Room() (uint64, bool) {
	if c == nil || c.dir == nil {
		return 0, false
	}
	var n [2]uint64
	for i, name := range []string{"memory.max", "memory.current"} {
		s, err := readAt(c.dir, name)
		if err != nil {
			return 0, false
		}
		if n[i], err = strconv.ParseUint(strings.TrimSpace(s), 10, 64); err != nil {
			return 0, false // max
		}
	}
	return n[0] - min(n[0], n[1]), true
}

// Watch calls oom with the new count whenever the kernel has killed processes
// for want of memory, and returns nil when the last process has ended or the
// cgroup is gone, or the context's error. Without the memory controller it
// only waits for the end. A cgroup that nothing runs in yet has ended.
func (c *Cgroup) Watch(ctx context.Context, oom func(kills uint64)) error {
	return c.watch(ctx, 10*time.Second, oom)
}

// watch looks again after most even when the kernel has not said anything.
func (c *Cgroup) watch(ctx context.Context, most time.Duration, oom func(kills uint64)) error {
	if c.dir == nil {
		return fmt.Errorf("watch: %w", ErrNone)
	}
	events, err := c.openFile("cgroup.events", unix.O_RDONLY)
	if err != nil {
		return ended(c.gone(err))
	}
	defer events.Close()
	files := []*os.File{events}
	var seen uint64
	memory, err := c.openFile("memory.events", unix.O_RDONLY)
	if err == nil {
		defer memory.Close()
		files = append(files, memory)
		s, err := readAll(memory)
		if err != nil {
			return ended(c.gone(err))
		}
		seen = keyValues(s)["oom_kill"]
	}
	w, err := newWaiter(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		state, err := readAll(events)
		if err != nil {
			return ended(c.gone(err))
		}
		// Kills are looked at after the end was: the last one is not missed.
		if memory != nil {
			s, err := readAll(memory)
			if err != nil {
				return ended(c.gone(err))
			}
			if n := keyValues(s)["oom_kill"]; n > seen {
				seen = n
				oom(n)
			}
		}
		if keyValues(state)["populated"] == 0 {
			return nil
		}
		if err := w.wait(most, files...); err != nil {
			return err
		}
	}
}

func ended(err error) error {
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}
