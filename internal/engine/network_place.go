package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// openPlace opens the namespaces of a process of ours that has not begun.
func openPlace(pid int) (l userns.Place, err error) {
	if l.User, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", pid)); err != nil {
		return l, fmt.Errorf("open the container's user namespace: %w", err)
	}
	if l.Net, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
		l.Close()
		return userns.Place{}, fmt.Errorf("open the container's network namespace: %w", err)
	}
	return l, nil
}

// openInside opens the namespaces of the running container; see
// spec.Container.OpenNamespace.
func (r *run) openInside() (l userns.Place, err error) {
	for kind, to := range map[specs.LinuxNamespaceType]**os.File{specs.UserNamespace: &l.User, specs.NetworkNamespace: &l.Net} {
		if *to, err = r.state.OpenNamespace(kind); err != nil {
			l.Close()
			return userns.Place{}, err
		}
	}
	return l, nil
}

// maker makes sockets in a container's network, for published ports.
type maker struct {
	open   func() (userns.Place, error) // called when the first client comes, unless it is opened
	opaque bool                         // the network is not ours to change

	mu     sync.Mutex
	opened bool
	closed bool
	place  userns.Place
	failed error // of opening

	asked   bool // about transparent
	visible bool
}

// enter is called with the lock held.
func (m *maker) enter() (userns.Place, error) {
	if m.closed {
		return m.place, os.ErrClosed
	}
	if !m.opened {
		m.opened = true
		m.place, m.failed = m.open()
	}
	return m.place, m.failed
}

// Make is forward.Maker's.
func (m *maker) Make(family, kind int, transparent bool, n int) ([]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	place, err := m.enter()
	if err != nil {
		return nil, err
	}
	return place.Sockets(userns.Socket{Family: family, Type: kind, Transparent: transparent}, n)
}

// Transparent is forward.Maker's. Where it cannot be had, for example where /proc/sys
// is read-only, the container sees itself as the client.
func (m *maker) Transparent() bool {
	if m.opaque {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked {
		m.asked = true
		place, err := m.enter()
		m.visible = err == nil && place.Transparent() == nil
	}
	return m.visible
}

// close is for when nobody uses it any more.
func (m *maker) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.place.Close()
	m.place = userns.Place{}
}

// byPath begins the plan's path of a namespace that is joined by its own.
const byPath = "/ns:"

// findNetworkPath is for --network ns:PATH: a network namespace that somebody else
// has made. It is joined together with the user namespace that it belongs to, which
// says which ids the container has.
func (r *run) findNetworkPath(req userns.Request) (userns.Request, error) {
	path, ok := strings.CutPrefix(r.o.Network, kindJoined+":")
	if !ok {
		return req, nil
	}
	fail := func(err error, help string) (userns.Request, error) {
		return req, &Error{Op: "--network " + r.o.Network, Err: err, Help: help}
	}
	if !strings.HasPrefix(path, "/") {
		return fail(errors.New("the path must begin with a slash"), "for example ns:/run/netns/NAME or ns:/proc/PID/ns/net")
	}
	if len(r.owners) > 0 {
		return fail(errors.New("it cannot be used together with another container's namespaces"), "")
	}
	f, err := openNamespace(path, unix.CLONE_NEWNET)
	if err != nil {
		return fail(err, "it must be a file like /run/netns/NAME or /proc/PID/ns/net")
	}
	defer f.Close()
	r.joined.ByPath = true
	r.joined.Namespaces = map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: byPath + path}
	user, err := userns.OwnerOf(f)
	switch {
	case errors.Is(err, unix.EPERM), err == nil && user == nil && os.Geteuid() != 0:
		return fail(errors.New("it belongs to a user namespace around ours: only root there may join it"), "make one of your own: unshare --user --map-root-user --net")
	case err != nil || user == nil:
		if err != nil {
			return fail(err, "")
		}
		return req, nil // ours to join; the container is in a user namespace of its own all the same
	}
	defer user.Close()
	if req.Userns != "" || len(req.UIDMaps) > 0 || len(req.GIDMaps) > 0 {
		return fail(errors.New("--userns and the id maps cannot be chosen: the container is in the user namespace that the network belongs to"), "leave them out")
	}
	m, err := userns.MapOf(user)
	if err != nil {
		return fail(err, "")
	}
	r.joined.Namespaces[specs.UserNamespace] = byPath + path
	return m.Explicit(req), nil
}

// openNamespace opens one, and makes sure that it is of the kind.
func openNamespace(path string, kind int) (*os.File, error) {
	// Without waiting: it could be a pipe.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if got, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || got != kind {
		f.Close()
		return nil, errors.New("it is no network namespace")
	}
	return f, nil
}

// openByPath opens the network namespace at a path, or the user namespace that it
// belongs to, and says which user namespace that is.
func openByPath(path string, kind specs.LinuxNamespaceType) (f *os.File, user uint64, err error) {
	op := func(err error) error { return fmt.Errorf("join the network namespace %s: %w", path, err) }
	netns, err := openNamespace(path, unix.CLONE_NEWNET)
	if err != nil {
		return nil, 0, op(err)
	}
	owner, err := userns.OwnerOf(netns)
	if err != nil {
		netns.Close()
		return nil, 0, op(err)
	}
	var st unix.Stat_t
	if owner != nil {
		err = unix.Fstat(int(owner.Fd()), &st)
	}
	if kind == specs.UserNamespace {
		netns.Close()
		return owner, st.Ino, err
	}
	if owner != nil {
		owner.Close()
	}
	return netns, st.Ino, err
}

// openJoined is where published ports of a joined network lead to.
func (r *run) openJoined() (l userns.Place, err error) {
	path, _ := strings.CutPrefix(r.o.Network, kindJoined+":")
	if l.Net, _, err = openByPath(path, specs.NetworkNamespace); err != nil {
		return l, err
	}
	if r.joined.Namespaces[specs.UserNamespace] != "" {
		l.User, _, err = openByPath(path, specs.UserNamespace)
	}
	return l, err
}
