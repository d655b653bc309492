package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"coracle/internal/foreground"
	"coracle/internal/nofile"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Stdio are the standard streams of a command.
type Stdio = foreground.Stdio

// Unshare runs a command of the host as root of a user namespace with the
// requested map, and in a mount namespace of its own.
func (e *Engine) Unshare(ctx context.Context, args []string, req userns.Request, stdio Stdio) (Exit, error) {
	caller, err := e.caller()
	if err != nil {
		return Exit{Code: 125}, err
	}
	req.RunRoot = e.runRoot
	ids, err := userns.Resolve(ctx, caller, req)
	if err != nil {
		return Exit{Code: 125}, err
	}
	if ids.Reservation != nil {
		defer ids.Reservation.Close()
	}
	if ids.Notice != "" {
		e.warn(ids.Notice, ids.Hint)
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		code := 127
		if errors.Is(err, os.ErrPermission) {
			code = 126
		}
		return Exit{Code: code}, &Error{Op: fmt.Sprintf("run %q", args[0]), Err: err, Code: code}
	}
	signals := make(chan os.Signal, 32)
	signal.Notify(signals)
	defer signal.Stop(signals)
	child, err := startUnshared(ctx, ids.Map, path, args, stdio)
	if err != nil {
		var se *userns.StepError
		if errors.As(err, &se) && se.Step == "exec "+path {
			return Exit{Code: 126}, &Error{Op: fmt.Sprintf("run %q", args[0]), Err: se.Errno, Code: 126}
		}
		return Exit{Code: 125}, err
	}
	go func() {
		for sig := range signals {
			n, ok := sig.(syscall.Signal)
			// Those of the terminal reach the command by themselves: it is in
			// our process group.
			if ok && (n == unix.SIGTERM || n == unix.SIGHUP || n == unix.SIGUSR1 || n == unix.SIGUSR2) {
				_ = unix.PidfdSendSignal(int(child.PIDFD.Fd()), n, nil, 0)
			}
		}
	}()
	ws, _, err := child.Wait()
	if err != nil {
		return Exit{Code: 125}, err
	}
	child.Close()
	e.sweepMounts() // of images, which ended with the namespace
	return exitOf(ws), nil
}

func startUnshared(ctx context.Context, m userns.Map, path string, args []string, stdio Stdio) (*userns.Child, error) {
	return startMapped(ctx, m, func(p *userns.Program) {
		p.Call("keep mounts to ourselves", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_SLAVE, 0)
		for i, f := range []*os.File{stdio.Stdin, stdio.Stdout, stdio.Stderr} {
			if f != nil && int(f.Fd()) != i {
				p.Call("place a standard stream", unix.SYS_DUP3, f.Fd(), i, 0)
			}
		}
		p.CloseExec(3)
		p.RestoreNofile(nofile.Original())
		p.Call("exec "+path, unix.SYS_EXECVE, path, p.Strings(args), p.Strings(os.Environ()))
	})
}
