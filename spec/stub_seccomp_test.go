package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func denying(errno uint, calls ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: calls, Action: specs.ActErrno, ErrnoRet: &errno}}}
}

// The payload's filter holds for the stub, too. Where it denies the call that
// closes the error pipe with the exec, or says falsely that it was made, the
// payload does not get the pipe all the same; where nothing can close it, the
// payload does not run.
func TestStubKeepsItsPipe(t *testing.T) {
	denied := denying(uint(unix.EDOM), "close_range")
	denied.Syscalls = append(denied.Syscalls, denying(0, "fcntl").Syscalls...)
	for _, tt := range []struct {
		name   string
		filter *specs.LinuxSeccomp
		want   unix.Errno
	}{
		{"fcntl denied", denying(uint(unix.EPERM), "fcntl"), 0},
		{"fcntl faked", denying(0, "fcntl"), 0},
		{"close_range denied", denying(uint(unix.EPERM), "close_range"), 0},
		{"both denied", denying(uint(unix.EPERM), "fcntl", "close_range"), unix.EPERM},
		{"one denied, one faked", denied, unix.EDOM},
	} {
		for _, init := range []bool{false, true} {
			s, x := testSpec(busyboxRoot(t), "ls", "/proc/self/fd"), Extra{Init: init}
			compiled(t, tt.filter, &x)
			out, code, err := runSpec(t, s, x)
			var e *userns.ExecError
			switch {
			case tt.want != 0:
				if !errors.As(err, &e) || e.Errno != tt.want {
					t.Errorf("%s, init %v: %q, exit %d, %v; want %v", tt.name, init, out, code, err, tt.want)
				}
			case err != nil || code != 0 || out != "0\n1\n2\n3\n": // 3 is ls's own
				t.Errorf("%s, init %v: open %q, exit %d, %v", tt.name, init, out, code, err)
			}
		}
	}
}

// A stub that stays as pid 1, and one that waits to be started, let go of
// their pipes although the filter denies close: a start does not wait for the
// payload's end.
func TestStubLetsGoWithoutClose(t *testing.T) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer hold.Close()
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	s, x := testSpec(busyboxRoot(t), "cat"), Extra{Init: true, Stub: stub, Stdio: [3]*os.File{stdin}}
	compiled(t, denying(uint(unix.EPERM), "close"), &x)
	started := make(chan *Process, 1)
	go func() {
		p, err := start(t, s, x, singleMap())
		if err != nil {
			t.Error(err)
		}
		started <- p
	}()
	var p *Process
	select {
	case p = <-started:
	case <-time.After(20 * time.Second):
		t.Error("pid 1 keeps the error pipe: the start waits for the payload's end")
		hold.Close()
		p = <-started
	}
	if p != nil {
		_ = p.Signal(unix.SIGKILL)
		_, _, _ = p.Wait()
	}

	r, root := testRuntime(t)
	o, out := boxOf(t, root, "sh", "-c", "echo ran; exec cat")
	o.Config.Linux.Seccomp = denying(uint(unix.EPERM), "close")
	in, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer keep.Close()
	o.Extra.Stdio[0] = in
	if _, _, err := r.Create(context.Background(), "close", o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Delete(context.Background(), "close", true) }()
	if err := r.Start(context.Background(), "close"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the payload", func() bool { data, _ := os.ReadFile(out); return string(data) == "ran\n" })
	c, err := r.Load("close")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Pid))
	if err != nil || len(fds) != 3 {
		t.Errorf("the payload has %v open, %v", fds, err)
	}
}
