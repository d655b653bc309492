package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// share is a namespace that a flag may take from another container, its owner.
type share struct {
	flag  string
	kind  specs.LinuxNamespaceType
	value *string
}

const ofContainer = "container:"

func (o *RunOptions) shares() []share {
	return []share{
		{"--network", specs.NetworkNamespace, &o.Network}, {"--ipc", specs.IPCNamespace, &o.IPC},
		{"--pid", specs.PIDNamespace, &o.PID}, {"--uts", specs.UTSNamespace, &o.UTS},
		{"--userns", specs.UserNamespace, &o.Userns.Userns},
	}
}

// owner is the container that is meant, "" for none.
func (s share) owner() string {
	name, ok := strings.CutPrefix(*s.value, ofContainer)
	if !ok {
		return ""
	}
	return name
}

// findOwners makes the owners' names in the options ids. A namespace belongs to a
// user namespace, and only who is in that one can use it: so the owner's user
// namespace, and with it its ids, are the container's, too. Source:
// user_namespaces(7), "Interaction of user namespaces and other types".
func (r *run) findOwners() error {
	for _, s := range r.o.shares() {
		if s.owner() == "" {
			continue
		}
		op := fmt.Sprintf("share a namespace (%s %s)", s.flag, *s.value)
		if u := r.o.Userns; u.Userns != "" && !strings.HasPrefix(u.Userns, ofContainer) || len(u.UIDMaps) > 0 || len(u.GIDMaps) > 0 || u.SubUIDName != "" || u.SubGIDName != "" {
			return &Error{Op: op, Err: errors.New("--userns and the id maps cannot be chosen: the container is in the user namespace of the other, which the namespace belongs to"), Help: "leave --userns, --uidmap and --gidmap out"}
		}
		c, err := r.e.find(s.owner())
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		p, err := r.e.readBlueprint(c.ID)
		if err != nil {
			return &Error{Op: op, Err: errors.New("that container is removed when its command ends"), Help: "start it with coracle run --detach"}
		}
		if theirs := p.Options.share(s.kind); theirs == "host" {
			*s.value = theirs
		} else {
			*s.value = ofContainer + c.ID
		}
		if len(r.owners) > 0 && !slices.Equal(r.ids.Map.UIDs, p.IDs.Map.UIDs) {
			return &Error{Op: op, Err: errors.New("it has other ids than the container of another flag"), Help: "both must be in one user namespace"}
		}
		r.ids = p.IDs
		if !slices.Contains(r.owners, c.ID) {
			r.owners = append(r.owners, c.ID)
		}
		r.taken(s.kind, c.ID, p)
	}
	return nil
}

func (o *RunOptions) share(kind specs.LinuxNamespaceType) string {
	for _, s := range o.shares() {
		if s.kind == kind {
			return *s.value
		}
	}
	return ""
}

// taken notes what comes with a namespace. The path of the namespace is not
// known before the start: the owner gets another process with each of its own.
func (r *run) taken(kind specs.LinuxNamespaceType, id string, p blueprint) {
	j := &r.joined
	if j.Namespaces == nil {
		j.Namespaces = map[specs.LinuxNamespaceType]string{}
	}
	if o := r.o; !strings.HasPrefix(o.share(kind), ofContainer) {
		return
	}
	j.Namespaces[kind] = "/" + ofContainer + id + "/" + string(kind)
	j.Namespaces[specs.UserNamespace] = "/" + ofContainer + id + "/" + string(specs.UserNamespace)
	switch kind {
	case specs.UTSNamespace:
		j.Hostname = p.Result.Spec.Hostname
	case specs.NetworkNamespace:
		for _, m := range p.Result.Spec.Mounts { // the files themselves: who adds a name adds it for both
			switch m.Destination {
			case "/etc/hosts":
				j.Hosts = m.Source
			case "/etc/resolv.conf":
				j.ResolvConf = m.Source
			}
		}
	}
}

// join is the configuration with the namespaces of the owners as they run now,
// which are held until release is called.
func (r *run) join() (config *specs.Spec, release func(), err error) {
	r.extra.Strays = r.o.PID != "" && r.o.PID != "private"
	r.extra.Trees = nil
	if len(r.joined.Namespaces) == 0 {
		return r.result.Spec, func() {}, nil
	}
	s, linux := *r.result.Spec, *r.result.Spec.Linux
	s.Linux, linux.Namespaces = &linux, slices.Clone(linux.Namespaces)
	var held []*os.File
	closeAll := func() {
		for _, f := range held {
			f.Close()
		}
	}
	var user uint64
	for i, ns := range linux.Namespaces {
		if ns.Path == "" {
			continue
		}
		f, in, err := r.openShared(ns)
		if err == nil && user != 0 && in != user {
			f.Close()
			err = &Error{Op: fmt.Sprintf("share the %s namespace", ns.Type), Err: errors.New("its container is in another user namespace than that of another flag"), Help: "let one of the two share the other's"}
		}
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		user, held = in, append(held, f)
		linux.Namespaces[i].Path = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		if ns.Type == specs.IPCNamespace {
			if tree := r.shareMemory(&s, ownerOf(ns)); tree != nil {
				held = append(held, tree)
			}
		}
	}
	return &s, closeAll, nil
}

