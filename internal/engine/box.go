package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"coracle/internal/begin"
	"coracle/internal/plainfile"
	"coracle/internal/randid"
	"coracle/spec"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// What a container leaves on disk, and who may touch it:
//
//	ROOT/containers/ID/   all of it: container.json, config.json, files, upper, work
//	ROOT/names/NAME       a link to ID; removed only under the lock names/.lock
//	ROOT/running/ID       a file that its launcher holds locked, with the path of its
//	                      directory in RUNROOT, which is not the same in each
//	                      session; a file that nobody has locked is a container
//	                      whose launcher was killed
//	RUNROOT/containers/ID its state, of which spec.Runtime takes care, once it
//	                      has run for a moment
//
// Whoever makes or removes a container holds running/ID. The file appears
// locked, in one step, so nobody can take a young container for a dead one;
// and it goes last, so that an interrupted removal is found again. A removal
// begins by renaming the directory to containers/.dead-ID.

const recordFile = "container.json"

// box is a container that this process holds.
type box struct {
	Container
	e    *Engine
	dir  string // ROOT/containers/ID
	rt   *spec.Runtime
	lock *os.File
}

func (e *Engine) containerDir(id string) string { return filepath.Join(e.root, "containers", id) }
func (e *Engine) deadDir(id string) string      { return filepath.Join(e.root, "containers", ".dead-"+id) }
func (e *Engine) runningFile(id string) string  { return filepath.Join(e.root, "running", id) }

// ownRunDir is where the state is of a container that this process makes.
func (e *Engine) ownRunDir(id string) string { return filepath.Join(e.runRoot, "containers", id) }

// runDir is where the container's launcher has put its state: it may have had
// another runtime directory than we have.
func (e *Engine) runDir(id string) string {
	n, err := e.readNote(id)
	if err != nil || !filepath.IsAbs(n.Dir) || filepath.Base(n.Dir) != id || filepath.Base(filepath.Dir(n.Dir)) != "containers" {
		return e.ownRunDir(id)
	}
	return n.Dir
}

// runtime is the OCI runtime that has the state of a container in dir.
func (e *Engine) runtime(dir string) *spec.Runtime {
	return &spec.Runtime{Root: filepath.Dir(dir), NoCgroup: true, Warn: func(msg string) { e.warn(msg, "") }}
}

// runtimeOf is the one that has the container's state.
func (e *Engine) runtimeOf(id string) *spec.Runtime { return e.runtime(e.runDir(id)) }

// forget makes sure that a container does not run, and removes its state.
func (e *Engine) forget(ctx context.Context, id string) error {
	door := e.doorPath(id)
	n, _ := e.readNote(id)
	err := e.runtimeOf(id).Delete(ctx, id, true)
	if err == nil {
		err = dropCgroup(ctx, id, n.Cgroup)
	}
	if err == nil {
		_ = unix.Unlink(door) // of a monitor that was killed
	}
	return err
}

func (e *Engine) readNote(id string) (begin.Note, error) {
	data, err := os.ReadFile(e.runningFile(id))
	return begin.ReadNote(string(data)), err
}

func newID() string { return randid.New(32) }

// newBox makes a container's directories and takes its lock and its name.
func (e *Engine) newBox(ctx context.Context, c Container, replace bool) (*box, error) {
	e.sweep(ctx)
	lock, err := e.claim(c.ID, c.ImageID)
	if err != nil {
		return nil, fmt.Errorf("make the container: %w", err)
	}
	return e.newHeldBox(ctx, c, lock, replace)
}

// newHeldBox is newBox of a container whose lock is taken.
func (e *Engine) newHeldBox(ctx context.Context, c Container, lock *os.File, replace bool) (*box, error) {
	b := &box{Container: c, e: e, dir: e.containerDir(c.ID), rt: e.runtime(e.ownRunDir(c.ID)), lock: lock}
	if err := b.populate(ctx, replace); err != nil {
		b.remove(ctx)
		return nil, err
	}
	return b, nil
}

func (b *box) populate(ctx context.Context, replace bool) error {
	for _, d := range []string{b.dir, filepath.Join(b.dir, "root")} {
		err := unix.Mkdir(d, 0o700)
		if errors.Is(err, fs.ErrNotExist) && d == b.dir {
			err = os.MkdirAll(d, 0o700)
		}
		if err != nil {
			return fmt.Errorf("make the container: mkdir %s: %w", d, err)
		}
	}
	return b.e.takeName(ctx, b, replace)
}

// save writes the record for the first time; see change for later.
func (b *box) save() error { return writeJSON(filepath.Join(b.dir, recordFile), b.Container, false) }

// close ends the holding of a container that stays.
func (b *box) close() { b.e.unclaim(b.ID, b.lock) }

// forget is to come before close and remove, where there is a state.
func (b *box) forget(ctx context.Context) error { return b.rt.Delete(ctx, b.ID, true) }

