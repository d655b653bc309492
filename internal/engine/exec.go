package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"coracle/internal/foreground"
	"coracle/internal/plainfile"
	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecOptions is one `coracle exec`.
type ExecOptions struct {
	spec.ExecRequest
	Stdio
	Interactive bool   // -i
	DetachKeys  string // "" for ctrl-p,ctrl-q; "none" for none
	PreserveFDs uint   // descriptors 3 to N+2
	PreserveFD  []uint // these
}

// Exec runs another process in a container that runs, and returns how it ended.
// An error says why it never ran; its ExitCode method tells 126 and 127 from 125.
// No monitor takes part, so it makes no difference what the container has.
func (e *Engine) Exec(_ context.Context, name string, o ExecOptions) (Exit, error) {
	x, err := e.planExec(name, o)
	if err != nil {
		return Exit{Code: 125}, err
	}
	keys, err := parseDetachKeys(o.DetachKeys)
	if err != nil {
		return Exit{Code: 125}, err
	}
	s, err := foreground.New(o.Stdio, o.TTY, o.Interactive)
	if err != nil {
		return Exit{Code: 125}, err
	}
	filter := detachFilter{keys: keys}
	forget := func() {}
	s.Typed = filter.pass
	ws, left, err := s.Run(func(ctx context.Context, child [3]*os.File, size *specs.Box) (*spec.Process, error) {
		if o.TTY {
			x.process.ConsoleSize = size
		}
		p, err := x.start(ctx, child)
		if err == nil {
			e.emit(x.c.event("exec"))
			forget = e.noteExec(x.c.ID, newID(), p.PID)
		}
		return p, err
	})
	switch {
	case err != nil:
		return Exit{Code: 125}, err
	case left:
		return Exit{Detached: true}, holdConsole(x.c.Name, s.Console())
	}
	forget()
	exit := exitOf(ws)
	died := x.c.event("exec_died")
	died.ContainerExitCode = &exit.Code
	e.emit(died)
	return exit, nil
}

// ExecDetached is Exec that does not wait. It returns an id for the process,
// which inspect shows as long as it runs.
func (e *Engine) ExecDetached(ctx context.Context, name string, o ExecOptions) (string, error) {
	x, err := e.planExec(name, o)
	if err != nil {
		return "", err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("open the standard streams: %w", err)
	}
	defer null.Close()
	p, err := x.start(ctx, [3]*os.File{null, null, null})
	if err != nil {
		return "", err
	}
	e.emit(x.c.event("exec"))
	id := newID()
	e.execs(x.c.ID) // forgets who has ended
	e.noteExec(x.c.ID, id, p.PID)
	if p.Console != nil {
		err = holdConsole(x.c.Name, p.Console)
	}
	p.Detach()
	return id, err
}

// execution is a process on its way into a container.
type execution struct {
	c       Container
	box     *spec.Container
	process *specs.Process
	o       spec.ExecOptions
}

func (e *Engine) planExec(name string, o ExecOptions) (*execution, error) {
	if _, err := parseDetachKeys(o.DetachKeys); err != nil {
		return nil, err
	}
	preserve, err := preserved(o)
	if err != nil {
		return nil, err
	}
	c, err := e.find(name)
	if err != nil {
		return nil, err
	}
	x := &execution{c: c, o: spec.ExecOptions{Preserve: preserve}}
	if x.box, err = e.runningBox(c, x.op()); err != nil {
		return nil, err
	}
	if x.process, err = x.box.PlanExec(o.ExecRequest, hostFacts{}); err != nil {
		return nil, x.explain(err)
	}
	return x, nil
}

func (x *execution) op() string { return "exec in container " + x.c.Name }

// runningBox is the state of a container that runs. One that was started this
// moment in the foreground has none yet.
func (e *Engine) runningBox(c Container, op string) (*spec.Container, error) {
	switch c.Status {
	case Running:
	case Paused:
		return nil, &Error{Op: op, Err: errors.New("it is paused"), Help: "coracle unpause " + c.Name}
	default:
		return nil, errNotRunning(op, c)
	}
	for range 20 {
		box, err := e.runtimeOf(c.ID).Load(c.ID)
		if !errors.Is(err, spec.ErrNotExist) {
			return box, err
		}
		time.Sleep(5 * time.Millisecond)
		if !e.alive(c.ID) {
			break
		}
	}
	return nil, &Error{Op: op, Err: errors.New("it is not running at this moment")}
}

