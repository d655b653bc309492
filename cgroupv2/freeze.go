package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Freeze stops everything in the cgroup and waits until it has stopped, for
// ten seconds at most; what does not stop by then is thawed again.
func (c *Cgroup) Freeze(ctx context.Context) error {
	if c.dir == nil {
		return fmt.Errorf("freeze: %w", ErrNone)
	}
	if err := c.setFreeze("1"); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := c.until(ctx, func(e map[string]uint64) bool { return e["frozen"] == 1 })
	if err != nil {
		return both(fmt.Errorf("freeze cgroup %s: not all processes stopped: %w", c.ref.Path, err), c.setFreeze("0"))
	}
	return nil
}

// Thaw lets everything go on. It does not wait: what can run, runs.
func (c *Cgroup) Thaw() error {
	if c.dir == nil {
		return fmt.Errorf("thaw: %w", ErrNone)
	}
	return c.setFreeze("0")
}

// Frozen tells whether Freeze is in force. A cgroup that only stands still
// because one above it is frozen is not.
func (c *Cgroup) Frozen() (bool, error) {
	if c.dir == nil {
		return false, nil
	}
	s, err := c.read("cgroup.freeze")
	if errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrGone) {
		return false, nil // kernels before 5.2
	}
	return strings.TrimSpace(s) == "1", err
}

func (c *Cgroup) setFreeze(value string) error {
	err := c.write("cgroup.freeze", value)
	if errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrGone) {
		return fmt.Errorf("freeze cgroup %s: %w: the kernel is older than 5.2", c.ref.Path, ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("freeze or thaw cgroup %s: %w", c.ref.Path, err)
	}
	return nil
}
