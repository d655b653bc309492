package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Network is one that containers share, in ROOT/networks/NAME.json. It is nothing but
// that file: who serves a container of it meets those who serve the others.
type Network struct {
	Name     string
	ID       string
	Created  time.Time
	Subnet   netip.Prefix
	Gateway  netip.Addr
	Subnet6  netip.Prefix // invalid without IPv6
	Gateway6 netip.Addr
	Internal bool
	MTU      int
	Labels   map[string]string
	// Containers are those that are to be part of it, by their ids.
	Containers map[string]Endpoint
}

// Endpoint is a container's place in a network.
type Endpoint struct {
	Name    string // of the container
	IPv4    netip.Addr
	IPv6    netip.Addr // invalid in a network without
	Aliases []string
	Running bool `json:"-"`
}

// CreateNetworkOptions are a network's, as they were typed.
type CreateNetworkOptions struct {
	Name     string
	Subnets  []string // one of each family at most
	IPv6     bool     // an IPv6 one, even if none is among them
	MTU      string
	Internal bool
	Ignore   bool // it is no error if there is one of that name
	Labels   map[string]string
}

// errNoNetwork is a network that is not there.
type errNoNetwork string

func (e errNoNetwork) Error() string        { return "there is no such network" }
func (e errNoNetwork) Is(target error) bool { return target == fs.ErrNotExist }

// Hint is what to type.
func (e errNoNetwork) Hint() string {
	return "make it: coracle network create " + string(e) + "; see which there are: coracle network ls"
}

func (e *Engine) networksDir() string             { return filepath.Join(e.root, "networks") }
func (e *Engine) networkFile(name string) string  { return filepath.Join(e.networksDir(), name+".json") }
func (e *Engine) networkDoors(name string) string { return filepath.Join(e.runRoot, "networks", name) }
func takenNetworkName(name string) bool {
	return slices.Contains([]string{"none", "host", "default", "bridge"}, name)
}
func (n Network) endpoint(id string) (Endpoint, bool) { p, ok := n.Containers[id]; return p, ok }

// lockNetworks holds all of them: they are small, and changed rarely.
func (e *Engine) lockNetworks() (unlock func(), err error) {
	if err := os.MkdirAll(e.networksDir(), 0o700); err != nil {
		return nil, fmt.Errorf("lock the networks: %w", err)
	}
	d, err := os.Open(e.networksDir())
	if err != nil {
		return nil, fmt.Errorf("lock the networks: %w", err)
	}
	if _, err := plainfile.Retry(func() (int, error) { return 0, unix.Flock(int(d.Fd()), unix.LOCK_EX) }); err != nil {
		d.Close()
		return nil, fmt.Errorf("lock the networks: %w", err)
	}
	return func() { d.Close() }, nil
}

// readNetwork reads one, without the containers that are gone.
func (e *Engine) readNetwork(name string) (n Network, err error) {
	if checkName(name) != nil || name == "" {
		return n, errNoNetwork(name)
	}
	if err := readJSON(e.networkFile(name), &n); errors.Is(err, fs.ErrNotExist) {
		return n, errNoNetwork(name)
	} else if err != nil {
		return n, err
	}
	for id, p := range n.Containers {
		c, err := e.load(id)
		if isNotFound(err) {
			if _, err := os.Stat(e.containerDir(id)); errors.Is(err, fs.ErrNotExist) {
				delete(n.Containers, id)
				os.Remove(filepath.Join(e.networkDoors(name), id))
				continue
			}
		}
		if err == nil {
			p.Name, p.Running = c.Name, c.Running()
			n.Containers[id] = p
		}
	}
	return n, nil
}

// Networks are all, by name.
func (e *Engine) Networks() ([]Network, error) {
	entries, err := os.ReadDir(e.networksDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the networks: %w", err)
	}
	var out []Network
	for _, d := range entries {
		name, ok := strings.CutSuffix(d.Name(), ".json")
		if !ok {
			continue
		}
		n, err := e.readNetwork(name)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// Memberships are the networks that containers are part of, by their ids: names, sorted.
// What cannot be read has nobody.
func (e *Engine) Memberships() map[string][]string {
	out := map[string][]string{}
	entries, _ := os.ReadDir(e.networksDir()) // sorted
	for _, d := range entries {
		var n Network
		if name, ok := strings.CutSuffix(d.Name(), ".json"); ok && readJSON(e.networkFile(name), &n) == nil {
			for id := range n.Containers {
				out[id] = append(out[id], name)
			}
		}
	}
	return out
}

// Network is one of them.
func (e *Engine) Network(name string) (Network, error) { return e.readNetwork(name) }

// RemoveNetwork removes one that no container has; with force those that do not run
// lose it.
func (e *Engine) RemoveNetwork(name string, force bool) error {
	unlock, err := e.lockNetworks()
	if err != nil {
		return err
	}
	defer unlock()
	n, err := e.readNetwork(name)
	if err != nil {
		return hinted("", err)
	}
	var users []string
	for id, p := range n.Containers {
		if p.Running || !force {
			users = append(users, p.Name)
		} else if c, err := e.load(id); err == nil {
			if err := e.noteLeft(c, n); err != nil {
				return err
			}
		}
	}
	if len(users) > 0 {
		slices.Sort(users)
		return &Error{Err: errors.New("containers have it: " + strings.Join(users, ", ")), Help: "remove them first: coracle rm --force " + strings.Join(users, " ")}
	}
	if err := os.Remove(e.networkFile(name)); err != nil {
		return err
	}
	os.RemoveAll(e.networkDoors(name))
	return nil
}

// PruneNetworks removes those that no container has.
func (e *Engine) PruneNetworks() (gone []string, err error) {
	all, err := e.Networks()
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if len(n.Containers) > 0 {
			continue
		}
		if err := e.RemoveNetwork(n.Name, false); err != nil {
			return gone, fmt.Errorf("remove network %s: %w", n.Name, err)
		}
		gone = append(gone, n.Name)
	}
	return gone, nil
}

// networksOf are those that a container is to be part of.
func (e *Engine) networksOf(id string) []Network {
	all, _ := e.Networks()
	return slices.DeleteFunc(all, func(n Network) bool { _, ok := n.endpoint(id); return !ok })
}
