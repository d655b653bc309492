package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"coracle/cgroupv2"
	"coracle/spec/seccomp"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CreateOptions are what a container is made with besides its configuration.
type CreateOptions struct {
	Bundle string      // its directory
	Config *specs.Spec // nil: the bundle's config.json
	Extra  Extra       // the pieces that only the caller has

	PIDFile       string // gets the pid before Create returns; "" for none
	ConsoleSocket string // a listening socket that the terminal's master is sent to
	PIDFDSocket   string // one that a pidfd of the first process is sent to
}

// Create makes a container whose payload waits to be started. It outlives the
// caller. Errors unwrap as those of Start, and to ErrExist.
func (r *Runtime) Create(ctx context.Context, id string, o CreateOptions) (*Container, error) {
	m := &making{rt: r, o: o, wait: true}
	p, err := m.make(ctx, id)
	if err != nil {
		return nil, err
	}
	p.child.Close()
	return m.c, nil
}

// Run makes a container and starts its payload at once, as the caller's child:
// the Process is to be waited for, or left with Detach.
func (r *Runtime) Run(ctx context.Context, id string, o CreateOptions) (*Container, *Process, error) {
	m := &making{rt: r, o: o}
	p, err := m.make(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if m.wait {
		if err := m.c.start(ctx, m.s); err != nil {
			p.abort()
			return nil, nil, errors.Join(err, m.c.Delete(context.WithoutCancel(ctx), true))
		}
	}
	m.c.poststart(ctx, m.s)
	return m.c, p, nil
}

// making is a container on its way to being created.
type making struct {
	rt   *Runtime
	o    CreateOptions
	wait bool // the payload is to wait until Start

	s      *specs.Spec // as it is carried out
	c      *Container
	lock   *os.File
	cgroup *cgroupv2.Cgroup
	stub   *os.File
	under  uint64 // the mount that the root's directory is on
	hooked bool   // hooks have run, so poststop hooks have to
}

func (m *making) make(ctx context.Context, id string) (_ *Process, err error) {
	if err := m.configure(ctx, id); err != nil {
		return nil, err
	}
	if m.lock, err = m.rt.claim(id); err != nil {
		return nil, err
	}
	defer m.lock.Close()
	p := &Process{}
	defer func() {
		if err != nil {
			m.undo(context.WithoutCancel(ctx), p)
		}
		m.close()
	}()
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	l := &launch{s: m.s, x: &m.o.Extra, m: m.maps()}
	defer l.close()
	err = l.begin(ctx)
	if p.child = l.child; err != nil {
		return nil, err
	}
	p.PID = l.child.PID
	// From here on a killed launcher leaves a container that can be deleted.
	if err := m.record(p.PID); err != nil {
		return nil, err
	}
	if err := l.hooks(func() error { return m.hooks(ctx, l.child.PIDFD) }); err != nil {
		return nil, err
	}
	err = l.finish()
	p.Console = l.console
	if err != nil {
		return nil, commandError(err)
	}
	return p, m.handOver(p)
}

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
	m.c = &Container{rt: m.rt, record: record{
		State: specs.State{
			Version: specs.Version, ID: id, Status: specs.StateCreating, Bundle: m.o.Bundle, Annotations: m.s.Annotations,
		},
		Rootfs: m.s.Root.Path, Created: time.Now().UTC(), Owner: uint32(os.Getuid()), Boot: bootID(),
	}}
	return nil
}

