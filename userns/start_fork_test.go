package userns

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A pid namespace takes later children only: after Fork the payload is pid 1
// of it, and the launcher's own child.
func TestForkEntersPIDNamespace(t *testing.T) {
	c, r := runStub(t, Exec{Candidates: []string{"/bin/sh"}, Args: []string{"sh", "-c", "echo $$; exit 4"}}, unix.CLONE_NEWUSER, func(p *Program) {
		p.Report("say hello", 7)
		p.Call("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWPID)
		p.Fork("enter the pid namespace")
		p.Report("say that it is the other one", 8)
		p.AwaitLauncher()
	})
	defer c.Close()
	first := c.PID
	if err := errors.Join(c.Release(), c.Await(7), c.Await(8)); err != nil {
		t.Fatal(err)
	}
	if c.PID == first {
		t.Error("the pid is still the first one's")
	}
	if _, err := os.Stat("/proc/" + id32(uint32(first))); err == nil {
		t.Error("the process in between was not reaped")
	}
	if err := errors.Join(c.Release(), c.WaitExec()); err != nil {
		t.Fatal(err)
	}
	if got := output(t, r); got != "1\n" {
		t.Errorf("the payload's pid is %q, want 1", got)
	}
	if ws, _, err := c.Wait(); err != nil || ws.ExitStatus() != 4 {
		t.Errorf("status %v, %v; want 4", ws, err)
	}
}

func TestAwaitTellsErrorsAndEnds(t *testing.T) {
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
		p.Call("fail here", unix.SYS_CHDIR, "/no such directory")
	})
	defer r.Close()
	defer c.Close()
	_ = c.Release()
	var se *StepError
	if err := c.Await(1); !errors.As(err, &se) || se.Step != "fail here" {
		t.Errorf("got %v, want the failing step", err)
	}
	_, _, _ = c.Wait()

	c, r = runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, nil)
	defer r.Close()
	defer c.Close()
	_ = c.Release()
	if err := c.Await(1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an unexpected end", err)
	}
	_, _, _ = c.Wait()
}

// createdPipes makes the two named pipes as the lifecycle does.
func createdPipes(t *testing.T) (*Created, string) {
	t.Helper()
	dir := t.TempDir()
	for _, n := range []string{"start", "report"} {
		if err := unix.Mkfifo(filepath.Join(dir, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start, err := os.OpenFile(filepath.Join(dir, "start"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	both, err := os.OpenFile(filepath.Join(dir, "report"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	report, err := os.OpenFile(filepath.Join(dir, "report"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &Created{Start: start, Report: report}, dir
}

func TestCreatedWaitsForStart(t *testing.T) {
	for _, init := range []bool{false, true} {
		for _, command := range []string{"/bin/sh", "/no/such/command"} {
			pipes, dir := createdPipes(t)
			c, r := runStub(t, Exec{Init: init, Candidates: []string{command}, Created: pipes, FirstFD: 3,
				Args: []string{"sh", "-c", "ls /proc/self/fd | wc -l; exit 6"}, Env: []string{"PATH=/bin:/usr/bin"}}, 0, nil)
			pipes.Start.Close()
			pipes.Report.Close()
			if err := errors.Join(c.Release(), c.WaitExec()); err != nil { // created
				t.Fatal(err)
			}
			if exe, err := os.Readlink("/proc/" + id32(uint32(c.PID)) + "/exe"); err != nil || !strings.Contains(exe, "coracle-stub") {
				t.Errorf("waiting, it runs %q, %v; want the stub", exe, err)
			}
			fd, err := unix.Open(filepath.Join(dir, "report"), unix.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			report := os.NewFile(uintptr(fd), "report")
			start, err := os.OpenFile(filepath.Join(dir, "start"), os.O_WRONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := start.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			start.Close()
			said, err := io.ReadAll(report)
			report.Close()
			if err != nil {
				t.Fatal(err)
			}
			want := 6
			if command == "/bin/sh" {
				if got := strings.TrimSpace(output(t, r)); got != "4" || len(said) != 0 {
					t.Errorf("init %v: descriptors %s, report %v; want 4 and nothing", init, got, said)
				}
			} else {
				want = 127
				if len(said) != 4 || syscall.Errno(said[0]) != syscall.ENOENT {
					t.Errorf("init %v: report %v, want ENOENT", init, said)
				}
				r.Close()
			}
			if ws, _, _ := c.Wait(); ws.ExitStatus() != want {
				t.Errorf("init %v: exit %d, want %d", init, ws.ExitStatus(), want)
			}
			c.Close()
		}
	}
}

func TestCloneIntoCgroupSaysWhereItCannot(t *testing.T) {
	plain, err := os.Open(t.TempDir()) // no cgroup
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var p Program
	p.Call("never", unix.SYS_EXIT_GROUP, 0)
	if c, err := StartIn(&p, 0, int(plain.Fd())); !errors.Is(err, ErrNoCloneInto) {
		if err == nil {
			c.Abort()
		}
		t.Errorf("got %v, want ErrNoCloneInto", err)
	}
}
