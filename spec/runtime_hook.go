package spec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hookContext bounds a hook by its timeout.
func hookContext(ctx context.Context, h specs.Hook) (context.Context, context.CancelFunc) {
	if h.Timeout == nil {
		return context.WithCancel(ctx)
	}
	limit := time.Duration(*h.Timeout) * time.Second
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than its timeout of %s", limit))
}

// runHook runs a hook where we are, with the state on its standard input.
func runHook(ctx context.Context, h specs.Hook, st specs.State) error {
	ctx, cancel := hookContext(ctx, h)
	defer cancel()
	state, err := json.Marshal(st)
	if err != nil {
		return err
	}
	// What our caller left open is not for hooks. The payload, which may be
	// promised some of it, has descriptors of its own by now.
	if err := userns.MarkCloseExec(3); err != nil {
		return fmt.Errorf("run %s: %w", h.Path, err)
	}
	if ctx.Err() != nil {
		return hookError(ctx, h, ctx.Err(), "")
	}
	cmd := exec.Command(h.Path) //nolint:forbidigo // untilEnd ends it, with what it has started
	cmd.Args, cmd.Env = hookArgs(h), h.Env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would hand on ours
	}
	cmd.Stdin = bytes.NewReader(state)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second // for what the hook left behind with its output
	err = runGroup(ctx, cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return hookError(ctx, h, err, said.String())
}

// runGroup runs a command in a process group of its own, which ends with ctx.
// The command does not outlive us.
func runGroup(ctx context.Context, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // whose death Pdeathsig is about
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0) // it is not reaped: nobody else can have that number
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("open its process: %w", err)
	}
	defer unix.Close(pidfd)
	untilEnd(ctx, pidfd, cmd.Process.Pid)
	return cmd.Wait()
}

// untilEnd waits until the leader of a process group has ended; it stays to be
// reaped. When the context ends first, so does the whole group.
func untilEnd(ctx context.Context, pidfd, leader int) {
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		_ = unix.Kill(-leader, unix.SIGKILL)
	})
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if !stop() {
		<-killed // as long as the leader is there its number is no other group's
	}
}

func hookArgs(h specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

func hookError(ctx context.Context, h specs.Hook, err error, said string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if said = strings.TrimSpace(said); said != "" {
		return fmt.Errorf("run %s: %w: %s", h.Path, err, said)
	}
	return fmt.Errorf("run %s: %w", h.Path, err)
}

// tail keeps the last KiB of what a hook says.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - 1024; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// runHookInside runs a hook in all namespaces of the container, whose first
// process is waiting.
func (c *Container) runHookInside(ctx context.Context, h specs.Hook, st specs.State) error {
	ctx, cancel := hookContext(ctx, h)
	defer cancel()
	if ctx.Err() != nil {
		return hookError(ctx, h, ctx.Err(), "")
	}
	stdin, err := stateFD(st)
	if err != nil {
		return err
	}
	defer stdin.Close()
	stub, err := userns.OpenStub()
	if err != nil {
		return err
	}
	defer stub.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the hook's output: %w", err)
	}
	defer r.Close()
	_ = w.Chmod(0o666)     // for /dev/stderr, whoever the hook becomes
	runtime.LockOSThread() // see startInside
	defer runtime.UnlockOSThread()
	child, err := c.startInside(h, stub, [3]*os.File{stdin, w, w})
	w.Close()
	said := &tail{}
	if err == nil {
		copied := make(chan struct{})
		go func() { defer close(copied); _, _ = io.Copy(said, r) }()
		untilEnd(ctx, int(child.PIDFD.Fd()), child.PID)
		var ws syscall.WaitStatus
		ws, _, err = child.Wait()
		child.Close()
		if err == nil && !(ws.Exited() && ws.ExitStatus() == 0) {
			err = statusError(ws)
		}
		// What the hook left behind may have its output, too.
		_ = r.SetReadDeadline(time.Now().Add(time.Second))
		<-copied
	}
	return hookError(ctx, h, err, said.String())
}

func statusError(ws syscall.WaitStatus) error {
	if ws.Signaled() {
		return fmt.Errorf("it was killed by signal %d", ws.Signal())
	}
	return fmt.Errorf("exit status %d", ws.ExitStatus())
}