func errNotRunning(op string, c Container) error {
	return &Error{Op: op, Err: fmt.Errorf("it is not running but %s", c.Status), Help: "coracle start " + c.Name}
}

// start executes the process.
func (x *execution) start(ctx context.Context, stdio [3]*os.File) (*spec.Process, error) {
	x.o.Stdio = stdio
	p, err := x.box.Exec(ctx, x.process, x.o)
	if err != nil {
		return nil, x.explain(err)
	}
	if !x.box.OwnPIDNamespace() {
		go x.endWith(p)
	}
	return p, nil
}

// endWith ends the process with the container, as the kernel does in a pid
// namespace of the container's own.
func (x *execution) endWith(p *spec.Process) {
	fd, err := unix.PidfdOpen(x.box.Pid, 0)
	if err == nil {
		defer unix.Close(fd)
		if x.box.Status().Status != specs.StateStopped { // looked at after opening: the pidfd is that process
			_, _ = plainfile.Retry(func() (int, error) {
				return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			})
		}
	}
	if err == nil || errors.Is(err, unix.ESRCH) {
		_ = p.Signal(unix.SIGKILL)
	}
}

// explain gives an error its words and its exit code. For a working directory
// these are podman's: as for a command.
func (x *execution) explain(err error) error {
	var ee *userns.ExecError
	var se *userns.StepError
	switch {
	case errors.Is(err, spec.ErrNotRunning):
		return &Error{Op: x.op(), Err: errors.New("it has ended this moment"), Help: "coracle ps -a"}
	case errors.Is(err, spec.ErrPaused):
		return &Error{Op: x.op(), Err: errors.New("it is paused"), Help: "coracle unpause " + x.c.Name}
	case errors.As(err, &ee):
		return explainCommand(x.process.Args[0], "container "+x.c.Name, "the container", ee)
	case errors.As(err, &se) && strings.HasPrefix(se.Step, "process.cwd:"):
		code := 125
		switch se.Errno {
		case unix.ENOENT:
			code = 127
		case unix.EACCES:
			code = 126
		}
		return &Error{Op: x.op(), Err: fmt.Errorf("enter the working directory %s: %w", x.process.Cwd, se.Errno), Code: code}
	}
	return fmt.Errorf("%s: %w", x.op(), err)
}

// preserved is how many descriptors from 3 on the process keeps. Of those
// below the last that was asked for, the others are closed.
func preserved(o ExecOptions) (uint, error) {
	n := o.PreserveFDs
	for _, fd := range o.PreserveFD {
		if fd < 3 {
			return 0, &Error{Op: fmt.Sprintf("keep descriptor %d (--preserve-fd)", fd), Err: errors.New("descriptors 0 to 2 are the standard streams"), Help: "they are numbered from 3 on"}
		}
		n = max(n, fd-2)
	}
	const most = 1 << 20 // of the kernel's, for all processes
	if n > most {
		return 0, &Error{Op: "keep descriptors", Err: fmt.Errorf("%d is not the number of a descriptor", n+2)}
	}
	for fd := uint(3); fd < 3+n; fd++ {
		wanted := fd < 3+o.PreserveFDs || slices.Contains(o.PreserveFD, fd)
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		inherited := err == nil && flags&unix.FD_CLOEXEC == 0
		switch {
		case wanted && !inherited:
			return 0, &Error{Op: "keep descriptors (--preserve-fds)", Err: fmt.Errorf("descriptor %d is not open", fd), Help: "--preserve-fd keeps single ones"}
		case !wanted && inherited:
			unix.CloseOnExec(int(fd))
		}
	}
	return n, nil
}

// ConsoleName is what the process is called, before its container's name, that
// holds the terminal of a process that nobody is attached to: without a holder
// the process would lose it, and with one that does not read it would wait.
const ConsoleName = "[coracle:terminal]"

// holdConsole leaves a terminal to a process of its own.
func holdConsole(name string, console *os.File) error {
	if err := userns.MarkCloseExec(3); err != nil {
		return fmt.Errorf("hold the terminal: %w", err)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{ConsoleName + " " + name}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{nil, nil, nil, console}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("hold the terminal: %w", err)
	}
	return p.Release()
}

// ConsoleMain is the main function of that process: it ends with the last who
// has the terminal open.
func ConsoleMain() int {
	console := os.NewFile(3, "console")
	unix.CloseOnExec(3)
	defer trimLater().Stop()
	_, _ = io.Copy(io.Discard, console) // EIO: the last one has closed it
	return 0
}
