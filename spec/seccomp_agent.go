package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccompAgent is the way of a filter's listener to the process that answers
// its notifications (config-linux.md#containerprocessstate). Nil where the
// filter does not notify.
type seccompAgent struct {
	conn         *os.File // to linux.seccomp.listenerPath
	ours, theirs *os.File // on which the child sends the listener
}

// agentPatience bounds the waiting for an agent that does not accept.
const agentPatience = 10

// dialAgent connects before there is a process, so that a missing agent stops
// the start.
func dialAgent(x *Extra) (*seccompAgent, error) {
	if x.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
		return nil, nil
	}
	if x.Observe != nil {
		a := &seccompAgent{}
		var err error
		a.ours, a.theirs, err = socketPair()
		x.notify = a.theirs
		return a, err
	}
	fail := func(err error) error {
		return fmt.Errorf("linux.seccomp.listenerPath: connect to %q: %w", x.Listener, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fail(err)
	}
	a := &seccompAgent{conn: os.NewFile(uintptr(fd), x.Listener)}
	patience := unix.Timeval{Sec: agentPatience}
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
		ignoreEINTR(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: x.Listener}) }))
	if err == nil {
		a.ours, a.theirs, err = socketPair()
	}
	if err != nil {
		a.close()
		return nil, fail(err)
	}
	x.notify = a.theirs
	return a, nil
}

func ignoreEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// started gives up the child's end: when the child dies, ours says so.
func (a *seccompAgent) started() {
	if a != nil {
		a.theirs.Close()
	}
}

// hand takes the listener from the child and gives it to the agent; from then
// on the child's notified calls are answered. A child that fails before it has
// loaded the filter says why by itself: then there is nothing to hand over.
func (a *seccompAgent) hand(x *Extra, pid int) error {
	if a == nil {
		return nil
	}
	listener, err := receiveFD(a.ours)
	if err != nil {
		return nil
	}
	if x.Observe != nil {
		x.Observe(listener)
		return nil
	}
	defer listener.Close()
	state := x.State
	if state.Status == "" { // else it runs already, and this is another process of it
		state.Version, state.Status, state.Pid = specs.Version, specs.StateCreating, pid
	}
	body, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: x.ListenerMetadata, State: state,
	})
	if err != nil {
		return fmt.Errorf("linux.seccomp: describe the container: %w", err)
	}
	rights := unix.UnixRights(int(listener.Fd()))
	for len(body) > 0 {
		n := 0
		err := ignoreEINTR(func() (err error) {
			n, err = unix.SendmsgN(int(a.conn.Fd()), body, rights, nil, unix.MSG_NOSIGNAL)
			return err
		})
		if errors.Is(err, syscall.EAGAIN) {
			err = fmt.Errorf("it does not read: %w", os.ErrDeadlineExceeded)
		}
		if err != nil {
			return fmt.Errorf("linux.seccomp.listenerPath: send to %q: %w", x.Listener, err)
		}
		body, rights = body[n:], nil // the descriptor goes with the first part only
	}
	// One state, one connection: its end is the message's. Not by closing it
	// alone: the child has a copy up to its exec, which the agent may have to
	// answer calls for.
	if err := unix.Shutdown(int(a.conn.Fd()), unix.SHUT_RDWR); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("linux.seccomp.listenerPath: close the connection to %q: %w", x.Listener, err)
	}
	return nil
}

func (a *seccompAgent) close() {
	if a == nil {
		return
	}
	for _, f := range []*os.File{a.conn, a.ours, a.theirs} {
		if f != nil {
			f.Close()
		}
	}
}
