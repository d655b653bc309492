package oci

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"coracle/internal/foreground"
	"coracle/spec"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// BundleFlags are the flags of what makes a container.
type BundleFlags struct {
	Bundle        string `short:"b" placeholder:"DIR" default:"." help:"The bundle: a directory with config.json."`
	ConsoleSocket string `name:"console-socket" placeholder:"SOCKET" help:"Send the terminal to who listens there."`
	PIDFDSocket   string `name:"pidfd-socket" placeholder:"SOCKET" help:"Send a pidfd of the first process to who listens there."`
	PIDFile       string `name:"pid-file" placeholder:"FILE" help:"Write the pid of the first process to FILE."`
	NoPivot       bool   `name:"no-pivot" help:"Do not use pivot_root(2): for hosts that run from a ramdisk."`
	NoNewKeyring  bool   `name:"no-new-keyring" help:"Keep the session keyring."`
	PreserveFDs   uint   `name:"preserve-fds" placeholder:"N" help:"Pass on N descriptors, from 3 on."`
}

func (b *BundleFlags) Options(cfg *rspec.Spec) spec.CreateOptions {
	o := spec.CreateOptions{Bundle: b.Bundle, Config: cfg, ConsoleSocket: b.ConsoleSocket, PIDFDSocket: b.PIDFDSocket, PIDFile: b.PIDFile}
	o.Extra.Preserve, o.Extra.NoNewKeyring, o.Extra.NoPivot = b.PreserveFDs, b.NoNewKeyring, b.NoPivot
	return o
}

// command is the payload's, for errors.
func CommandOf(cfg *rspec.Spec) string {
	if cfg.Process == nil || len(cfg.Process.Args) == 0 {
		return ""
	}
	return cfg.Process.Args[0]
}

// CheckTerminal holds to runc's rules of who gets a terminal from where.
func (b *BundleFlags) CheckTerminal(cfg *rspec.Spec, detach bool) error {
	tty := cfg.Process != nil && cfg.Process.Terminal
	switch {
	case detach && tty && b.ConsoleSocket == "":
		return fmt.Errorf("cannot allocate tty if runc will detach without setting console socket: process.terminal is true, so --console-socket is needed")
	case b.ConsoleSocket != "" && !(detach && tty):
		return fmt.Errorf("cannot use console socket if runc will not detach or allocate tty: --console-socket goes with process.terminal and a container in the background")
	}
	return nil
}

func Stdio() [3]*os.File { return [3]*os.File{os.Stdin, os.Stdout, os.Stderr} }

// Create makes a container whose command waits to be started.
type Create struct {
	BundleFlags
	ID string `arg:"" name:"ID"`
}

func (c *Create) Run(e *Env) (int, error) {
	r, err := e.Runtime()
	if err != nil {
		return 1, err
	}
	cfg, err := spec.LoadBundle(c.Bundle)
	if err != nil {
		return 1, err
	}
	if err := c.CheckTerminal(cfg, true); err != nil {
		return 1, err
	}
	o := c.Options(cfg)
	o.Extra.Stdio = Stdio()
	_, p, err := r.Create(context.Background(), c.ID, o)
	if err == nil {
		p.Detach()
	}
	return 0, ExecError(CommandOf(cfg), err)
}

// Start starts the command of a container that was created.
type Start struct {
	ID string `arg:"" name:"ID"`
}

func (c *Start) Run(e *Env) (int, error) {
	r, err := e.Runtime()
	if err != nil {
		return 1, err
	}
	err = r.Start(context.Background(), c.ID)
	if err == nil {
		return 0, nil
	}
	if box, lerr := r.Load(c.ID); lerr == nil {
		if cfg, serr := box.Spec(); serr == nil {
			err = ExecError(CommandOf(cfg), err)
		}
	}
	return 1, err
}

// Run makes a container, starts it, and stays unless it is to be left.
type Run struct {
	BundleFlags
	Detach      bool   `short:"d" help:"Leave the container in the background."`
	Keep        bool   `help:"Do not delete the container when it ends."`
	NoSubreaper bool   `name:"no-subreaper" help:"Leave what the container leaves behind to somebody else."`
	ID          string `arg:"" name:"ID"`
}

func (c *Run) Run(e *Env) (int, error) {
	r, err := e.Runtime()
	if err != nil {
		return 1, err
	}
	cfg, err := spec.LoadBundle(c.Bundle)
	if err != nil {
		return 1, err
	}
	if err := c.CheckTerminal(cfg, c.Detach); err != nil {
		return 1, err
	}
	o := c.Options(cfg)
	ctx := context.Background()
	if c.Detach {
		o.Extra.Stdio = Stdio()
		_, p, err := r.Run(ctx, c.ID, o)
		if err == nil {
			p.Detach()
		}
		return 0, ExecError(CommandOf(cfg), err)
	}
	var box *spec.Container
	ws, err := foreground.Run(foreground.Stdio{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, cfg.Process != nil && cfg.Process.Terminal,
		func(ctx context.Context, child [3]*os.File, size *rspec.Box) (p *spec.Process, err error) {
			o.Extra.Stdio = child
			if cfg.Process != nil && cfg.Process.Terminal && cfg.Process.ConsoleSize == nil {
				cfg.Process.ConsoleSize = size
			}
			box, p, err = r.Run(ctx, c.ID, o)
			return p, ExecError(CommandOf(cfg), err)
		})
	if err != nil {
		return 1, err
	}
	if !c.Keep {
		err = r.Delete(ctx, box.ID, true)
	}
	return foreground.Code(ws), err
}

// State prints what a container is now.
type State struct {
	ID string `arg:"" name:"ID"`
}

func (c *State) Run(e *Env) (int, error) {
	box, err := e.Box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, e.printIndented(ReportOf(box.Status()))
}

// Kill sends a signal.
type Kill struct {
	All    bool   `short:"a" help:"Every process of the container."`
	ID     string `arg:"" name:"ID"`
	Signal string `arg:"" name:"SIGNAL" optional:"" default:"SIGTERM"`
}

func (c *Kill) Run(e *Env) (int, error) {
	sig, err := 0, error(nil)
	if c.Signal != "0" { // which asks kill(2) whether somebody is there
		sig, err = spec.ParseSignal(c.Signal)
	}
	if err != nil {
		return 1, err
	}
	box, err := e.Box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, box.Kill(context.Background(), syscall.Signal(sig), c.All)
}

// Delete removes a container.
type Delete struct {
	Force bool   `short:"f" help:"Kill it first if it runs; it is no error if it is not there."`
	ID    string `arg:"" name:"ID"`
}

func (c *Delete) Run(e *Env) (int, error) {
	r, err := e.Runtime()
	if err != nil {
		return 1, err
	}
	return 0, r.Delete(context.Background(), c.ID, c.Force)
}

// Pause freezes a container.
type Pause struct {
	ID string `arg:"" name:"ID"`
}

func (c *Pause) Run(e *Env) (int, error) {
	box, err := e.Box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, box.Pause(context.Background())
}

// Resume lets it go on.
type Resume struct {
	ID string `arg:"" name:"ID"`
}

func (c *Resume) Run(e *Env) (int, error) {
	box, err := e.Box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, box.Resume()
}
