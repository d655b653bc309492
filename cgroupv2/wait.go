package cgroupv2

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for the kernel, when the caller's context has no
// nearer end.
const patience = 10 * time.Second

// events reads cgroup.events: "populated 1", "frozen 0".
func (c *Cgroup) events() (map[string]uint64, error) {
	s, err := c.read("cgroup.events")
	if err != nil {
		return nil, err
	}
	return keyValues(s), nil
}

// keyValues reads a flat keyed file, as cgroup.events, memory.events and
// cpu.stat.
func keyValues(s string) map[string]uint64 {
	m := map[string]uint64{}
	for line := range strings.Lines(s) {
		key, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			m[key] = n
		}
	}
	return m
}

// until waits until cgroup.events says what is wanted. The error is ErrGone
// when the cgroup was removed, or the context's.
func (c *Cgroup) until(ctx context.Context, done func(map[string]uint64) bool) error {
	f, err := c.openFile("cgroup.events", unix.O_RDONLY)
	if err != nil {
		return c.gone(err)
	}
	defer f.Close()
	w, err := newWaiter(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		s, err := readAll(f)
		if err != nil {
			return c.gone(err)
		}
		if done(keyValues(s)) {
			return nil
		}
		if err := w.wait(time.Second, f); err != nil {
			return err
		}
	}
}

// waiter waits for the kernel to change files (POLLPRI, see kernfs), and for
// a context.
type waiter struct {
	ctx  context.Context
	wake int // eventfd, written when the context ends
	stop func() bool
	done chan struct{}
}

func newWaiter(ctx context.Context) (*waiter, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	w := &waiter{ctx: ctx, wake: fd, done: make(chan struct{})}
	w.stop = context.AfterFunc(ctx, func() {
		defer close(w.done)
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	return w, nil
}

func (w *waiter) close() {
	if !w.stop() {
		<-w.done // it may be writing to the descriptor
	}
	unix.Close(w.wake)
}

// wait returns when one of the files changed since it was last read, or after
// most: notifications are a help to look again, not the truth.
func (w *waiter) wait(most time.Duration, files ...*os.File) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}}
	for _, f := range files {
		fds = append(fds, unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLPRI})
	}
	if _, err := unix.Poll(fds, int(most.Milliseconds())); err != nil && err != unix.EINTR {
		return os.NewSyscallError("poll", err)
	}
	return context.Cause(w.ctx)
}

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, patience)
}