// ownRoot makes root.path absolute and looks whether it can be one.
func (m *making) ownRoot() error {
	if m.s.Root == nil || m.o.Extra.Root != nil {
		return nil
	}
	root := *m.s.Root
	if !filepath.IsAbs(root.Path) {
		root.Path = filepath.Join(m.o.Bundle, root.Path)
	}
	var st unix.Stat_t
	err := unix.Lstat(root.Path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return &ConfigError{"root.path", fmt.Sprintf("%s: no such file or directory", root.Path)}
	case err != nil:
		return fmt.Errorf("root.path: look at %s: %w", root.Path, err)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return &ConfigError{"root.path", fmt.Sprintf("%s is a symbolic link: give the directory that it leads to", root.Path)}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return &ConfigError{"root.path", fmt.Sprintf("%s is not a directory", root.Path)}
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
	if m.s.Linux.Seccomp == nil {
		return nil
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

// prepare makes what the start needs: first the cgroup, for then the kernel can
// be at the namespaces while the rest is done.
func (m *making) prepare(ctx context.Context) (err error) {
	x := &m.o.Extra
	m.under = mountID(m.c.Rootfs)
	if err := m.makeCgroup(); err != nil {
		return err
	}
	x.Newborn = Begin(ctx, m.s, m.maps(), m.cgroup)
	if x.Stub == nil {
		if m.stub, err = userns.OpenStub(); err != nil {
			return err
		}
		x.Stub = m.stub
	}
	x.ID = m.c.ID
	x.Bundle = m.o.Bundle
	x.Hooks = len(hooksOf(m.s, func(h *specs.Hooks) [][]specs.Hook {
		return [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer} //nolint:staticcheck // deprecated, and still to be run
	})) > 0 || len(m.s.Linux.NetDevices) > 0 // which are moved at that time
	// Hooks that run in the container between its creation and its start.
	m.wait = m.wait || len(hooksOf(m.s, func(h *specs.Hooks) [][]specs.Hook { return [][]specs.Hook{h.StartContainer} })) > 0
	if m.wait {
		if x.Created, err = m.pipes(); err != nil {
			return err
		}
	}
	return m.filter()
}

func (m *making) maps() userns.Map {
	return userns.Map{UIDs: m.s.Linux.UIDMappings, GIDs: m.s.Linux.GIDMappings}
}

func (m *making) makeCgroup() (err error) {
	if m.rt.NoCgroup {
		return nil
	}
	m.cgroup, err = cgroupv2.New(cgroupv2.Config{ID: m.c.ID, Path: m.s.Linux.CgroupsPath, Resources: m.s.Linux.Resources,
		Devices: m.s.Linux.Devices, UserNamespace: inUserNamespace(m.s) || !HostRoot(),
		Systemd: m.rt.Systemd, Rootless: !HostRoot(), Annotations: m.s.Annotations})
	if err != nil {
		return err
	}
	m.c.Cgroup = m.cgroup.Ref()
	m.o.Extra.Cgroup = m.cgroup
	if m.cgroup.Path() != "" {
		// At once: a maker that is killed leaves a cgroup that can be deleted.
		if err := m.c.save(); err != nil {
			return err
		}
	}
	return m.giveCgroup()
}

// pipes makes the two named pipes of a container that waits.
func (m *making) pipes() (*userns.Created, error) {
	var c userns.Created
	for _, name := range []string{startPipe, reportPipe} {
		if err := unix.Mkfifo(filepath.Join(m.c.dir(), name), 0o600); err != nil {
			return nil, fmt.Errorf("make the pipe %s: %w", name, err)
		}
	}
	open := func(name string, flags int) (*os.File, error) {
		fd, err := unix.Open(filepath.Join(m.c.dir(), name), flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open the pipe %s: %w", name, err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	var err error
	if c.Start, err = open(startPipe, unix.O_RDWR); err != nil {
		return nil, err
	}
	// The write end waits for a reader: this one.
	reader, err := open(reportPipe, unix.O_RDONLY|unix.O_NONBLOCK)
	if err == nil {
		defer reader.Close()
		c.Report, err = open(reportPipe, unix.O_WRONLY)
	}
	if err != nil {
		c.Start.Close()
		return nil, err
	}
	return &c, nil
}

// record writes down the process and the configuration, while the child is at
// its mounts.
func (m *making) record(pid int) (err error) {
	m.c.Pid = pid
	if m.cgroup != nil {
		m.c.Cgroup = m.cgroup.Ref() // a scope of systemd's is there only now
		if err := m.giveCgroup(); err != nil {
			return err
		}
	}
	if m.c.StartTime, _, err = ProcessStart(pid); err != nil {
		return fmt.Errorf("look at the container's process: %w", err)
	}
	if err := m.c.save(); err != nil {
		return err
	}
	config, err := json.Marshal(m.s)
	if err == nil {
		err = os.WriteFile(filepath.Join(m.c.dir(), configFile), config, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the configuration of container %s: %w", m.c.ID, err)
	}
	return nil
}

// handOver gives away what the caller asked for, now that all is made.
func (m *making) handOver(p *Process) error {
	m.c.State.Status = specs.StateCreated
	if m.hostMounts() {
		m.c.RootMount = mountID(m.c.Rootfs)
	}
	if err := m.c.recordNamespaces(); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return err // a payload that has ended already is none
	}
	if err := m.c.save(); err != nil {
		return err
	}
	if m.o.ConsoleSocket != "" && p.Console != nil {
		err := sendFile(m.o.ConsoleSocket, p.Console, "/dev/ptmx")
		p.Console.Close()
		if p.Console = nil; err != nil {
			return fmt.Errorf("send the terminal to %s: %w", m.o.ConsoleSocket, err)
		}
	}
	if m.o.PIDFDSocket != "" {
		if err := sendFile(m.o.PIDFDSocket, p.child.PIDFD, "pidfd"); err != nil {
			return fmt.Errorf("send the pidfd to %s: %w", m.o.PIDFDSocket, err)
		}
	}
	if m.o.PIDFile != "" {
		if err := replaceFile(m.o.PIDFile, []byte(strconv.Itoa(p.PID)), 0o644); err != nil {
			return fmt.Errorf("write the pid file: %w", err)
		}
	}
	return nil
}

// undo removes all that was made of a container that did not come about.
func (m *making) undo(ctx context.Context, p *Process) {
	m.o.Extra.Newborn.Abandon() // unless it was used
	if p.child != nil {
		p.abort()
	}
	if m.hooked {
		m.c.poststop(ctx, m.s)
	}
	if id := mountID(m.c.Rootfs); m.hostMounts() && id != m.under {
		m.c.RootMount = id
		m.c.detachRoot()
	}
	if m.cgroup != nil {
		if err := m.cgroup.Remove(ctx); err != nil {
			m.rt.warn("%v", err)
		}
	}
	if err := os.RemoveAll(m.c.dir()); err != nil {
		m.rt.warn("remove the state of container %s: %v", m.c.ID, err)
	}
}

func (m *making) close() {
	if c := m.o.Extra.Created; c != nil {
		c.Start.Close()
		c.Report.Close()
	}
	if m.stub != nil {
		m.stub.Close()
	}
	if m.cgroup != nil {
		m.cgroup.Close()
	}
}

// commandError turns the failed search for the command, before the payload's
// start, into what a failed exec is.
func commandError(err error) error {
	var step *userns.StepError
	if errors.As(err, &step) && step.Step == commandStep {
		return &userns.ExecError{Errno: step.Errno}
	}
	return err
}

// sendFile sends a descriptor to who listens on a socket, with a name as runc does.
func sendFile(socket string, f *os.File, name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return err
	}
	for {
		err := unix.Sendmsg(fd, []byte(name), unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
