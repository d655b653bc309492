package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"coracle/internal/foreground"
	"coracle/spec"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// ociBundle are the flags of what makes a container.
type ociBundle struct {
	Bundle        string `short:"b" placeholder:"DIR" default:"." help:"The bundle: a directory with config.json."`
	ConsoleSocket string `name:"console-socket" placeholder:"SOCKET" help:"Send the terminal to who listens there."`
	PIDFDSocket   string `name:"pidfd-socket" placeholder:"SOCKET" help:"Send a pidfd of the first process to who listens there."`
	PIDFile       string `name:"pid-file" placeholder:"FILE" help:"Write the pid of the first process to FILE."`
	NoPivot       bool   `name:"no-pivot" help:"Do not use pivot_root(2): for hosts that run from a ramdisk."`
	NoNewKeyring  bool   `name:"no-new-keyring" help:"Keep the session keyring."`
	PreserveFDs   uint   `name:"preserve-fds" placeholder:"N" help:"Pass on N descriptors, from 3 on."`
}

func (b *ociBundle) options(cfg *rspec.Spec) spec.CreateOptions {
	o := spec.CreateOptions{Bundle: b.Bundle, Config: cfg, ConsoleSocket: b.ConsoleSocket, PIDFDSocket: b.PIDFDSocket, PIDFile: b.PIDFile}
	o.Extra.Preserve, o.Extra.NoNewKeyring, o.Extra.NoPivot = b.PreserveFDs, b.NoNewKeyring, b.NoPivot
	return o
}

// command is the payload's, for errors.
func ociCommandOf(cfg *rspec.Spec) string {
	if cfg.Process == nil || len(cfg.Process.Args) == 0 {
		return ""
	}
	return cfg.Process.Args[0]
}

// checkTerminal holds to runc's rules of who gets a terminal from where.
func (b *ociBundle) checkTerminal(cfg *rspec.Spec, detach bool) error {
	tty := cfg.Process != nil && cfg.Process.Terminal
	switch {
	case detach && tty && b.ConsoleSocket == "":
		return fmt.Errorf("cannot allocate tty if runc will detach without setting console socket: process.terminal is true, so --console-socket is needed")
	case b.ConsoleSocket != "" && !(detach && tty):
		return fmt.Errorf("cannot use console socket if runc will not detach or allocate tty: --console-socket goes with process.terminal and a container in the background")
	}
	return nil
}

func stdStreams() [3]*os.File { return [3]*os.File{os.Stdin, os.Stdout, os.Stderr} }

type ociCreateCmd struct {
	ociBundle
	ID string `arg:"" name:"ID"`
}

func (c *ociCreateCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	cfg, err := spec.LoadBundle(c.Bundle)
	if err != nil {
		return 1, err
	}
	if err := c.checkTerminal(cfg, true); err != nil {
		return 1, err
	}
	o := c.options(cfg)
	o.Extra.Stdio = stdStreams()
	_, p, err := r.Create(context.Background(), c.ID, o)
	if err == nil {
		p.Detach()
	}
	return 0, ociExecError(ociCommandOf(cfg), err)
}

type ociStartCmd struct {
	ID string `arg:"" name:"ID"`
}

func (c *ociStartCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	err = r.Start(context.Background(), c.ID)
	if err == nil {
		return 0, nil
	}
	if box, lerr := r.Load(c.ID); lerr == nil {
		if cfg, serr := box.Spec(); serr == nil {
			err = ociExecError(ociCommandOf(cfg), err)
		}
	}
	return 1, err
}

type ociRunCmd struct {
	ociBundle
	Detach      bool   `short:"d" help:"Leave the container in the background."`
	Keep        bool   `help:"Do not delete the container when it ends."`
	NoSubreaper bool   `name:"no-subreaper" help:"Leave what the container leaves behind to somebody else."`
	ID          string `arg:"" name:"ID"`
}

func (c *ociRunCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	cfg, err := spec.LoadBundle(c.Bundle)
	if err != nil {
		return 1, err
	}
	if err := c.checkTerminal(cfg, c.Detach); err != nil {
		return 1, err
	}
	o := c.options(cfg)
	ctx := context.Background()
	if c.Detach {
		o.Extra.Stdio = stdStreams()
		_, p, err := r.Run(ctx, c.ID, o)
		if err == nil {
			p.Detach()
		}
		return 0, ociExecError(ociCommandOf(cfg), err)
	}
	var box *spec.Container
	ws, err := foreground.Run(foreground.Stdio{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, cfg.Process != nil && cfg.Process.Terminal,
		func(ctx context.Context, child [3]*os.File, size *rspec.Box) (p *spec.Process, err error) {
			o.Extra.Stdio = child
			if cfg.Process != nil && cfg.Process.Terminal && cfg.Process.ConsoleSize == nil {
				cfg.Process.ConsoleSize = size
			}
			box, p, err = r.Run(ctx, c.ID, o)
			return p, ociExecError(ociCommandOf(cfg), err)
		})
	if err != nil {
		return 1, err
	}
	if !c.Keep {
		err = r.Delete(ctx, box.ID, true)
	}
	return foreground.Code(ws), err
}

type ociStateCmd struct {
	ID string `arg:"" name:"ID"`
}

func (c *ociStateCmd) run(a *app) (int, error) {
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, a.printIndented(ociStateOf(box.Status()))
}

type ociKillCmd struct {
	All    bool   `short:"a" help:"Every process of the container."`
	ID     string `arg:"" name:"ID"`
	Signal string `arg:"" name:"SIGNAL" optional:"" default:"SIGTERM"`
}

func (c *ociKillCmd) run(a *app) (int, error) {
	sig, err := 0, error(nil)
	if c.Signal != "0" { // which asks kill(2) whether somebody is there
		sig, err = spec.ParseSignal(c.Signal)
	}
	if err != nil {
		return 1, err
	}
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, box.Kill(context.Background(), syscall.Signal(sig), c.All)
}

type ociDeleteCmd struct {
	Force bool   `short:"f" help:"Kill it first if it runs; it is no error if it is not there."`
	ID    string `arg:"" name:"ID"`
}

func (c *ociDeleteCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	return 0, r.Delete(context.Background(), c.ID, c.Force)
}

type ociPauseCmd struct {
	ID string `arg:"" name:"ID"`
}

func (c *ociPauseCmd) run(a *app) (int, error) {
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, box.Pause(context.Background())
}

type ociResumeCmd struct {
	ID string `arg:"" name:"ID"`
}

func (c *ociResumeCmd) run(a *app) (int, error) {
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	return 0, box.Resume()
}
