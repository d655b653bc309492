package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// handOver writes down what is made, and gives away what the caller asked for.
func (m *making) handOver(p *Process) error {
	if m.lock == nil {
		m.c.State.Status = specs.StateRunning
	} else if err := m.made(); err != nil {
		return err
	}
	return handOver(p, m.o.ConsoleSocket, m.o.PIDFDSocket, m.o.PIDFile)
}

func (m *making) made() error {
	m.c.State.Status = specs.StateCreated
	if m.hostMounts() {
		m.c.RootMount = mountID(m.c.Rootfs)
	}
	if err := m.c.recordNamespaces(); err != nil && !isGone(err) {
		return err // a payload that has ended already is none
	}
	return m.c.save()
}

// isGone says that a process is not there any more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

// handOver sends a process's terminal and pidfd to who listens on these sockets,
// and then writes its pid to a file; "" for none.
func handOver(p *Process, console, pidfd, pidFile string) error {
	if console != "" && p.Console != nil {
		err := sendFile(console, p.Console, "/dev/ptmx")
		p.Console.Close()
		if p.Console = nil; err != nil {
			return fmt.Errorf("send the terminal to %s: %w", console, err)
		}
	}
	if pidfd != "" {
		if err := sendFile(pidfd, p.child.PIDFD, "pidfd"); err != nil {
			return fmt.Errorf("send the pidfd to %s: %w", pidfd, err)
		}
	}
	if pidFile != "" {
		if err := newFile(pidFile, []byte(strconv.Itoa(p.PID)), 0o644); err != nil {
			return fmt.Errorf("write the pid file: %w", err)
		}
	}
	return nil
}

// commandError turns the failed search for the command, before the payload's
// start, into what a failed exec is.
func commandError(err error) error {
	var step *userns.StepError
	if errors.As(err, &step) && step.Step == commandStep {
		return &userns.ExecError{Errno: step.Errno}
	}
	return err
}

// sendFile sends a descriptor to who listens on a socket, with a name as runc does.
func sendFile(socket string, f *os.File, name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return err
	}
	for {
		err := unix.Sendmsg(fd, []byte(name), unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
