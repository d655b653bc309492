package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/images/layer"
	"coracle/internal/plainfile"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// removeHeld removes a container whose lock this process holds, and with
// volumes those that are its own. One that is gone already is no error:
// somebody was faster.
func (e *Engine) removeHeld(ctx context.Context, c Container, volumes bool) error {
	dead := e.deadDir(c.ID)
	if err := unix.Rename(e.containerDir(c.ID), dead); err != nil && !isNotFound(err) {
		return err
	}
	if c.Name != "" && !strings.HasSuffix(c.Name, "_"+c.ID[:min(6, len(c.ID))]) { // else it has no link
		e.dropName(c.Name, c.ID)
	}
	if volumes || c.Remove {
		mounts, err := readMounts(dead)
		if err == nil {
			err = e.dropVolumes(ctx, mounts)
		}
		if err != nil {
			return err
		}
	}
	return e.removeTree(ctx, filepath.Base(dead), c.Map)
}

// removeTree removes a directory of containers/. Files of mapped ids, which
// only the store stage may remove, are rare: it is asked when we cannot.
func (e *Engine) removeTree(ctx context.Context, name string, m userns.Map) error {
	dir, err := os.Open(filepath.Join(e.root, "containers"))
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	err = layer.RemoveAll(int(dir.Fd()), name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if len(m.UIDs) == 0 { // no record tells: the map that all directories are made with
		ids, err := e.defaultIDs(ctx)
		if err != nil {
			return err
		}
		m = ids.Base
	}
	s := e.stage(ctx, m)
	return errors.Join(s.Remove(ctx, "containers/"+name), s.Close())
}

// sweep ends the books of containers whose launcher was killed. Only what runs
// or was killed has a file in running/: the number of containers that are kept
// does not matter.
func (e *Engine) sweep(ctx context.Context) {
	dir, err := os.Open(filepath.Join(e.root, "running"))
	if err != nil {
		return
	}
	ids, _ := dir.Readdirnames(-1)
	dir.Close()
	for _, id := range ids {
		if err := e.sweepOne(ctx, id); err != nil {
			e.warn(fmt.Sprintf("remove what container %.12s left: %v", id, err), "the next start tries again")
		}
	}
}

// sweepOne takes the lock of a container whose launcher is gone.
func (e *Engine) sweepOne(ctx context.Context, id string) error {
	lock, err := plainfile.Lock(e.runningFile(id), unix.O_RDWR)
	for range 200 {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if n, noteErr := e.readNote(id); noteErr != nil || !n.Dead() {
			break
		}
		time.Sleep(5 * time.Millisecond) // until the container's first process has seen it, too
		lock, err = plainfile.Lock(e.runningFile(id), unix.O_RDWR)
	}
	if err != nil {
		return nil // it runs, or somebody else is at it
	}
	if !plainfile.Named(lock, e.runningFile(id)) {
		return lock.Close()
	}
	kills := e.oomKillsOf(id)
	// The guard kills a container whose launcher died; this makes sure.
	if err := e.forget(ctx, id); err != nil {
		lock.Close()
		return err
	}
	if err := e.sweepBox(ctx, id, kills); err != nil {
		lock.Close()
		return err
	}
	e.unclaim(id, lock)
	return nil
}

// sweepBox ends the books of a container that nobody else holds.
func (e *Engine) sweepBox(ctx context.Context, id string, oomKills uint64) error {
	c, err := readRecord(e.containerDir(id))
	switch {
	case isNotFound(err):
		// It never got as far as a record, or a removal was interrupted.
		c, err = readRecord(e.deadDir(id))
		c.ID = id
		if err != nil {
			e.dropNamesOf(id)
		}
		return e.removeHeld(ctx, c, err != nil)
	case err != nil:
		return err
	case c.Remove:
		err := e.removeHeld(ctx, c, true)
		if err == nil {
			c.ExitCode, c.Signal, c.Finished = 137, 9, time.Now().UTC()
			e.emit(c.died(), c.event("remove"))
		}
		return err
	}
	if c.Status != Running {
		return nil
	}
	c, err = e.change(id, func(c *Container) {
		c.Status, c.ExitCode, c.Signal, c.Finished = Stopped, 137, 9, time.Now().UTC()
		c.OOMKilled, c.OOMKills = oomKills > 0, oomKills
	})
	if err == nil {
		e.emit(c.died())
	}
	return err
}
