package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"coracle/internal/plainfile"
	"coracle/internal/plainjson"
	"coracle/netns"
	"coracle/spec"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Status is a container's state in the words of runtime-spec runtime.md#state.
type Status string

// The states of a container, as podman and docker call them.
const (
	Created Status = "created" // made, and never started
	Running Status = "running"
	Paused  Status = "paused" // told by the kernel, never written down
	Stopped Status = "exited"
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
	Started  time.Time         `json:"started,omitzero"` // the last time
	Finished time.Time         `json:"finished,omitzero"`
	Remove   bool              `json:"remove,omitempty"` // --rm
	Map      userns.Map        `json:"map"`
	Labels   map[string]string `json:"labels,omitempty"`
	Mounts   []spec.Mounted    `json:"mounts,omitempty"` // binds, volumes and images

	Detached    bool          `json:"detached,omitempty"` // it has a monitor while it runs
	StopSignal  int           `json:"stopSignal,omitempty"`
	StopTimeout time.Duration `json:"stopTimeout,omitempty"` // before SIGKILL; negative is for ever
	LogDriver   string        `json:"logDriver,omitempty"`   // "" for none: it was in the foreground
	LogPath     string        `json:"logPath,omitempty"`
	Restart     RestartPolicy `json:"restart,omitzero"`
	Owners      []string      `json:"owners,omitempty"`      // containers whose namespaces it shares
	Shared      bool          `json:"shared,omitempty"`      // another has it among its Owners, or had
	Network     string        `json:"network,omitempty"`     // as it was asked for; "" for the default
	Ports       []netns.Port  `json:"ports,omitempty"`       // published, the last time that it ran
	NetworkLost bool          `json:"networkLost,omitempty"` // who carried its packets has ended

	Limits      *spec.Limits      `json:"limits,omitempty"`      // as they are now; nil for none
	Annotations map[string]string `json:"annotations,omitempty"` // those that were asked for

	Status    Status `json:"status"`
	PID       int    `json:"-"` // while it runs: its state has it
	ExitCode  int    `json:"exitCode"`
	Signal    int    `json:"signal,omitempty"`
	TimedOut  bool   `json:"timedOut,omitempty"`
	OOMKilled bool   `json:"oomKilled,omitempty"` // as of Exit
	OOMKills  uint64 `json:"oomKills,omitempty"`  // so many processes
	Health    string `json:"health,omitempty"`    // starting, healthy, unhealthy: the last that is known; "" without a check
	Restarts  int    `json:"restarts,omitempty"`  // by its policy, since it was last started
	// StoppedByUser: somebody asked for its end, so its policy does not start it again.
	StoppedByUser bool   `json:"stoppedByUser,omitempty"`
	Error         string `json:"error,omitempty"` // why it could not be started, the last time

	state *spec.Container // of one that runs, as load has read it
	lost  bool            // its launcher was killed, and nobody has cleared up yet
}

// Running says whether the payload still runs.
func (c Container) Running() bool { return c.Status == Running || c.Status == Paused }

// load reads a container's record and says whether it still runs.
func (e *Engine) load(id string) (Container, error) {
	c, err := readRecord(e.containerDir(id))
	dead := err == nil && c.Status == Running && !e.alive(id)
	if dead {
		// Or it ended between the two looks: then the record says how by now.
		c, err = readRecord(e.containerDir(id))
		dead = err == nil && c.Status == Running && !e.alive(id)
	}
	switch {
	case err != nil || c.Status != Running:
	case dead:
		c.Status, c.ExitCode, c.Signal = Stopped, 137, 9
		_, err := e.runtimeOf(id).Load(id)
		c.lost = err == nil
	default:
		if st, err := e.runtimeOf(id).Load(id); err == nil { // else it is just starting
			now := st.Status()
			c.PID, c.state = now.Pid, st
			if now.Status == spec.StatePaused {
				c.Status = Paused
			}
		}
		if owner, ok := strings.CutPrefix(c.Network, ofContainer); ok && !c.NetworkLost {
			c.NetworkLost = e.hasLost(c, owner)
		}
	}
	return c, err
}

