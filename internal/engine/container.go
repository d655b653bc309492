package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/images/layer"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Status is a container's state in the words of runtime-spec runtime.md#state.
type Status string

// The states that a container in the foreground can have.
const (
	Running Status = "running"
	Stopped Status = "stopped"
)

// Container is the record of one container, containers/ID/container.json.
type Container struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Image    string            `json:"image"`             // as the user named it
	ImageID  digest.Digest     `json:"imageID,omitempty"` // "" for host and --rootfs
	Lowers   []string          `json:"lowers,omitempty"`  // chain ids in use, topmost first
	Command  []string          `json:"command"`
	Created  time.Time         `json:"created"`
	Finished time.Time         `json:"finished,omitzero"`
	Remove   bool              `json:"remove,omitempty"` // --rm
	Map      userns.Map        `json:"map"`
	Labels   map[string]string `json:"labels,omitempty"`

	Status   Status `json:"status"`
	PID      int    `json:"pid,omitempty"`
	ExitCode int    `json:"exitCode"`
	Signal   int    `json:"signal,omitempty"`
	TimedOut bool   `json:"timedOut,omitempty"`
}

// Running says whether the payload still runs.
func (c Container) Running() bool { return c.Status == Running }

// box is a container that this process holds: its directories exist, its name
// is taken, and its lock is ours until close.
type box struct {
	Container
	e    *Engine
	dir  string // ROOT/containers/ID
	run  string // RUNROOT/containers/ID
	lock *os.File
}

func (e *Engine) containerDir(id string) string { return filepath.Join(e.root, "containers", id) }
func (e *Engine) runDir(id string) string       { return filepath.Join(e.runRoot, "containers", id) }

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// newBox makes a container's directories and takes its name and lock. Order
// matters for kill -9 at any point: the lock comes first, since whoever finds
// a directory without a locked lock removes it.
func (e *Engine) newBox(ctx context.Context, c Container, replace bool) (*box, error) {
	if _, err := e.store(); err != nil { // makes it, or refuses a directory that is something else
		return nil, err
	}
	if err := e.makeRunRoot(); err != nil {
		return nil, err
	}
	e.sweep(ctx)
	b := &box{Container: c, e: e, dir: e.containerDir(c.ID), run: e.runDir(c.ID)}
	if err := os.Mkdir(b.run, 0o700); err != nil {
		return nil, fmt.Errorf("make the container: %w", err)
	}
	lock, err := lockFile(filepath.Join(b.run, "lock"), unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("lock the container: %w", err)
	}
	b.lock = lock
	if err := b.populate(ctx, replace); err != nil {
		b.remove(ctx)
		return nil, err
	}
	return b, nil
}

func (b *box) populate(ctx context.Context, replace bool) error {
	if err := os.MkdirAll(filepath.Join(b.dir, "files"), 0o700); err != nil {
		return fmt.Errorf("make the container: %w", err)
	}
	if err := os.Mkdir(filepath.Join(b.dir, "root"), 0o700); err != nil {
		return fmt.Errorf("make the container: %w", err)
	}
	if err := b.e.takeName(ctx, b, replace); err != nil {
		return err
	}
	return b.save(false)
}

// save writes the record; sync makes it last.
func (b *box) save(sync bool) error {
	return writeJSON(filepath.Join(b.dir, "container.json"), b.Container, sync)
}

// takeName makes names/NAME point to the container. The link is the name: it
// is made in one step, so two containers cannot have it.
func (e *Engine) takeName(ctx context.Context, b *box, replace bool) error {
	dir := filepath.Join(e.root, "names")
	given := b.Name != ""
	for try := range 20 {
		if !given {
			b.Name = randomName(try)
		}
		err := os.Symlink(b.ID, filepath.Join(dir, b.Name))
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("name the container %s: %w", b.Name, err)
			}
		case !errors.Is(err, fs.ErrExist):
			return fmt.Errorf("name the container %s: %w", b.Name, err)
		case given:
			if err := e.freeName(ctx, b.Name, replace); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("name the container: no free name was found")
}

