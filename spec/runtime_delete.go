package spec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"coracle/cgroupv2"
	"coracle/internal/plainfile"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Delete removes a container that has stopped or was never started, and with
// force also one that runs, that is only half made, or that is not there.
func (r *Runtime) Delete(ctx context.Context, id string, force bool) error {
	if err := checkID(id); err != nil {
		return err
	}
	if force {
		c, err := r.Load(id)
		if errors.Is(err, ErrSystemd) {
			return err
		}
		if err != nil {
			if terr := r.trust(); terr != nil && !errors.Is(terr, fs.ErrNotExist) {
				return terr // a path below it leads where its owner wants
			}
			return r.deleteDamaged(ctx, id)
		}
		c.end(ctx) // its maker or starter notices, and lets go of the lock
	}
	lock, err := r.lock(id)
	if errors.Is(err, ErrNotExist) && force {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	c, err := r.Load(id)
	if err != nil {
		if force && !errors.Is(err, ErrSystemd) {
			return r.removeDir(id)
		}
		return err
	}
	return c.Delete(ctx, force)
}

// Delete is Runtime.Delete of a container whose lock the caller holds.
func (c *Container) Delete(ctx context.Context, force bool) error {
	switch st := c.status(); {
	case st == specs.StateStopped:
	case force || st == specs.StateCreated:
		c.end(ctx)
	default:
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.ID, st)
	}
	if c.alive() {
		return fmt.Errorf("delete container %s: its process %d does not end", c.ID, c.Pid)
	}
	c.endStrays()
	var errs []error
	if cg, err := c.cgroup(); err == nil {
		// Without a pid namespace of its own a container can leave processes.
		if err := cg.Kill(ctx); err != nil && !errors.Is(err, cgroupv2.ErrNone) && !errors.Is(err, cgroupv2.ErrGone) {
			c.rt.warn("kill what is left of container %s: %v", c.ID, err)
		}
		errs = append(errs, cg.Remove(ctx))
		cg.Close()
	} else if !errors.Is(err, cgroupv2.ErrGone) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil && !force {
		return fmt.Errorf("delete container %s: %w", c.ID, err)
	} else if err != nil {
		c.rt.warn("delete container %s: %v", c.ID, err)
	}
	c.detachRoot()
	s := c.hooked()
	if err := c.rt.removeDir(c.ID); err != nil {
		return err
	}
	if s != nil { // the maker of a half made one has run them, or died before any hook
		c.poststop(ctx, s)
	}
	return nil
}

// deleteDamaged removes the directory of a container that has no state, or none
// that can be read.
func (r *Runtime) deleteDamaged(ctx context.Context, id string) error {
	for range 100 {
		f, err := lockDir(r.dir(id), false)
		switch {
		case err == nil && !plainfile.Named(f, r.dir(id)): // somebody was quicker
			f.Close()
		case err == nil:
			defer f.Close()
			if c, err := r.Load(id); err == nil {
				return c.Delete(ctx, true) // made to the end meanwhile
			}
			cgroupv2.Sweep(id)
			return r.removeDir(id)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return fmt.Errorf("delete container %s: %s is not a container's directory", id, r.dir(id))
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("delete container %s: %w", id, err)
		}
		// Somebody is at the very beginning of making it: it has a process
		// soon, or fails.
		if _, err := r.Load(id); err == nil {
			return r.Delete(ctx, id, true)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("delete container %s: somebody is making it", id)
}

// removeDir removes a container's directory. A restore that was killed leaves the
// root mounted in it, whose files are not the container's state.
func (r *Runtime) removeDir(id string) error {
	root := filepath.Join(r.dir(id), rootMount)
	for range 10 {
		if unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) != nil {
			break
		}
	}
	err := ignoreENOENT(unix.Rmdir(root)) // which fails where something is mounted still
	if err == nil || errors.Is(err, unix.ENOTDIR) {
		err = r.removeState(id)
	}
	if err != nil {
		return fmt.Errorf("remove the state of container %s: %w", id, err)
	}
	return nil
}

// removeState removes the directory: mostly of two files, and no others need to be
// looked for. The state goes last: who is killed before can delete once more.
func (r *Runtime) removeState(id string) error {
	dir := r.dir(id)
	for _, name := range []string{configFile, stateFile} {
		_ = unix.Unlink(filepath.Join(dir, name))
	}
	if unix.Rmdir(dir) == nil {
		return nil
	}
	return os.RemoveAll(dir)
}

func ignoreENOENT(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// end kills the container's first process, and with it its pid namespace, and
// waits until it is gone.
func (c *Container) end(ctx context.Context) {
	if cg, err := c.cgroup(); err == nil {
		_ = cg.Kill(ctx) // what is below tells whether it worked
		cg.Close()
	}
	f, err := c.process()
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0)
	for range 100 { // ten seconds
		if !c.alive() || ctx.Err() != nil {
			return
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 100)
	}
}

func (c *Container) cgroup() (*cgroupv2.Cgroup, error) { return cgroupv2.Open(c.Cgroup) }

// detachRoot takes the root of a container without a mount namespace, and all
// that is mounted on it, out of ours.
func (c *Container) detachRoot() {
	if c.RootMount == 0 || mountID(c.Rootfs) != c.RootMount {
		return
	}
	if err := unix.Unmount(c.Rootfs, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		c.rt.warn("unmount the root of container %s, %s: %v", c.ID, c.Rootfs, err)
	}
}

// mountID is the id of the mount that a path leads to, 0 where it cannot be told.
func mountID(path string) uint64 {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &st) != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return st.Mnt_id
}

// hostMounts says whether the container has no mount namespace of its own.
func (m *making) hostMounts() bool {
	return !slices.ContainsFunc(m.s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.MountNamespace })
}
