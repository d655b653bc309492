package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	criu "github.com/checkpoint-restore/go-criu/v8"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Restore makes a container from a checkpoint, and returns its pid once its
// processes run: the caller's child, to be waited for or left.
func (r *Runtime) Restore(ctx context.Context, id string, co CreateOptions, o CheckpointOptions) (_ *Container, err error) {
	m := &making{rt: r, o: co}
	if err := m.configure(ctx, id); err != nil {
		return nil, err
	}
	if err := canCheckpoint(m.s); err != nil {
		return nil, fmt.Errorf("restore container %s: %w", id, err)
	}
	d, err := openDump(o, "restore.log", false)
	if err != nil {
		return nil, err
	}
	defer d.close()
	if m.lock, err = r.claim(id); err != nil {
		return nil, err
	}
	defer m.lock.Close()
	defer func() {
		if err != nil {
			m.c.end(ctx)
			m.undo(ctx, &Process{})
		}
		m.close()
	}()
	m.under = mountID(m.c.Rootfs)
	if err := m.makeCgroup(); err != nil {
		return nil, err
	}
	if err := m.revive(d, o); err != nil {
		return nil, fmt.Errorf("restore container %s: %w", id, err)
	}
	m.c.State.Status = specs.StateRunning
	return m.c, m.handOver(&Process{PID: m.c.Pid})
}

// revive has CRIU make the processes.
func (m *making) revive(d *dump, o CheckpointOptions) (err error) {
	root := filepath.Join(m.c.dir(), "criu-root")
	undo, err := mountRoot(m.c.Rootfs, root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo()) }()
	c := criu.MakeCriu()
	if err := m.inherit(c, o.ImagePath); err != nil {
		return err
	}
	opts := d.options(o)
	opts.Root, opts.RstSibling = &root, asked(true)
	opts.ExtMnt = m.c.externalMounts(m.s, false)
	return d.explain(c.Restore(opts, &notices{
		// Alone still: what it makes is born where it is.
		born: func(pid int) error {
			if m.cgroup == nil || m.cgroup.Path() == "" {
				return nil
			}
			return m.cgroup.AddProcess(pid)
		},
		restored: m.record,
	}))
}

// mountRoot mounts the root's directory on one of ours, for CRIU wants a mount
// point, and the directory need not be one.
func mountRoot(rootfs, place string) (undo func() error, err error) {
	if err := os.Mkdir(place, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount(rootfs, place, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the root on %s: %w", place, err), os.Remove(place))
	}
	undo = func() error {
		if err := unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount the root from %s: %w", place, err)
		}
		return os.Remove(place)
	}
	if err := unix.Mount("", place, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return nil, errors.Join(fmt.Errorf("make the mount of the root private: %w", err), undo())
	}
	return undo, nil
}

// inherit gives the caller's standard streams for those of the checkpoint that
// came from outside.
func (m *making) inherit(c *criu.Criu, images string) error {
	data, err := readSmall(filepath.Join(images, stdioFile))
	var names [3]string
	if err == nil {
		err = json.Unmarshal(data, &names)
	}
	if err != nil {
		return fmt.Errorf("read %s of the checkpoint: %w", stdioFile, err)
	}
	for i, name := range names {
		if (strings.HasPrefix(name, "pipe:") || strings.HasPrefix(name, "file[")) && m.o.Extra.Stdio[i] != nil {
			c.AddInheritFd(name, m.o.Extra.Stdio[i])
		}
	}
	return nil
}