// freeName frees a name whose container is gone, or that is to be replaced.
func (e *Engine) freeName(ctx context.Context, name string, replace bool) error {
	link := filepath.Join(e.root, "names", name)
	id, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("name the container %s: %w", name, err)
	}
	if _, err := os.Lstat(e.containerDir(id)); errors.Is(err, fs.ErrNotExist) {
		return os.Remove(link)
	}
	if !replace {
		return &Error{Op: "name the container " + name, Err: fmt.Errorf("the name is in use by container %.12s", id),
			Help: "choose another name, add --replace, or type: coracle rm " + name}
	}
	return e.RemoveContainer(ctx, id, true)
}

// close gives the lock up: the container is over, and stays.
func (b *box) close() {
	os.RemoveAll(b.run)
	b.lock.Close()
}

// remove removes all of the container. Files of mapped ids, which only the
// store stage may remove, are rare: it is asked when we cannot.
func (b *box) remove(ctx context.Context) {
	if err := b.e.removeTree(ctx, b.ID, b.Map); err != nil {
		b.e.warn(fmt.Sprintf("remove container %.12s: %v", b.ID, err), "coracle rm "+b.Name)
	}
	b.e.dropName(b.Name, b.ID)
	b.close()
}

// dropName removes the name if it still is this container's.
func (e *Engine) dropName(name, id string) {
	link := filepath.Join(e.root, "names", name)
	if to, err := os.Readlink(link); err == nil && to == id {
		os.Remove(link)
	}
}

func (e *Engine) removeTree(ctx context.Context, id string, m userns.Map) error {
	dir, err := os.Open(filepath.Join(e.root, "containers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	err = layer.RemoveAll(int(dir.Fd()), id)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	s := e.stage(ctx, m)
	return errors.Join(s.Remove(ctx, "containers/"+id), s.Close())
}

// load reads a container's record and says whether it still runs.
func (e *Engine) load(id string) (Container, error) {
	var c Container
	data, err := os.ReadFile(filepath.Join(e.containerDir(id), "container.json"))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read the record of container %.12s: %w", id, err)
	}
	if c.Status == Running && !e.alive(id) {
		c.Status, c.PID, c.ExitCode, c.Signal = Stopped, 0, 137, int(unix.SIGKILL)
	}
	return c, nil
}

// alive says whether a launcher holds the container's lock.
func (e *Engine) alive(id string) bool {
	f, err := lockFile(filepath.Join(e.runDir(id), "lock"), 0)
	if err == nil {
		f.Close()
		return false
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// Containers lists all containers, newest first.
func (e *Engine) Containers() ([]Container, error) {
	ids, err := os.ReadDir(filepath.Join(e.root, "containers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the containers: %w", err)
	}
	var out []Container
	for _, d := range ids {
		c, err := e.load(d.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // being made or removed at this moment
		}
		if err != nil {
			e.warn(err.Error(), "")
			continue
		}
		if c.Remove && c.Status == Stopped {
			continue // the next start sweeps it away
		}
		out = append(out, c)
	}
	sortNewest(out)
	return out, nil
}

// find resolves a name, an id or the unambiguous start of one.
func (e *Engine) find(name string) (Container, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return Container{}, errNotFound(name)
	}
	if id, err := os.Readlink(filepath.Join(e.root, "names", name)); err == nil {
		if c, err := e.load(id); err == nil {
			return c, nil
		}
	}
	ids, err := os.ReadDir(filepath.Join(e.root, "containers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Container{}, fmt.Errorf("find container %s: %w", name, err)
	}
	var found string
	for _, d := range ids {
		if !strings.HasPrefix(d.Name(), name) {
			continue
		}
		if found != "" {
			return Container{}, &Error{Op: "find container " + name, Err: errors.New("several ids start like this"), Help: "give more of the id: coracle ps -a --no-trunc"}
		}
		found = d.Name()
	}
	if found == "" {
		return Container{}, errNotFound(name)
	}
	return e.load(found)
}

// RemoveContainer removes a container; a running one only with force.
func (e *Engine) RemoveContainer(ctx context.Context, name string, force bool) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	if c.Running() {
		if !force {
			return &Error{Op: "remove container " + c.Name, Err: errors.New("it is running"), Help: "end it first, or type: coracle rm --force " + name}
		}
		if err := e.kill(c); err != nil {
			return err
		}
	}
	if err := e.removeTree(ctx, c.ID, c.Map); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Name, err)
	}
	e.dropName(c.Name, c.ID)
	return os.RemoveAll(e.runDir(c.ID))
}