// remove removes all of the container, and says whether it could.
func (b *box) remove(ctx context.Context) bool {
	if err := b.e.removeHeld(ctx, b.Container, true); err != nil {
		b.e.warn(fmt.Sprintf("remove container %.12s: %v", b.ID, err), "the next start tries again")
		b.lock.Close()
		return false
	}
	b.e.unclaim(b.ID, b.lock)
	return true
}

// claim makes running/ID, locked by us. EWOULDBLOCK says that somebody holds
// it. A leftover of a dead launcher is taken over.
func (e *Engine) claim(id string, image digest.Digest) (*os.File, error) {
	path := e.runningFile(id)
	for range 100 {
		f, err := newLocked(path, begin.Note{Dir: e.ownRunDir(id), Image: image.String(), Launcher: begin.Self()}.String())
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return nil, err
			}
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		f, err = plainfile.Lock(path, unix.O_RDWR)
		if err == nil && plainfile.Named(f, path) {
			return f, nil
		}
		switch {
		case err == nil:
			f.Close() // its holder removed it while we waited
		case errors.Is(err, unix.EWOULDBLOCK) && !e.alive(id):
			time.Sleep(time.Millisecond) // somebody looks whether it is held
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return nil, unix.EWOULDBLOCK
}

// newLocked makes a file that is locked and whole from its first moment: it is
// locked and written without a name, and then linked to path.
func newLocked(path, content string) (*os.File, error) {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = plainfile.Retry(func() (int, error) { return unix.Write(fd, []byte(content)) })
	}
	if err == nil {
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unclaim removes running/ID; the file goes while it is still locked.
func (e *Engine) unclaim(id string, lock *os.File) {
	_ = unix.Unlink(e.runningFile(id))
	lock.Close()
}

// alive says whether somebody holds the container. Shared, so that two who ask
// are not taken for the launcher.
func (e *Engine) alive(id string) bool {
	fd, err := unix.Open(e.runningFile(id), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return errors.Is(unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// ErrRunning is why a container is not removed.
var ErrRunning = errors.New("it is running")

// RemoveContainer removes a container; a running one only with force. With
// volumes, its anonymous volumes go as well.
func (e *Engine) RemoveContainer(ctx context.Context, name string, force, volumes bool) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	return e.removeFound(ctx, c, force, volumes)
}

func (e *Engine) removeFound(ctx context.Context, c Container, force, volumes bool) error {
	if err := e.mayChange(); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	if err := e.nobodyDepends(c); err != nil {
		return err
	}
	lock, err := e.claim(c.ID, c.ImageID)
	if errors.Is(err, unix.EWOULDBLOCK) && !force {
		lock, err = e.claimEnded(ctx, c)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		if !force {
			return &Error{Op: "remove container " + c.Name, Err: ErrRunning, Help: "end it first, or type: coracle rm --force " + c.Name}
		}
		e.noMoreStarts(c.ID)
		lock, err = e.kill(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	if now, err := readRecord(e.containerDir(c.ID)); err == nil {
		c = now // a young one had none
	}
	if err = e.forget(ctx, c.ID); err == nil {
		err = e.removeHeld(ctx, c, volumes)
	}
	if err != nil {
		lock.Close()
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	e.emit(c.event("remove"))
	e.unclaim(c.ID, lock)
	return nil
}

// claimEnded is claim of a container whose launcher may be about to let go of it: it
// was just killed, or has written down the payload's end and not yet ended itself.
func (e *Engine) claimEnded(ctx context.Context, c Container) (*os.File, error) {
	for range 10 { // two seconds
		_ = e.letsGo(ctx, c.ID)
		lock, err := e.claim(c.ID, c.ImageID)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return lock, err
		}
		if now, err := readRecord(e.containerDir(c.ID)); err != nil || now.Status != Stopped {
			break
		}
	}
	return nil, unix.EWOULDBLOCK
}

// kill ends a running container, waits until its launcher has let go, and
// takes its lock. The state may not be there yet: it is read again and again.
func (e *Engine) kill(ctx context.Context, c Container) (*os.File, error) {
	for round := range 1000 {
		if round >= 10*patientRounds && e.stateless(c) {
			_ = e.signalLauncher(c.ID, unix.SIGKILL)
		}
		st, err := e.runtimeOf(c.ID).Load(c.ID)
		if err == nil {
			err = st.Kill(ctx, unix.SIGKILL, false)
		}
		if err != nil && !errors.Is(err, spec.ErrNotExist) && !errors.Is(err, spec.ErrNotRunning) {
			return nil, fmt.Errorf("end it: %w", err)
		}
		if lock, err := e.claim(c.ID, c.ImageID); !errors.Is(err, unix.EWOULDBLOCK) {
			return lock, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, &Error{Op: "end it", Err: errors.New("its launcher does not let go of it"), Help: "see what holds it: fuser -v " + e.runningFile(c.ID)}
}
