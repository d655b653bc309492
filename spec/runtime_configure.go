package spec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"coracle/spec/seccomp"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// configure loads and checks the configuration and completes it.
func (m *making) configure(ctx context.Context, id string) (err error) {
	if err := checkID(id); err != nil {
		return err
	}
	if m.o.Bundle, err = filepath.Abs(m.o.Bundle); err != nil {
		return fmt.Errorf("find the bundle: %w", err)
	}
	m.s = m.o.Config
	if m.s == nil {
		if m.s, err = LoadBundle(m.o.Bundle); err != nil {
			return err
		}
	}
	if !m.o.Final {
		if err := m.complete(ctx); err != nil {
			return err
		}
	}
	m.c = &Container{rt: m.rt, record: record{
		State: specs.State{
			Version: specs.Version, ID: id, Status: specs.StateCreating, Bundle: m.o.Bundle, Annotations: m.s.Annotations,
		},
		Rootfs: m.s.Root.Path, Created: time.Now().UTC(), Owner: uint32(os.Getuid()), InBundle: m.o.Final,
	}}
	return nil
}

// complete adds what the caller may leave out, and checks all of it.
func (m *making) complete(ctx context.Context) error {
	if err := m.ownRoot(); err != nil {
		return err
	}
	if err := m.ownUserNamespace(ctx); err != nil {
		return err
	}
	host, err := ReadHost(m.s)
	if err != nil {
		return err
	}
	warnings, err := Validate(m.s, host)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		m.rt.debug("%s", w)
	}
	m.environment()
	return nil
}

// ownRoot makes root.path absolute and looks whether it can be one.
func (m *making) ownRoot() error {
	if m.s.Root == nil || m.s.Root.Path == "" || m.o.Extra.Root != nil {
		return nil // Validate says what is missing
	}
	root := *m.s.Root
	if !filepath.IsAbs(root.Path) {
		root.Path = filepath.Join(m.o.Bundle, root.Path)
	}
	var st unix.Stat_t
	err := unix.Lstat(root.Path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return &ConfigError{Path: "root.path", Msg: fmt.Sprintf("%s: no such file or directory", root.Path)}
	case err != nil:
		return fmt.Errorf("root.path: look at %s: %w", root.Path, err)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return &ConfigError{Path: "root.path", Msg: fmt.Sprintf("%s is a symbolic link: give the directory that it leads to", root.Path)}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return &ConfigError{Path: "root.path", Msg: fmt.Sprintf("%s is not a directory", root.Path)}
	}
	s := *m.s
	s.Root, m.s = &root, &s
	return nil
}

// ownUserNamespace adds a user namespace with the caller's default map where
// the caller could not make the others without, or where the bundle wants one
// and says no map.
func (m *making) ownUserNamespace(ctx context.Context) error {
	if m.s.Linux == nil {
		return nil // Validate says so
	}
	i := slices.IndexFunc(m.s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	l := *m.s.Linux
	switch {
	case i >= 0 && (l.Namespaces[i].Path != "" || len(l.UIDMappings)+len(l.GIDMappings) > 0):
		return nil
	case i < 0 && userns.HaveCaps(unix.CAP_SYS_ADMIN):
		return nil
	}
	caller, err := userns.Caller(ctx)
	if err != nil {
		return err
	}
	ids, err := userns.Resolve(ctx, caller, userns.Request{})
	if err != nil {
		return err
	}
	if ids.Notice != "" {
		m.rt.warn("%s: %s", ids.Notice, ids.Hint)
	}
	if i < 0 {
		l.Namespaces = append(slices.Clone(l.Namespaces), specs.LinuxNamespace{Type: specs.UserNamespace})
	}
	l.UIDMappings, l.GIDMappings = ids.Map.UIDs, ids.Map.GIDs
	s := *m.s
	s.Linux, m.s = &l, &s
	return nil
}

// environment passes on what systemd gives to a service: descriptors
// (sd_listen_fds(3)) and the socket for notifications (sd_notify(3)).
func (m *making) environment() {
	p := *m.s.Process
	s := *m.s
	s.Process, m.s = &p, &s
	if n, err := strconv.ParseUint(os.Getenv("LISTEN_FDS"), 10, 16); err == nil && n > 0 && m.o.Extra.Preserve == 0 {
		m.o.Extra.Preserve = uint(n)
		p.Env = append(slices.Clone(p.Env), fmt.Sprintf("LISTEN_FDS=%d", n), "LISTEN_PID=1")
	}
	// An abstract name, with @, means nothing in another network namespace.
	if socket := os.Getenv("NOTIFY_SOCKET"); filepath.IsAbs(socket) {
		const inside = "/run/notify/notify.sock"
		s.Mounts = append(slices.Clone(s.Mounts), specs.Mount{Destination: inside, Type: "bind", Source: socket, Options: []string{"bind", "nosuid", "nodev", "noexec"}})
		p.Env = append(slices.Clone(p.Env), "NOTIFY_SOCKET="+inside)
	}
	if m.o.Extra.Root == nil { // else nothing is there yet, and the engine has set it
		p.Env = withHome(p.Env, s.Root.Path, p.User.UID)
	}
}

// filter compiles the seccomp rules.
func (m *making) filter() error {
	if m.s.Linux.Seccomp == nil || m.o.Extra.Seccomp != nil {
		return nil // there is none, or the caller has compiled it
	}
	prog, err := seccomp.Compile(m.s.Linux.Seccomp, runtime.GOARCH)
	if err != nil {
		return fmt.Errorf("linux.seccomp: %w", err)
	}
	x := &m.o.Extra
	x.Seccomp, x.SeccompFlags = prog.Filter, prog.Flags
	x.Listener, x.ListenerMetadata, x.State = m.s.Linux.Seccomp.ListenerPath, m.s.Linux.Seccomp.ListenerMetadata, m.c.State
	return nil
}
