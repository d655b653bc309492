package spec

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// CheckpointOptions are what Checkpoint and Restore ask CRIU for, as runc's flags.
type CheckpointOptions struct {
	ImagePath, WorkPath string // directories of the images and of the logs; WorkPath "" is ImagePath

	TCPEstablished bool
	ExtUnixSk      bool
	ShellJob       bool
	FileLocks      bool
	AutoDedup      bool
	LazyPages      bool
	EmptyNetwork   bool   // the network namespace comes back with nothing but its loopback
	Cgroups        string // soft, full, strict or ignore; "" is what suits the host

	// Checkpoint only.
	LeaveRunning    bool
	PreDump         bool   // only the memory, of a container that goes on
	ParentPath      string // the images of an earlier PreDump, relative to ImagePath
	TCPSkipInFlight bool
	LinkRemap       bool
	PageServer      string   // ADDRESS:PORT that takes the memory
	Status          *os.File // gets a zero byte when LazyPages can be fetched, and is closed

	// Restore only.
	LSMProfile, LSMMountContext string
}

// Checkpoint writes the processes of a running container to a directory, and
// deletes it unless it is to go on. A container that could not be written goes
// on as it was.
func (r *Runtime) Checkpoint(ctx context.Context, id string, o CheckpointOptions) error {
	c, lock, err := r.hold(id)
	if err != nil {
		return err
	}
	defer lock.Close()
	s, err := c.Spec()
	if err != nil {
		return err
	}
	paused := false
	switch st := c.status(); st {
	case specs.StateRunning:
	case StatePaused:
		paused = true
	case specs.StateStopped:
		return &idError{id, ErrNotRunning}
	default:
		return fmt.Errorf("checkpoint container %s: it is %s, and only a running one can be", id, st)
	}
	if err := c.dump(ctx, s, o); err != nil {
		return fmt.Errorf("checkpoint container %s: %w", id, errors.Join(err, c.goOn(paused)))
	}
	if o.LeaveRunning || o.PreDump {
		return nil
	}
	return c.Delete(ctx, true) // CRIU has killed it
}

// dump has CRIU write the container.
func (c *Container) dump(ctx context.Context, s *specs.Spec, o CheckpointOptions) (err error) {
	if err := canCheckpoint(s); err != nil {
		return err
	}
	d, err := openDump(o, "dump.log", true)
	if err != nil {
		return err
	}
	defer d.close()
	defer func() {
		if err != nil {
			d.discard()
		}
	}()
	opts, err := c.dumpOptions(s, d, o)
	if err != nil {
		return err
	}
	if err := d.needs(ctx, o); err != nil {
		return err
	}
	kind := rpc.CriuReqType_DUMP
	if o.PreDump {
		kind = rpc.CriuReqType_PRE_DUMP
	}
	talk := d.talk(func(n notice) error {
		if n.script == "status-ready" {
			return o.ready()
		}
		return nil
	})
	if o.LazyPages || o.PageServer != "" {
		talk.patience = 0 // somebody else sets the pace
	}
	_, err = talk.run(ctx, &rpc.CriuReq{Type: &kind, Opts: opts})
	return d.explain(err)
}

// ready tells who waits for the memory that it can be fetched.
func (o *CheckpointOptions) ready() error {
	if o.Status == nil {
		return nil
	}
	_, err := o.Status.Write([]byte{0})
	if err = errors.Join(err, o.Status.Close()); err != nil {
		return fmt.Errorf("tell that the memory can be fetched: %w", err)
	}
	return nil
}

func (c *Container) dumpOptions(s *specs.Spec, d *dump, o CheckpointOptions) (*rpc.CriuOpts, error) {
	opts, err := d.options(s, o, false)
	if err != nil {
		return nil, err
	}
	opts.Pid, opts.Root = asked(int32(c.Pid)), &c.Rootfs
	opts.LeaveRunning, opts.TcpSkipInFlight, opts.LinkRemap = &o.LeaveRunning, &o.TCPSkipInFlight, &o.LinkRemap
	if c.Cgroup.Path != "" {
		opts.FreezeCgroup = &c.Cgroup.Path
	}
	if o.ParentPath != "" {
		opts.ParentImg, opts.TrackMem = &o.ParentPath, asked(true)
	}
	if opts.Ps, err = pageServer(o.PageServer); err != nil {
		return nil, err
	}
	if opts.External, err = externalNamespaces(s, c.Pid); err != nil {
		return nil, err
	}
	if o.EmptyNetwork || foreignDevices(s, c.Pid) {
		opts.EmptyNs = asked(uint32(emptyNetwork))
	}
	if o.PreDump { // the rest is for the dump that follows
		return opts, nil
	}
	stdio, external, err := c.stdio()
	if err != nil {
		return nil, err
	}
	opts.External = append(opts.External, external...)
	if opts.ExtMnt, err = c.dumpedMounts(s); err != nil {
		return nil, err
	}
	return opts, d.write(stdioFile, stdio)
}

// goOn makes sure that a container which could not be checkpointed runs again:
// a CRIU that was killed leaves it frozen.
func (c *Container) goOn(paused bool) error {
	if !c.alive() {
		return errors.New("the container has not survived it")
	}
	if paused || !c.frozen() {
		return nil
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	defer cg.Close()
	return cg.Thaw()
}

func asked[T any](v T) *T { return &v }
