package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// WriteMap gives process pid, a child in a user namespace without maps, its
// id maps: by itself where the kernel allows that (see Map.Direct), else by
// newuidmap and newgidmap side by side. Each map is all or nothing; after an
// error the process is of no use and must be killed. Errors are
// *RestrictedError where the reason is known, or unwrap to ErrBadMap.
func WriteMap(ctx context.Context, pid int, m Map) error {
	return realSystem().writeMap(ctx, pid, m)
}

func (s system) writeMap(ctx context.Context, pid int, m Map) error {
	if err := m.Validate(); err != nil {
		return err
	}
	id := Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), SetID: HaveCaps(unix.CAP_SETUID, unix.CAP_SETGID)}
	var helpers [2]*mapper
	for i, k := range idKinds(m) {
		if k.direct(id) {
			continue
		}
		h, err := s.startMapper(k, pid)
		if err != nil {
			helpers[0].abandon()
			return err
		}
		helpers[i] = h
	}
	var errs []error
	for i, k := range idKinds(m) {
		if helpers[i] != nil {
			errs = append(errs, helpers[i].wait(ctx))
		} else {
			errs = append(errs, s.writeDirect(k, pid, id))
		}
	}
	for i, err := range errs {
		if err != nil {
			// One reason mostly stands behind both failures: say it once.
			return s.explainWrite(idKinds(m)[i], err)
		}
	}
	return nil
}

// idKind is one of the two maps of a process.
type idKind struct {
	name    string // "uid", "gid"
	helper  string
	extents []specs.LinuxIDMapping
}

func idKinds(m Map) [2]idKind {
	return [2]idKind{{"uid", "newuidmap", m.UIDs}, {"gid", "newgidmap", m.GIDs}}
}

func (k idKind) direct(id Identity) bool {
	if k.name == "uid" {
		return id.SetID || ownOnly(k.extents, id.UID)
	}
	return id.SetID || ownOnly(k.extents, id.GID)
}

func (s system) writeDirect(k idKind, pid int, id Identity) error {
	dir := "/proc/" + strconv.Itoa(pid)
	if k.name == "gid" && !id.SetID {
		// The kernel demands it of unprivileged writers: who drops a group
		// could otherwise enter what is closed to that group (CVE-2014-8989).
		if err := writeOnce(s.file(dir+"/setgroups"), "deny"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return writeOnce(s.file(dir+"/"+k.name+"_map"), mapText(k.extents))
}

// writeOnce writes in one call, as the map files demand. No O_CREATE: it
// would hide a process that is gone.
func writeOnce(name, text string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	_, err = unix.Write(fd, []byte(text))
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// mapper is a running newuidmap or newgidmap.
type mapper struct {
	name   string
	pid    int
	stderr int // read end of a pipe
}

// startMapper uses no os/exec: its pidfd check, goroutines and PATH search
// are as dear as the helper itself.
func (s system) startMapper(k idKind, pid int) (*mapper, error) {
	path, ok := s.find(k.helper)
	if !ok {
		osRelease, _ := s.read("/etc/os-release")
		return nil, &RestrictedError{
			Cause: CauseNoHelper, Reason: k.helper + " is not installed, and it alone may write a map of several ids",
			Advice: installHint(string(osRelease)), Err: os.ErrNotExist,
		}
	}
	argv := []string{k.helper, strconv.Itoa(pid)}
	for _, e := range k.extents {
		argv = append(argv, id32(e.ContainerID), id32(e.HostID), id32(e.Size))
	}
	// Raw descriptors: os.File would put them into the poller.
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("start %s: make a pipe: %w", k.helper, err)
	}
	defer unix.Close(pipe[1])
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(pipe[0])
		return nil, fmt.Errorf("start %s: open %s: %w", k.helper, os.DevNull, err)
	}
	defer unix.Close(null)
	child, err := syscall.ForkExec(s.file(path), argv, &syscall.ProcAttr{
		// The messages are read below and shown: in English, as documented.
		Env:   []string{"LC_ALL=C"},
		Files: []uintptr{uintptr(null), uintptr(null), uintptr(pipe[1])},
		// A group of its own: ^C is for the container, once it runs.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		_ = unix.Close(pipe[0])
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return &mapper{name: k.helper, pid: child, stderr: pipe[0]}, nil
}

func id32(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// mapperError is what a helper said before it failed.
type mapperError struct {
	helper string
	said   string
	status syscall.WaitStatus
}

func (e *mapperError) Error() string {
	if e.said != "" {
		return e.said
	}
	if e.status.Signaled() {
		return fmt.Sprintf("%s was killed: %s", e.helper, e.status.Signal())
	}
	return fmt.Sprintf("%s exited with %d", e.helper, e.status.ExitStatus())
}

// wait reaps the helper; a cancelled context kills it first.
func (p *mapper) wait(ctx context.Context) error {
	defer unix.Close(p.stderr)
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		_ = unix.Kill(p.pid, unix.SIGKILL) // not yet reaped, so nobody else's
	})
	var info unix.Siginfo
	for {
		// Left unreaped until the kill above can no longer happen.
		err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if !stop() {
		<-killed
	}
	status, err := reap(p.pid)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", p.name, err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("run %s: %w", p.name, context.Cause(ctx))
	}
	if status.Exited() && status.ExitStatus() == 0 {
		return nil
	}
	said := make([]byte, 1024)
	n, _ := unix.Read(p.stderr, said) // what cannot be read is not shown
	return &mapperError{p.name, firstLine(strings.ToValidUTF8(string(said[:max(n, 0)]), "?")), status}
}

// abandon reaps a helper whose result no longer matters.
func (p *mapper) abandon() {
	if p == nil {
		return
	}
	_ = unix.Kill(p.pid, unix.SIGKILL) // it may have ended already
	_, _ = reap(p.pid)
	_ = unix.Close(p.stderr)
}

func reap(pid int) (syscall.WaitStatus, error) {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return status, err
		}
	}
}
