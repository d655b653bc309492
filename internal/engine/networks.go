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
	"coracle/netns"

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
	Aliases []string
	Running bool `json:"-"`
}

// CreateNetworkOptions are a network's, as they were typed.
type CreateNetworkOptions struct {
	Name, Subnet string
	MTU          string
	Internal     bool
	Ignore       bool // it is no error if there is one of that name
	Labels       map[string]string
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

// Network is one of them.
func (e *Engine) Network(name string) (Network, error) { return e.readNetwork(name) }

// CreateNetwork makes one.
func (e *Engine) CreateNetwork(o CreateNetworkOptions) (Network, error) {
	op := "create network " + o.Name
	if err := checkName(o.Name); err != nil || o.Name == "" || takenNetworkName(o.Name) {
		return Network{}, &Error{Op: fmt.Sprintf("create network %q", o.Name), Err: errors.New("it cannot have that name"), Help: "letters, digits, _ . - after a letter or digit; not none, host, default or bridge"}
	}
	if kind, _, own := networkMode(o.Name); own || kind == kindJoined || kind == defaultNetwork {
		return Network{}, &Error{Op: op, Err: errors.New("a mode of --network has that name")}
	}
	unlock, err := e.lockNetworks()
	if err != nil {
		return Network{}, err
	}
	defer unlock()
	if n, err := e.readNetwork(o.Name); !isNotFound(err) {
		if err == nil && !o.Ignore {
			err = &Error{Op: op, Err: errors.New("there is one of that name"), Help: "coracle network inspect " + o.Name}
		}
		return n, err
	}
	all, err := e.Networks()
	if err != nil {
		return Network{}, err
	}
	n := Network{Name: o.Name, ID: newID(), Created: time.Now().UTC(), Internal: o.Internal, Labels: o.Labels, Containers: map[string]Endpoint{}}
	words := "mtu=" + o.MTU
	if o.MTU == "" {
		words = ""
	}
	subnet := o.Subnet
	if subnet == "" {
		if subnet, err = freeSubnet(all); err != nil {
			return n, fmt.Errorf("%s: %w", op, err)
		}
	}
	c, err := netns.ParseOptions(words+",cidr="+subnet, "")
	if err != nil {
		return n, hinted(op, err)
	}
	n.Subnet, n.Gateway, n.MTU = c.IPv4.Masked(), c.Gateway4, c.MTU
	for _, other := range all {
		if other.Subnet.Overlaps(n.Subnet) {
			return n, &Error{Op: op, Err: fmt.Errorf("%s overlaps with network %s, which has %s", n.Subnet, other.Name, other.Subnet), Help: "leave --subnet out, and a free one is chosen"}
		}
	}
	return n, writeJSON(e.networkFile(o.Name), n, true)
}

// freeSubnet is the first of podman's pool that nobody has.
func freeSubnet(all []Network) (string, error) {
	for i := range 256 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 89, byte(i), 0}), 24)
		if !slices.ContainsFunc(all, func(n Network) bool { return n.Subnet.Overlaps(p) }) {
			return p.String(), nil
		}
	}
	return "", errors.New("all of 10.89.0.0/16 is taken: choose a subnet with --subnet")
}

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
	for _, p := range n.Containers {
		if p.Running || !force {
			users = append(users, p.Name)
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

// lease gives a container its address in a network, always the same, or the one that
// is asked for.
func (e *Engine) lease(name, id, ip string, aliases []string) (Network, Endpoint, error) {
	unlock, err := e.lockNetworks()
	if err != nil {
		return Network{}, Endpoint{}, err
	}
	defer unlock()
	n, err := e.readNetwork(name)
	if err != nil {
		return n, Endpoint{}, err
	}
	if p, ok := n.endpoint(id); ok {
		return n, p, nil
	}
	p := Endpoint{Aliases: aliases}
	if p.IPv4, err = n.free(ip); err != nil {
		return n, p, err
	}
	n.Containers[id] = p
	return n, p, writeJSON(e.networkFile(name), n, false)
}

// free is an address that nobody has.
func (n Network) free(ip string) (netip.Addr, error) {
	taken := map[netip.Addr]string{}
	for id, p := range n.Containers {
		taken[p.IPv4] = fmt.Sprintf("%.12s %s", id, p.Name)
	}
	if ip != "" {
		c, err := netns.ParseOptions("cidr="+n.Subnet.String(), ip)
		if err != nil {
			return netip.Addr{}, hinted("", err)
		}
		if who, ok := taken[c.IPv4.Addr()]; ok {
			return netip.Addr{}, &Error{Op: "--ip " + ip, Err: errors.New("container " + who + " has it"), Help: "choose another, or leave it out"}
		}
		return c.IPv4.Addr(), nil
	}
	a := n.Gateway.Next().Next() // behind the name server's
	for range 1 << 16 {
		if !n.Subnet.Contains(a) || !n.Subnet.Contains(a.Next()) {
			break
		}
		if _, ok := taken[a]; !ok {
			return a, nil
		}
		a = a.Next()
	}
	return netip.Addr{}, &Error{Op: "--network " + n.Name, Err: fmt.Errorf("all addresses of %s are taken", n.Subnet), Help: "remove containers that are not needed, or make a larger network"}
}

// unlease takes a container out of a network.
func (e *Engine) unlease(name, id string) (p Endpoint, err error) {
	unlock, err := e.lockNetworks()
	if err != nil {
		return p, err
	}
	defer unlock()
	n, err := e.readNetwork(name)
	if err != nil {
		return p, hinted("", err)
	}
	p, ok := n.endpoint(id)
	if !ok {
		return p, errors.New("the container is not in it")
	}
	delete(n.Containers, id)
	return p, writeJSON(e.networkFile(name), n, false)
}

// networksOf are those that a container is to be part of.
func (e *Engine) networksOf(id string) []Network {
	all, _ := e.Networks()
	return slices.DeleteFunc(all, func(n Network) bool { _, ok := n.endpoint(id); return !ok })
}