// ownerOf is the container that a namespace of the plan is to come from.
func ownerOf(ns specs.LinuxNamespace) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(ns.Path, "/"+ofContainer), "/")
	return id
}

// shareMemory puts the owner's /dev/shm in the place of the container's own, if
// both have it: POSIX shared memory is files in there. The result is to be closed
// after the start.
func (r *run) shareMemory(s *specs.Spec, owner string) *os.File {
	i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == shmDir && m.Type == "tmpfs" && m.Source == "shm" })
	if i < 0 {
		return nil // something else is mounted there
	}
	st, err := r.e.runtimeOf(owner).Load(owner)
	if err != nil {
		return nil
	}
	tree, err := st.OpenTree(shmDir)
	if err != nil {
		return nil // it has none, or the kernel cannot clone it
	}
	s.Mounts = slices.Clone(s.Mounts)
	s.Mounts[i] = specs.Mount{Destination: shmDir, Type: "bind", Source: shmDir, Options: []string{"bind", "nosuid", "noexec", "nodev"}}
	r.extra.Trees = map[string]*os.File{shmDir: tree}
	return tree
}

const shmDir = "/dev/shm"

// openShared opens a namespace that is a container's, or has a path.
func (r *run) openShared(ns specs.LinuxNamespace) (f *os.File, user uint64, err error) {
	if path, ok := strings.CutPrefix(ns.Path, byPath); ok {
		return openByPath(path, ns.Type)
	}
	return r.e.openOwned(ns)
}

// openOwned opens a namespace of its owner, and says in which user namespace that
// is. It is known to be the one that the owner was made with: a first process can
// leave its namespaces, for others that it has prepared for us, and a pid can
// become another process's.
func (e *Engine) openOwned(ns specs.LinuxNamespace) (f *os.File, user uint64, err error) {
	c, err := e.find(ownerOf(ns))
	if err != nil {
		return nil, 0, fmt.Errorf("share the %s namespace: %w", ns.Type, err)
	}
	op := fmt.Sprintf("share the %s namespace of container %s", ns.Type, c.Name)
	st, err := e.runtimeOf(c.ID).Load(c.ID)
	if err == nil {
		if f, err = st.OpenNamespace(ns.Type); err == nil {
			return f, st.Namespaces["user"], nil
		}
	}
	if !c.Running() || errors.Is(err, spec.ErrNotExist) || errors.Is(err, spec.ErrNotRunning) {
		return nil, 0, &Error{Op: op, Err: errors.New("that does not run"), Help: "coracle start " + c.Name}
	}
	return nil, 0, fmt.Errorf("%s: %w", op, err)
}

// startOwners starts those that a container cannot start without, as podman does.
func (e *Engine) startOwners(ctx context.Context, c Container) error {
	for _, id := range c.Owners {
		owner, err := e.find(id)
		if err == nil && !owner.Running() {
			_, err = e.Start(ctx, id, StartOptions{})
		}
		if err != nil {
			return fmt.Errorf("start container %s: it shares namespaces of another: %w", c.Name, err)
		}
	}
	return nil
}

// Dependents are the containers that share namespaces of another, and theirs;
// whoever depends on one stands before it.
func (e *Engine) Dependents(name string) ([]Container, error) {
	c, err := e.find(name)
	if err != nil {
		return nil, err
	}
	return e.dependents(c, map[string]bool{c.ID: true})
}

func (e *Engine) dependents(c Container, seen map[string]bool) ([]Container, error) {
	if !c.Shared {
		return nil, nil
	}
	ids, err := e.ids()
	if err != nil {
		return nil, fmt.Errorf("look for containers that depend on %s: %w", c.Name, err)
	}
	var out []Container
	for _, id := range ids {
		other, err := e.load(id)
		if err != nil || seen[id] || !slices.Contains(other.Owners, c.ID) {
			continue
		}
		seen[id] = true
		deeper, err := e.dependents(other, seen)
		if err != nil {
			return nil, err
		}
		out = append(append(out, deeper...), other)
	}
	return out, nil
}

// nobodyDepends says who does, as an error.
func (e *Engine) nobodyDepends(c Container) error {
	found, err := e.dependents(c, map[string]bool{c.ID: true})
	if err != nil || len(found) == 0 {
		return err
	}
	var names []string
	for _, d := range found {
		names = append(names, d.Name)
	}
	return &Error{Op: "remove container " + c.Name, Err: fmt.Errorf("it has dependent containers, which share its namespaces: %s", strings.Join(names, ", ")),
		Help: "remove them first, or type: coracle rm --depend " + c.Name}
}

// markShared notes at the owners that somebody depends on them.
func (r *run) markShared() error {
	for _, id := range r.owners {
		if _, err := r.e.change(id, func(c *Container) { c.Shared = true }); err != nil {
			return fmt.Errorf("share namespaces of container %.12s: %w", id, err)
		}
	}
	return nil
}
