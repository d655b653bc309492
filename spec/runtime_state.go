package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"coracle/cgroupv2"
	"coracle/internal/plainfile"
	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// StatePaused is the one state that runtime-spec does not have.
const StatePaused specs.ContainerState = "paused"

// record is a line of state.json: runtime-spec's state, with the status as of when it
// was written, and what finds and tells the container's process from others.
type record struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   uint32    `json:"owner"` // the uid who made it

	StartTime uint64 `json:"startTime,omitempty"` // of the process, see ProcessStart
	Boot      string `json:"boot"`                // a state that outlived its boot names nobody

	// Namespaces are the inode numbers of the process's, by their names below
	// /proc/PID/ns: exec joins these and no others.
	Namespaces map[string]uint64 `json:"namespaces,omitempty"`
	Cgroup     cgroupv2.Ref      `json:"cgroup"`
	// Strays is there where the end of the first process is not that of all.
	Strays *strayMark `json:"strays,omitempty"`
	// Unlimited says which implied limits could not be had, and why.
	Unlimited []string `json:"unlimited,omitempty"`
	// RootMount is the id of the root's mount in the caller's own mount
	// namespace, 0 for a container that has one of its own.
	RootMount uint64 `json:"rootMount,omitempty"`
	// Poststopped: the poststop hooks have run.
	Poststopped bool `json:"poststopped,omitempty"`
	// InBundle: config.json is the bundle's own, see CreateOptions.Final.
	InBundle bool `json:"inBundle,omitempty"`
}

// Container is a container of a Runtime, as its state file had it when it was
// loaded.
type Container struct {
	rt         *Runtime
	config     atomic.Pointer[specs.Spec] // as Spec has read it
	unrecorded bool                       // no state directory has it: see CreateOptions.Unrecorded
	record
}

// Status is what a container is now.
type Status struct {
	specs.State
	Rootfs  string
	Created time.Time
	Owner   uint32
}