// hasLost says whether a container in the network of another is alone in it: the
// owner has ended, or has another one since it was started again.
func (e *Engine) hasLost(c Container, owner string) bool {
	o, err := e.load(owner)
	return isNotFound(err) || err == nil && (!o.Running() || o.NetworkLost || o.Started.After(c.Started))
}

// change changes the record of a container that is kept. Its monitor and other
// commands do so side by side: what f sees is what is written down now.
func (e *Engine) change(id string, f func(*Container)) (Container, error) {
	return e.rewrite(id, true, f)
}

// rewrite is change that others see at once, and that survives a power cut only
// with sync, or after syncRecord.
func (e *Engine) rewrite(id string, sync bool, f func(*Container)) (Container, error) {
	dir := e.containerDir(id)
	lock, err := os.Open(dir)
	if err != nil {
		return Container{}, err
	}
	defer lock.Close()
	if _, err := plainfile.Retry(func() (int, error) { return 0, unix.Flock(int(lock.Fd()), unix.LOCK_EX) }); err != nil {
		return Container{}, fmt.Errorf("lock the record of container %.12s: %w", id, err)
	}
	c, err := readRecord(dir)
	if err != nil {
		return c, err
	}
	f(&c)
	return c, writeJSON(filepath.Join(dir, recordFile), c, sync)
}

// syncRecord makes the record survive a power cut.
func (e *Engine) syncRecord(id string) {
	for _, path := range []string{filepath.Join(e.containerDir(id), recordFile), e.containerDir(id)} {
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			_ = unix.Fsync(fd) // no other way to have it than the one that has failed
			unix.Close(fd)
		}
	}
}

func readRecord(dir string) (Container, error) {
	var c Container
	data, err := plainfile.Read(filepath.Join(dir, recordFile))
	if err != nil {
		return c, err
	}
	if err := plainjson.Decode(data, &c); err != nil {
		return c, fmt.Errorf("read the record of container %.12s: %w", filepath.Base(dir), err)
	}
	if c.Status == "stopped" { // what earlier versions wrote
		c.Status = Stopped
	}
	return c, nil
}

// Containers lists all containers, newest first.
func (e *Engine) Containers() ([]Container, error) {
	ids, err := e.ids()
	if err != nil {
		return nil, fmt.Errorf("list the containers: %w", err)
	}
	var out []Container
	for _, r := range e.loadAll(ids) {
		if r.c.lost {
			r.c, r.err = e.settle(r.c)
		}
		switch {
		case isNotFound(r.err): // being made or removed at this moment
		case r.err != nil:
			e.warn(r.err.Error(), "")
		case r.c.Remove && r.c.Status == Stopped: // the next start sweeps it away
		default:
			out = append(out, r.c)
		}
	}
	sortNewest(out)
	return out, nil
}

type loaded struct {
	c   Container
	err error
}

// loadAll loads many containers, on several processors where that is worth it.
func (e *Engine) loadAll(ids []string) []loaded {
	if len(ids) > 200 {
		// A thousand records are some megabytes, all of which are still needed
		// when the collector would first look: a fifth of the time. Whoever lists
		// so many is a command that ends in a moment.
		debug.SetGCPercent(400)
	}
	out := make([]loaded, len(ids))
	workers := max(1, min(runtime.GOMAXPROCS(0), len(ids)/50))
	var wait sync.WaitGroup
	for w := range workers {
		part := func() {
			for i := w; i < len(ids); i += workers {
				out[i].c, out[i].err = e.load(ids[i])
			}
		}
		if w == workers-1 {
			part()
			break
		}
		wait.Go(part)
	}
	wait.Wait()
	return out
}

// ids are the names of all containers' directories.
func (e *Engine) ids() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(e.root, "containers"))
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	var out []string
	for _, d := range entries {
		if !strings.HasPrefix(d.Name(), ".") {
			out = append(out, d.Name())
		}
	}
	return out, nil
}

