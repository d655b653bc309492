package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"coracle/cgroupv2"
	"coracle/userns"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Restore makes a container from a checkpoint, and returns once its processes
// run. The first is the caller's child: to be waited for, or left with Detach.
//
// Of the hooks, prestart and createRuntime run when the namespaces are there,
// and poststart at the end. What createContainer and startContainer did is in
// the checkpoint.
func (r *Runtime) Restore(ctx context.Context, id string, co CreateOptions, o CheckpointOptions) (_ *Container, _ *Process, err error) {
	m := &making{rt: r, o: co}
	if err := m.configure(ctx, id); err != nil {
		return nil, nil, err
	}
	if err := canCheckpoint(m.s); err != nil {
		return nil, nil, fmt.Errorf("restore container %s: %w", id, err)
	}
	d, err := openDump(o, "restore.log", false)
	if err != nil {
		return nil, nil, err
	}
	defer d.close()
	if m.lock, err = r.claim(id); err != nil {
		return nil, nil, err
	}
	defer m.lock.Close()
	p := &Process{}
	defer func() {
		if err != nil {
			ctx := context.WithoutCancel(ctx)
			m.c.end(ctx)
			m.undo(ctx, p)
		}
		m.close()
	}()
	m.under = mountID(m.c.Rootfs)
	if err := m.makeCgroup(); err != nil {
		return nil, nil, err
	}
	if err := m.revive(ctx, d, o, p); err != nil {
		return nil, nil, fmt.Errorf("restore container %s: %w", id, err)
	}
	if err := m.handOver(p); err != nil {
		return nil, nil, err
	}
	m.c.State.Status = specs.StateRunning
	if err := m.c.save(); err != nil {
		return nil, nil, err
	}
	m.lock.Close() // whoever deletes the container does not wait for these hooks
	m.c.poststart(ctx, m.s)
	return m.c, p, nil
}

// rootMount is where, in the state directory, the root is while CRIU works.
const rootMount = "criu-root"

// revive has CRIU make the processes.
func (m *making) revive(ctx context.Context, d *dump, o CheckpointOptions, p *Process) (err error) {
	if err := d.needs(ctx, o); err != nil {
		return err
	}
	if err := m.mountPlaces(); err != nil {
		return err
	}
	root := filepath.Join(m.c.dir(), rootMount)
	undo, err := mountRoot(m.c.Rootfs, root, m.s.Root.Readonly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo()) }()
	back, err := d.lend(m.s.Linux)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()
	opts, err := d.options(m.s, o, true)
	if err != nil {
		return err
	}
	opts.Root, opts.RstSibling, opts.EvasiveDevices = &root, asked(true), asked(true)
	empty := o.EmptyNetwork || dumpedEmpty(m.s, o.ImagePath)
	if empty {
		opts.EmptyNs = asked(uint32(emptyNetwork))
	}
	if o.LSMProfile != "" {
		opts.LsmProfile = &o.LSMProfile
	}
	if o.LSMMountContext != "" {
		opts.LsmMountContext = &o.LSMMountContext
	}
	talk := d.talk(func(n notice) error { return m.restored(ctx, n, empty, p) })
	talk.stdin = m.o.Extra.Stdio[0]
	talk.started = func(pid int) error { return m.place(opts, pid) }
	opened, err := m.inherit(talk, opts, o.ImagePath)
	defer func() {
		for _, f := range opened {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if _, err = talk.run(ctx, &rpc.CriuReq{Type: asked(rpc.CriuReqType_RESTORE), Opts: opts}); err != nil {
		d.sweep()
	}
	return d.explain(err)
}

// inherit gives CRIU what comes from outside: standard streams and namespaces.
// The caller closes what was opened, also after an error.
func (m *making) inherit(t *criuTalk, opts *rpc.CriuOpts, images string) (opened []*os.File, err error) {
	add := func(key string, f *os.File) {
		opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: &key, Fd: asked(int32(firstCRIUFile + len(t.files)))})
		t.files = append(t.files, f)
	}
	names, files, err := m.inherited(images)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		add(name, files[i])
	}
	for i := range m.s.Linux.Namespaces {
		n := &m.s.Linux.Namespaces[i]
		if n.Path == "" {
			continue
		}
		o := slices.IndexFunc(outsideNamespaces, func(o outsideNamespace) bool { return o.kind == n.Type })
		if o < 0 {
			opts.JoinNs = append(opts.JoinNs, &rpc.JoinNamespace{Ns: asked(string(n.Type)), NsFile: &n.Path})
			continue
		}
		f, err := os.Open(n.Path)
		if err != nil {
			return opened, fmt.Errorf("linux.namespaces[%d].path: %w", i, err)
		}
		opened = append(opened, f)
		add(outsideNamespaces[o].key, f)
	}
	return opened, nil
}

// place tells CRIU, which has been started, where the container's mounts and
// its cgroup are. A scope of systemd's needs a process to be made: CRIU is it,
// as with runc.
func (m *making) place(opts *rpc.CriuOpts, criu int) error {
	dir := ""
	if m.cgroup != nil {
		if m.cgroup.Pending() {
			if err := m.cgroup.AddProcess(criu); err != nil {
				return err
			}
		}
		dir = m.cgroup.Path()
	}
	host, err := readMounts("self")
	if err != nil {
		return err
	}
	opts.ExtMnt = restoredMounts(outsideMounts(m.s, m.o.Bundle, dir, insideOf(m.c.Rootfs)), host)
	if dir == "" {
		return nil
	}
	tree, err := cgroupv2.Detect()
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(tree.Mount, dir); err == nil {
		opts.CgRoot = []*rpc.CgroupRoot{{Ctrl: asked(""), Path: asked("/" + rel)}}
	}
	return nil
}

// restored carries out what is ours while CRIU is at work.
func (m *making) restored(ctx context.Context, n notice, empty bool, p *Process) error {
	switch n.script {
	case "setup-namespaces": // the first process is there, alone: what it makes is born where it is
		if err := m.adopt(n.pid, p); err != nil {
			return err
		}
		if m.cgroup != nil && m.cgroup.Path() != "" {
			if err := m.cgroup.AddProcess(n.pid); err != nil {
				return err
			}
		}
		if err := m.record(n.pid); err != nil {
			return err
		}
		if empty {
			if err := errors.Join(loopbackUp(n.pid), moveNetDevices(m.s, n.pid)); err != nil {
				return err
			}
		}
		ctx, stop := whileAlive(ctx, p.child.PIDFD)
		defer stop()
		return m.hostHooks(ctx)
	case "orphan-pts-master":
		if p.Console != nil {
			n.file.Close()
			return errors.New("the checkpoint has two terminals whose other ends are outside")
		}
		p.Console = n.file
	}
	return nil
}

// adopt takes the first process, which CRIU makes our child.
func (m *making) adopt(pid int, p *Process) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	p.PID, p.child = pid, &userns.Child{PID: pid, PIDFD: os.NewFile(uintptr(fd), "pidfd")}
	return nil
}

// mountRoot mounts the root's directory on one of ours, for CRIU wants a mount
// point, and the directory need not be one. What the mount is the container's
// root becomes: CRIU does not make it read-only again.
func mountRoot(rootfs, place string, readonly bool) (undo func() error, err error) {
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
	if readonly {
		var st unix.Statfs_t
		err := unix.Statfs(place, &st)
		if err == nil { // the statfs flags are those of mount(2)
			const keep = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME
			err = unix.Mount("", place, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|uintptr(st.Flags)&keep, "")
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make the root read-only: %w", err), undo())
		}
	}
	return undo, nil
}
