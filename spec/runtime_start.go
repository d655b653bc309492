package spec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start starts the payload of a created container and returns once it runs.
// Errors unwrap to *userns.ExecError where the command could not be executed.
func (r *Runtime) Start(ctx context.Context, id string) error {
	c, lock, err := r.hold(id)
	if err != nil {
		return err
	}
	defer lock.Close()
	s, err := c.Spec()
	if err != nil {
		return err
	}
	if err := c.start(ctx, s); err != nil {
		return err
	}
	lock.Close() // whoever deletes the container does not wait for these hooks
	c.poststart(ctx, s)
	return nil
}

// start leaves the poststart hooks to its caller.
func (c *Container) start(ctx context.Context, s *specs.Spec) error {
	switch st := c.status(); st {
	case specs.StateCreated:
	case specs.StateStopped:
		return fmt.Errorf("cannot start a container that has stopped: container %s", c.ID)
	case specs.StateRunning, StatePaused:
		return fmt.Errorf("cannot start an already running container: container %s", c.ID)
	default:
		return fmt.Errorf("cannot start a container in the %s state: container %s", st, c.ID)
	}
	if c.Namespaces == nil { // its creator was killed at the last moment
		if err := c.recordNamespaces(); err != nil {
			return err
		}
	}
	if err := c.startContainer(ctx, s); err != nil {
		ctx = context.WithoutCancel(ctx) // cleaning up takes the time it takes
		c.end(ctx)
		c.poststop(ctx, s)
		return errors.Join(err, c.save())
	}
	if err := c.release(); err != nil {
		return err
	}
	c.State.Status = specs.StateRunning
	return c.save()
}

// release lets the payload go, and reads whether it could be executed.
func (c *Container) release() error {
	fd, err := unix.Open(filepath.Join(c.dir(), reportPipe), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.ID, err)
	}
	report := os.NewFile(uintptr(fd), reportPipe)
	defer report.Close()
	fd, err = unix.Open(filepath.Join(c.dir(), startPipe), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENXIO) {
		return &idError{c.ID, ErrNotRunning}
	}
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.ID, err)
	}
	_, err = unix.Write(fd, []byte{1})
	unix.Close(fd)
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.ID, err)
	}
	said, err := io.ReadAll(io.LimitReader(report, 4))
	os.Remove(filepath.Join(c.dir(), startPipe))
	os.Remove(filepath.Join(c.dir(), reportPipe))
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.ID, err)
	}
	if len(said) == 4 {
		return &userns.ExecError{Errno: syscall.Errno(binary.NativeEndian.Uint32(said))}
	}
	return nil
}

// pipes makes the two named pipes of a container that waits.
func (m *making) pipes() (*userns.Created, error) {
	var c userns.Created
	for _, name := range []string{startPipe, reportPipe} {
		if err := unix.Mkfifo(filepath.Join(m.c.dir(), name), 0o600); err != nil {
			return nil, fmt.Errorf("make the pipe %s: %w", name, err)
		}
	}
	open := func(name string, flags int) (*os.File, error) {
		fd, err := unix.Open(filepath.Join(m.c.dir(), name), flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open the pipe %s: %w", name, err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	var err error
	if c.Start, err = open(startPipe, unix.O_RDWR); err != nil {
		return nil, err
	}
	// The write end waits for a reader: this one.
	reader, err := open(reportPipe, unix.O_RDONLY|unix.O_NONBLOCK)
	if err == nil {
		defer reader.Close()
		c.Report, err = open(reportPipe, unix.O_WRONLY)
	}
	if err != nil {
		c.Start.Close()
		return nil, err
	}
	return &c, nil
}