// settle ends the books of a container whose launcher was killed in this boot, and
// what is left of it, for whichever command is the first to see it. Where that is
// refused (a store that cannot be written to), the next start says so.
func (e *Engine) settle(c Container) (Container, error) {
	if e.mayChange() != nil || e.sweepOne(context.Background(), c.ID) != nil {
		return c, nil
	}
	return e.load(c.ID)
}

// find resolves a name, an id or the unambiguous start of one.
func (e *Engine) find(name string) (Container, error) {
	c, err := e.lookup(name)
	if err != nil || !c.lost {
		return c, err
	}
	if c, err = e.settle(c); isNotFound(err) {
		return Container{}, errNotFound(name) // it was one with --rm
	}
	return c, err
}

func (e *Engine) lookup(name string) (Container, error) {
	if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
		return Container{}, errNotFound(name)
	}
	if id, err := os.Readlink(filepath.Join(e.root, "names", name)); err == nil {
		if c, err := e.load(id); err == nil || isNotFound(err) && e.alive(id) {
			return c.orYoung(id, name), nil
		}
	}
	ids, err := e.ids()
	if err != nil {
		return Container{}, fmt.Errorf("find container %s: %w", name, err)
	}
	suffix := name[strings.LastIndexByte(name, '_')+1:]
	linkless := len(suffix) == 6 && len(suffix) < len(name)
	var found string
	for _, id := range ids {
		if linkless && strings.HasPrefix(id, suffix) {
			// mood_boat_ID: a name without a link, see takeName.
			if c, err := e.load(id); err == nil && c.Name == name {
				return c, nil
			}
		}
		if !strings.HasPrefix(id, name) {
			continue
		}
		if found != "" {
			return Container{}, &Error{Op: "find container " + name, Err: errors.New("several ids start like this"), Help: "give more of the id: coracle ps -a --no-trunc"}
		}
		found = id
	}
	if found == "" {
		return Container{}, errNotFound(name)
	}
	c, err := e.load(found)
	if isNotFound(err) && e.alive(found) {
		return c.orYoung(found, fmt.Sprintf("%.12s", found)), nil
	}
	if isNotFound(err) {
		return Container{}, errNotFound(name)
	}
	return c, err
}

// orYoung stands in for the record of a container that is just starting, which
// has its name and its id before that.
func (c Container) orYoung(id, name string) Container {
	if c.ID == "" {
		c.ID, c.Name, c.Status, c.Created = id, name, Running, time.Now().UTC()
	}
	return c
}

// imagesInUse says which containers hold which image: those with a record, and
// those that are being made, whose running file names the image.
func (e *Engine) imagesInUse() (map[digest.Digest][]string, error) {
	boxes, err := e.Containers()
	if err != nil {
		return nil, err
	}
	used, seen := map[digest.Digest][]string{}, map[string]bool{}
	for _, c := range boxes {
		if c.ImageID != "" {
			used[c.ImageID] = append(used[c.ImageID], c.Name)
			seen[c.ID] = true
		}
	}
	if err := e.eachMount(func(id string, m spec.Mounted) {
		if m.Type == "image" {
			used[digest.Digest(m.Source)] = append(used[digest.Digest(m.Source)], id[:min(12, len(id))])
		}
	}); err != nil {
		return nil, err
	}
	if err := e.imagesMounted(func(id digest.Digest, path string) { used[id] = append(used[id], path) }); err != nil {
		return nil, err
	}
	starting, err := os.ReadDir(filepath.Join(e.root, "running"))
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("list what is starting: %w", err)
	}
	for _, f := range starting {
		n, err := e.readNote(f.Name())
		if err == nil && n.Image != "" && !seen[f.Name()] && e.alive(f.Name()) {
			used[digest.Digest(n.Image)] = append(used[digest.Digest(n.Image)], f.Name()[:min(12, len(f.Name()))])
		}
	}
	return used, nil
}

func isNotFound(err error) bool { return errors.Is(err, fs.ErrNotExist) }