// kill ends a running container and waits until its launcher has let go.
func (e *Engine) kill(c Container) error {
	st, err := e.readState(c.ID)
	if err == nil {
		err = st.signal(unix.SIGKILL)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end container %s: %w", c.Name, err)
	}
	for range 500 {
		if !e.alive(c.ID) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return &Error{Op: "end container " + c.Name, Err: errors.New("its launcher does not let go of it"), Help: fmt.Sprintf("see what holds %s: fuser -v %[1]s/lock", e.runDir(c.ID))}
}

// sweep removes what containers left behind whose launcher was killed. What
// runs, or ran in this boot, has a directory in the runtime directory; after a
// reboot that is empty, and every record is looked at once.
func (e *Engine) sweep(ctx context.Context) {
	runs, err := os.ReadDir(filepath.Join(e.runRoot, "containers"))
	if err != nil {
		return
	}
	for _, d := range runs {
		e.sweepOne(ctx, d.Name())
	}
	mark := filepath.Join(e.runRoot, "swept")
	if _, err := os.Lstat(mark); err == nil {
		return
	}
	boxes, _ := os.ReadDir(filepath.Join(e.root, "containers"))
	for _, d := range boxes {
		if _, err := os.Lstat(e.runDir(d.Name())); errors.Is(err, fs.ErrNotExist) {
			e.sweepBox(ctx, d.Name())
		}
	}
	if f, err := os.Create(mark); err == nil {
		f.Close()
	}
}

// sweepOne takes the lock of a container whose launcher is gone and ends it.
func (e *Engine) sweepOne(ctx context.Context, id string) {
	run := e.runDir(id)
	lock, err := lockFile(filepath.Join(run, "lock"), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A launcher between mkdir and lock looks like this too: only an old
		// directory is abandoned.
		if st, err := os.Lstat(run); err != nil || time.Since(st.ModTime()) < time.Minute {
			return
		}
	case err != nil:
		return // it runs
	default:
		defer lock.Close()
	}
	// The guard kills a container whose launcher died; be sure that it is gone.
	if st, err := e.readState(id); err == nil && st.end(5*time.Second) != nil {
		return
	}
	e.sweepBox(ctx, id)
	os.RemoveAll(run)
}

// sweepBox ends the books of a container that no launcher holds.
func (e *Engine) sweepBox(ctx context.Context, id string) {
	c, err := e.load(id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.ID = id // never got as far as a record
	case err != nil:
		return // a record that cannot be read is for a human
	case !c.Remove:
		if c.Status == Stopped {
			_ = writeJSON(filepath.Join(e.containerDir(id), "container.json"), c, true)
		}
		return
	}
	if err := e.removeTree(ctx, id, c.Map); err != nil {
		e.warn(fmt.Sprintf("remove what container %.12s left: %v", id, err), "")
		return
	}
	if c.Name != "" {
		e.dropName(c.Name, id)
	}
}

// imagesInUse says which containers hold which image.
func (e *Engine) imagesInUse() (map[digest.Digest][]string, error) {
	boxes, err := e.Containers()
	if err != nil {
		return nil, err
	}
	used := map[digest.Digest][]string{}
	for _, c := range boxes {
		if c.ImageID != "" {
			used[c.ImageID] = append(used[c.ImageID], c.Name)
		}
	}
	return used, nil
}

func isNotFound(err error) bool { return errors.Is(err, fs.ErrNotExist) }
