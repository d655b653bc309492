package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"coracle/images"
	"coracle/images/layer"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// mountsFile tells which volumes and images a container has. It is written
// before the first volume is made, so that whoever finds a volume can tell whose
// it is, and a container that has no record yet leaves none behind.
const mountsFile = "mounts.json"

// noteMounts writes mountsFile, where there is anything that others ask for.
func (e *Engine) noteMounts(id string, all []spec.Mounted) error {
	for _, m := range all {
		if m.Type != "bind" {
			return writeJSON(filepath.Join(e.containerDir(id), mountsFile), all, false)
		}
	}
	return nil
}

func readMounts(dir string) ([]spec.Mounted, error) {
	var all []spec.Mounted
	err := readJSON(filepath.Join(dir, mountsFile), &all)
	if isNotFound(err) {
		return nil, nil
	}
	return all, err
}

// volumeUsers says which containers have which volume.
func (e *Engine) volumeUsers() (map[string][]string, error) {
	users := make(map[string][]string)
	err := e.eachMount(func(id string, m spec.Mounted) {
		if m.Type == "volume" {
			users[m.Name] = append(users[m.Name], id)
		}
	})
	return users, err
}

func (e *Engine) eachMount(f func(id string, m spec.Mounted)) error {
	ids, err := e.ids()
	if err != nil {
		return fmt.Errorf("list the containers: %w", err)
	}
	for _, id := range ids {
		all, err := readMounts(e.containerDir(id))
		if err != nil {
			return fmt.Errorf("read the mounts of container %.12s: %w", id, err)
		}
		for _, m := range all {
			f(id, m)
		}
	}
	return nil
}

// RemoveVolume removes a volume; one that containers have only with force, and
// then the containers as well. It returns the volume's whole name.
func (e *Engine) RemoveVolume(ctx context.Context, name string, force bool) (string, error) {
	if _, err := e.readVolume(name); isNotFound(err) { // one that cannot be read is removed all the same
		if name, err = e.wholeVolumeName(name); err != nil {
			return name, absent(err)
		}
	}
	for range 10 {
		users, err := e.removeUnused(ctx, name)
		if err != nil || len(users) == 0 {
			return name, err
		}
		if !force {
			return name, e.volumeInUse(name, users)
		}
		for _, id := range users {
			if err := e.removeUser(ctx, id); err != nil {
				return name, fmt.Errorf("remove volume %s: %w", name, err)
			}
		}
	}
	return name, &Error{Op: "remove volume " + name, Err: errors.New("new containers take it again and again")}
}

func (e *Engine) removeUser(ctx context.Context, id string) error {
	c, err := e.load(id)
	if err != nil && !isNotFound(err) {
		return err
	}
	return e.removeFound(ctx, c.orYoung(id, fmt.Sprintf("%.12s", id)), true, true)
}

func (e *Engine) volumeInUse(name string, users []string) error {
	var names []string
	for _, id := range users {
		c, _ := readRecord(e.containerDir(id))
		if c.Name == "" {
			c.Name = id[:min(12, len(id))]
		}
		names = append(names, c.Name)
	}
	return &Error{Op: "remove volume " + name, Err: fmt.Errorf("it is in use by %s", strings.Join(names, ", ")), Code: 2,
		Help: "remove them first, or with it: coracle volume rm --force " + name}
}

// removeUnused removes a volume unless containers have it, which it names. One
// that is gone is no error: somebody was faster.
func (e *Engine) removeUnused(ctx context.Context, name string) (users []string, err error) {
	lock, err := e.lockVolume(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("remove volume %s: %w", name, err)
	}
	defer lock.Release()
	// Who wants it has said so before it waits for the lock.
	all, err := e.volumeUsers()
	if err != nil {
		return nil, fmt.Errorf("remove volume %s: %w", name, err)
	}
	if len(all[name]) > 0 {
		return all[name], nil
	}
	dead := ".dead-" + name
	err = e.removeVolumeTree(ctx, dead) // of one who was killed
	if err == nil {
		err = os.Rename(e.volumeDir(name), filepath.Join(e.volumesDir(), dead))
	}
	if isNotFound(err) {
		return nil, nil
	}
	if err == nil {
		err = e.removeVolumeTree(ctx, dead)
	}
	if err != nil {
		return nil, e.explainVolume("remove volume "+name, err)
	}
	e.emit(volumeEvent("remove", name))
	return nil, nil
}

// removeVolumeTree removes a directory of volumes/. Files of mapped ids are the
// store stage's to remove.
func (e *Engine) removeVolumeTree(ctx context.Context, base string) error {
	dir, err := os.Open(e.volumesDir())
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if err = layer.RemoveAll(int(dir.Fd()), base); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	s := e.stage(ctx, ids.Base)
	return errors.Join(s.Remove(ctx, "volumes/"+base), s.Close())
}

// sweepVolumes removes what commands that were killed left half made or half
// removed. Who is at work holds the volume's lock.
func (e *Engine) sweepVolumes(ctx context.Context) {
	entries, err := os.ReadDir(e.volumesDir())
	if err != nil {
		return
	}
	for _, d := range entries {
		_, name, ok := strings.Cut(d.Name(), "-")
		if !ok || !strings.HasPrefix(d.Name(), ".new-") && !strings.HasPrefix(d.Name(), ".dead-") {
			continue
		}
		lock, err := images.TryLock(filepath.Join(e.root, "locks", "volume-"+name))
		if err != nil || lock == nil {
			continue
		}
		if err := e.removeVolumeTree(ctx, d.Name()); err != nil {
			e.warn(fmt.Sprintf("remove what is left of volume %s: %v", name, err), "")
		}
		lock.Release()
	}
	e.sweepLocks()
}

// sweepLocks removes the lock files of whoever was killed with one.
func (e *Engine) sweepLocks() {
	dir := filepath.Join(e.root, "locks")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, d := range entries {
		if !strings.HasPrefix(d.Name(), "volume-") && !strings.HasPrefix(d.Name(), "secret-") {
			continue
		}
		if lock, err := images.TryLock(filepath.Join(dir, d.Name())); err == nil && lock != nil {
			lock.Release()
		}
	}
}

// PruneVolumes removes the volumes that no container has and that all filters
// hold for, and returns their names.
func (e *Engine) PruneVolumes(ctx context.Context, filters []string) ([]string, error) {
	all, err := e.Volumes(append([]string{"dangling=true"}, filters...))
	if err != nil {
		return nil, err
	}
	e.sweepVolumes(ctx)
	var gone []string
	var failed []error
	for _, v := range all {
		users, err := e.removeUnused(ctx, v.Name)
		if err != nil {
			failed = append(failed, err)
		} else if len(users) == 0 {
			gone = append(gone, v.Name)
		}
	}
	return gone, errors.Join(failed...)
}

// dropVolumes removes the anonymous volumes among a container's mounts, once
// the container is no user of them any more. Others may have them still.
func (e *Engine) dropVolumes(ctx context.Context, mounts []spec.Mounted) error {
	var failed []error
	for _, m := range mounts {
		if m.Type == "volume" && m.Anonymous {
			_, err := e.removeUnused(ctx, m.Name)
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
