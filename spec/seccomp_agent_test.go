package spec

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"coracle/spec/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// agent answers the notifications of one filter, as an agent of a container
// platform would, and keeps what it was told.
type agent struct {
	path  string
	told  chan specs.ContainerProcessState
	calls atomic.Int64
	hold  func(call uintptr) // before a call is answered
}

// seccompNotif and seccompNotifResp are the structures of linux/seccomp.h.
type seccompNotif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type seccompNotifResp struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

const (
	notifRecv     = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend     = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	notifContinue = 1
)

// newAgent serves one connection: getppid is answered with 4711, mkdir with
// ENOTEMPTY, and whatever else is notified goes on as usual.
func newAgent(t *testing.T) *agent {
	t.Helper()
	return newAgentAt(t, filepath.Join(t.TempDir(), "agent"))
}

func newAgentAt(t *testing.T, path string) *agent {
	t.Helper()
	a := &agent{path: path}
	a.listen(t)
	return a
}

func (a *agent) listen(t *testing.T) {
	t.Helper()
	a.told = make(chan specs.ContainerProcessState, 1)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go a.serve(l)
}

func (a *agent) serve(l *net.UnixListener) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return
	}
	defer conn.Close()
	buf, oob := make([]byte, 64<<10), make([]byte, 64)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return
	}
	rest, _ := io.ReadAll(conn)
	msgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return
	}
	var state specs.ContainerProcessState
	if json.Unmarshal(append(buf[:n], rest...), &state) == nil {
		a.told <- state
	}
	for {
		var req seccompNotif
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), notifRecv, uintptr(unsafe.Pointer(&req))); e != 0 {
			if e == unix.EINTR || e == unix.ENOENT {
				if p := []unix.PollFd{{Fd: int32(fds[0]), Events: unix.POLLIN}}; e == unix.EINTR || poll(p) && p[0].Revents&unix.POLLHUP == 0 {
					continue
				}
			}
			return
		}
		a.calls.Add(1)
		if a.hold != nil {
			a.hold(uintptr(req.nr))
		}
		resp := seccompNotifResp{id: req.id, flags: notifContinue}
		switch uintptr(req.nr) {
		case unix.SYS_GETPPID:
			resp = seccompNotifResp{id: req.id, val: 4711}
		case unix.SYS_MKDIRAT, mkdirNumber:
			resp = seccompNotifResp{id: req.id, err: -int32(unix.ENOTEMPTY)}
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), notifSend, uintptr(unsafe.Pointer(&resp)))
	}
}

func poll(p []unix.PollFd) bool { n, err := unix.Poll(p, 1000); return err == nil && n > 0 }

// mkdirNumber is mkdir(2) of amd64; arm64 has only mkdirat.
const mkdirNumber = 83

func notifyProfile(path string, defaultAction specs.LinuxSeccompAction, names ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: defaultAction, ListenerPath: path, ListenerMetadata: "told by the test",
		Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActNotify}},
	}
}

func compiled(t *testing.T, p *specs.LinuxSeccomp, x *Extra) {
	t.Helper()
	prog, err := seccomp.Compile(p, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	x.Seccomp, x.SeccompFlags, x.Listener, x.ListenerMetadata = prog.Filter, prog.Flags, prog.ListenerPath, prog.ListenerMetadata
}

// The listener reaches its agent whatever the filter notifies: here also every
// call that a launcher might make for handing it over, and those that follow.
func TestSeccompNotify(t *testing.T) {
	for _, tt := range []struct {
		name  string
		noNew bool
		more  []string
	}{
		{"with privileges", false, nil},
		{"no new privileges", true, nil},
		{"every call on the way", false, []string{
			"sendmsg", "read", "close", "fcntl", "poll", "ppoll", "wait4", "setresuid", "setresgid", "capset", "prctl", "execve", "execveat", "exit_group", "openat",
		}},
		{"every call on the way, no new privileges", true, []string{"sendmsg", "read", "close", "fcntl", "wait4", "execve", "execveat", "openat"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAgent(t)
			s, x := sh(`echo $PPID; mkdir /tmp/x; test -e /tmp/x || echo not made; ls /proc/self/fd | wc -l; ps | wc -l`)(busyboxRoot(t)), Extra{}
			for _, n := range []string{"wc", "mkdir"} {
				_ = os.Symlink("busybox", s.Root.Path+"/bin/"+n)
			}
			s.Process.NoNewPrivileges = tt.noNew
			compiled(t, notifyProfile(a.path, specs.ActAllow, append([]string{"getppid", "mkdir", "mkdirat"}, tt.more...)...), &x)
			x.State = specs.State{ID: "boat", Bundle: "/b", Annotations: map[string]string{"a": "b"}}
			out, _, err := runSpec(t, s, x)
			if err != nil {
				t.Fatal(err)
			}
			if want := "4711\nmkdir: can't create directory '/tmp/x': Directory not empty\nnot made\n4\n"; !strings.HasPrefix(out, want) {
				t.Errorf("got %q, want %q", out, want)
			}
			select {
			case got := <-a.told:
				if got.Version != specs.Version || got.Metadata != "told by the test" || len(got.Fds) != 1 || got.Fds[0] != "seccompFd" ||
					got.Pid <= 1 || got.State.Pid != got.Pid || got.State.Status != specs.StateCreating || got.State.ID != "boat" || got.State.Annotations["a"] != "b" {
					t.Errorf("the agent was told %+v", got)
				}
			case <-time.After(5 * time.Second):
				t.Error("the agent was told nothing")
			}
		})
	}
}

// What stands in the way of a listener stops the start, and says so.
func TestSeccompNotifyRefused(t *testing.T) {
	s, x := testSpec(busyboxRoot(t), "true"), Extra{}
	compiled(t, notifyProfile(filepath.Join(t.TempDir(), "nobody"), specs.ActAllow, "getppid"), &x)
	if _, _, err := runSpec(t, s, x); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "linux.seccomp.listenerPath") {
		t.Errorf("no agent: %v", err)
	}
	// A child that fails before its filter says so, rather than the agent's side.
	a := newAgent(t)
	compiled(t, notifyProfile(a.path, specs.ActAllow, "getppid"), &x)
	s.Process.User.UID = 77
	if _, _, err := runSpec(t, s, x); err == nil || !strings.Contains(err.Error(), "process.user.uid: become user 77") {
		t.Errorf("a user without a mapping: %v", err)
	}
	s.Process.User.UID = 0
	s.Process.NoNewPrivileges = true
	s.Process.Args = []string{"/nothing"}
	a = newAgent(t)
	compiled(t, notifyProfile(a.path, specs.ActAllow, "getppid"), &x)
	if _, _, err := runSpec(t, s, x); err == nil || !strings.Contains(err.Error(), "exec: no such file") {
		t.Errorf("a command that is missing: %v", err)
	}
}