// Load reads a container's state.
func (r *Runtime) Load(id string) (*Container, error) {
	if err := r.find(id); err != nil {
		return nil, err
	}
	c := &Container{rt: r}
	data, err := readSmall(filepath.Join(r.dir(id), stateFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, notExist(id)
	}
	if err == nil {
		c.record, err = decodeState(data)
	}
	if errors.Is(err, io.EOF) { // its maker is at it, or was killed
		return nil, notExist(id)
	}
	if err == nil && c.ID != id {
		err = fmt.Errorf("it is about container %.80q", c.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of container %s: %w", id, err)
	}
	if r.NoSystemd && c.Cgroup.Unit != "" {
		return nil, &idError{id, ErrSystemd}
	}
	return c, nil
}

// readSmall reads a regular file of at most 64 MiB: the state directory may
// hold what somebody else put there.
func readSmall(path string) ([]byte, error) {
	fd, err := plainfile.Retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	const most = 64 << 20
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > most {
		return nil, fmt.Errorf("%s: not a regular file of less than 64 MiB", path)
	}
	return readSized(fd, path, int(st.Size), most)
}

// readSized reads a file to its end, or to most bytes, that is likely to have
// size: by two system calls, and without the poller that an os.File is tried with.
func readSized(fd int, path string, size, most int) ([]byte, error) {
	data := make([]byte, 0, size+1) // and to see the end
	for {
		n, err := plainfile.Retry(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		data = data[:len(data)+n]
		if n == 0 || len(data) > most {
			return data, nil
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

func (c *Container) dir() string { return c.rt.dir(c.ID) }

// save writes the state.
func (c *Container) save() error {
	data, err := plainjson.Encode(&c.record)
	if err == nil {
		err = appendState(filepath.Join(c.dir(), stateFile), data)
	}
	if err != nil {
		return fmt.Errorf("write the state of container %s: %w", c.ID, err)
	}
	return nil
}

// Spec is the configuration that the container was made from, read once: what
// hangs on the result must not be changed.
func (c *Container) Spec() (*specs.Spec, error) {
	if had := c.config.Load(); had != nil {
		s := *had
		return &s, nil
	}
	data, err := readSmall(c.configPath())
	var s specs.Spec
	if err == nil {
		err = plainjson.Decode(data, &s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration of container %s: %w", c.ID, err)
	}
	c.config.Store(&s)
	out := s
	return &out, nil
}

func (c *Container) configPath() string {
	if c.InBundle {
		return filepath.Join(c.Bundle, configFile)
	}
	return filepath.Join(c.dir(), configFile)
}

// hooked is Spec of a container that has hooks, nil of any other: most have
// none, and a large configuration takes longer to read than all else that a
// deletion does. The file is what json.Marshal has made of a Spec.
func (c *Container) hooked() *specs.Spec {
	data, err := readSmall(c.configPath())
	if err != nil || !bytes.Contains(data, []byte(`"hooks"`)) {
		return nil
	}
	s, err := c.Spec()
	if err != nil {
		return nil
	}
	return s
}

// Status says what the container is at this moment.
func (c *Container) Status() Status {
	s := Status{State: c.State, Rootfs: c.Rootfs, Created: c.Created, Owner: c.Owner}
	s.Status = c.status()
	if s.Status == specs.StateCreated && c.Namespaces == nil && c.beingMade() {
		s.Status = specs.StateCreating // its maker has the pipe open, too
	}
	if s.Status == specs.StateStopped || s.Status == specs.StateCreating {
		s.Pid = 0
	}
	return s
}

func (c *Container) status() specs.ContainerState {
	if !c.alive() {
		if c.Pid == 0 && c.beingMade() {
			return specs.StateCreating
		}
		return specs.StateStopped
	}
	switch {
	case c.waits():
		return specs.StateCreated
	case c.Namespaces == nil && c.beingMade():
		return specs.StateCreating
	case c.frozen():
		return StatePaused
	}
	return specs.StateRunning
}

// waits says whether the payload waits to be started: only the waiting stub
// has the pipe open.
func (c *Container) waits() bool {
	fd, err := unix.Open(filepath.Join(c.dir(), startPipe), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// beingMade says whether somebody holds the container's lock.
func (c *Container) beingMade() bool {
	f, err := lockDir(c.dir(), false)
	if err == nil {
		f.Close()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

func (c *Container) frozen() bool {
	cg, err := cgroupv2.Open(c.Cgroup)
	if err != nil {
		return false
	}
	defer cg.Close()
	frozen, err := cg.Frozen()
	return err == nil && frozen
}

// alive says whether the container's first process is still there, and no
// other one that got its pid.
func (c *Container) alive() bool {
	if c.Pid <= 0 || c.Boot != bootID() {
		return false
	}
	start, state, err := ProcessStart(c.Pid)
	return err == nil && start == c.StartTime && state != 'Z' && state != 'X'
}

// process returns a pidfd of the first process, or ErrNotRunning. Only the
// descriptor says which process is meant: a pid can be another's any time.
func (c *Container) process() (*os.File, error) {
	if c.Pid <= 0 || c.Boot != bootID() {
		return nil, &idError{c.ID, ErrNotRunning}
	}
	fd, err := unix.PidfdOpen(c.Pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, &idError{c.ID, ErrNotRunning}
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", c.Pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !c.alive() { // looked at after opening: from here on the descriptor is that process
		f.Close()
		return nil, &idError{c.ID, ErrNotRunning}
	}
	return f, nil
}

// List loads all containers. What is in the state directory and no container,
// or one that cannot be read, is told to Warn.
func (r *Runtime) List() ([]*Container, error) {
	entries, err := os.ReadDir(r.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state directory: %w", err)
	}
	if err := r.trust(); err != nil {
		return nil, err
	}
	var out []*Container
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := r.Load(e.Name())
		switch {
		case errors.Is(err, ErrNotExist):
			r.warn("%s holds no container yet, or not any more: skipped", r.dir(e.Name()))
		case err != nil:
			r.warn("%v: skipped", err)
		default:
			out = append(out, c)
		}
	}
	return out, nil
}
