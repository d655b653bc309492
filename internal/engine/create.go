package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"coracle/userns"
)

// Create makes a container that Start starts.
func (e *Engine) Create(ctx context.Context, o RunOptions) (Container, error) {
	b, _, err := e.create(ctx, o, false)
	if err != nil {
		return Container{}, err
	}
	b.close()
	return b.Container, nil
}

// RunDetached makes a container and starts it under a monitor. One that cannot
// be started is removed.
func (e *Engine) RunDetached(ctx context.Context, o RunOptions) (Container, error) {
	b, monitor, err := e.create(ctx, o, true)
	if err != nil {
		return Container{}, err
	}
	if err := e.order(monitor, nil); err != nil {
		e.removeFailed(ctx, b, o)
		return Container{}, err
	}
	return b.Container, nil
}

// runAttached is Run of a container that has a monitor nevertheless.
func (e *Engine) runAttached(ctx context.Context, o RunOptions) (Exit, error) {
	keys, err := parseDetachKeys(o.DetachKeys)
	if err != nil {
		return Exit{Code: 125}, err
	}
	b, _, err := e.create(ctx, o, false)
	if err != nil {
		return Exit{Code: 125}, err
	}
	exit, err := e.startHeld(ctx, b, StartOptions{Attach: true, AttachOptions: AttachOptions{
		Stdio: Stdio{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr}, NoStdin: !o.Interactive, DetachKeys: o.DetachKeys, SigProxy: o.SigProxy}}, keys)
	if err != nil {
		e.removeFailed(ctx, b, o)
	}
	return exit, err
}

// create makes a container and holds it. With ahead it is started at once: while
// it is made, its monitor gets ready.
func (e *Engine) create(ctx context.Context, o RunOptions, ahead bool) (*box, *hired, error) {
	o.Detach = true
	if err := o.absolute(); err != nil {
		return nil, nil, err
	}
	if o.Remove && o.Restart.Name != "" {
		return nil, nil, &Error{Op: "make the container", Err: errors.New("--restart starts it again when it ends, and --rm removes it then"), Help: "leave one of them out"}
	}
	if _, err := parseDetachKeys(o.DetachKeys); err != nil {
		return nil, nil, err
	}
	if o.PreserveFDs > 0 {
		return nil, nil, &Error{Op: "make the container", Err: errors.New("--preserve-fds hands on descriptors of this command, which the container's monitor does not have"), Help: "only run can do that, without --detach, --restart, --log-driver and --health-cmd"}
	}
	r := &run{e: e, o: o, id: newID(), ahead: ahead, stub: sync.OnceValues(userns.OpenStub)}
	defer r.close()
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	if err := r.resolve(ctx); err != nil {
		return nil, nil, err
	}
	if err := r.makeBox(ctx); err != nil {
		return nil, nil, err
	}
	b := r.box
	b.Status = Created
	err := r.chooseLog()
	if err == nil {
		err = r.record()
	}
	if err != nil {
		if r.wroteCID {
			os.Remove(o.CIDFile)
		}
		r.monitor.dismiss()
		b.remove(ctx)
		return nil, nil, err
	}
	e.emit(b.event("create"))
	return b, r.monitor, nil
}

// removeFailed removes what a failed start of a new container leaves.
func (e *Engine) removeFailed(ctx context.Context, b *box, o RunOptions) {
	if o.CIDFile != "" {
		os.Remove(o.CIDFile)
	}
	ctx = context.WithoutCancel(ctx)
	if err := e.removeFound(ctx, b.Container, true, true); err != nil && !isNotFound(err) {
		e.warn(err.Error(), "the next start tries again")
	}
}

// absolute makes the paths of files that are written later independent of the
// directory that this command runs in.
func (o *RunOptions) absolute() error {
	for _, p := range []*string{&o.CIDFile, &o.PIDFile, &o.Report, &o.AllowNetFile, &o.NetLog, &o.Pcap} {
		if *p == "" || p == &o.Report && *p == "-" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("find %s: %w", *p, err)
		}
		*p = abs
	}
	return nil
}

// chooseLog says where the output of a detached container goes.
func (r *run) chooseLog() error {
	b := r.box
	log, err := logOptions(b.dir, r.o)
	if err != nil {
		return err
	}
	b.LogDriver, b.LogPath = log.Driver, log.Path
	return nil
}
