package userns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runStub starts args through the stub with extra steps before it.
func runStub(t *testing.T, x Exec, flags uintptr, steps func(*Program)) (*Child, *os.File) {
	t.Helper()
	stub, err := OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stub.Close() })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var p Program
	if x.FirstFD == 0 {
		x.FirstFD = 3
	}
	start := Start
	if testShared {
		start = begin
	}
	p.Call("stdout", unix.SYS_DUP3, w.Fd(), 1, 0)
	if testShared {
		p.AwaitLauncher() // until then w must stay open
	}
	if steps != nil {
		steps(&p)
	}
	s := p.PrepareStub(stub, x)
	p.ExecStub(s, x)
	c, err := start(&p, flags)
	if err == nil && testShared {
		err = c.Release()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	return c, r
}

// testShared makes runStub use Begin, see TestShared.
var testShared bool

func output(t *testing.T, r *os.File) string {
	t.Helper()
	defer r.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// execs lets a child go and waits for its end: the error is that of its program.
func execs(t *testing.T, c *Child, r *os.File) error {
	t.Helper()
	defer r.Close()
	defer c.Close()
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	err := c.WaitExec()
	_, _, _ = c.Wait()
	return err
}

func TestStubExecs(t *testing.T) {
	for _, init := range []bool{false, true} {
		c, r := runStub(t, Exec{Init: init, Candidates: []string{"/nowhere/sh", "/etc/passwd/sh", "/bin/sh"},
			Args: []string{"sh", "-c", "echo $A $0 $1; ls /proc/self/fd | wc -l; exit 7", "zero", "one"}, Env: []string{"A=b", "PATH=/bin:/usr/bin"}}, 0, nil)
		if err := c.Release(); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitExec(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(output(t, r)); fmt.Sprint(got) != "[b zero one 4]" {
			t.Errorf("init %v: output %v: want the environment, the arguments and 4 descriptors (0-2 and the listing's own)", init, got)
		}
		if ws, _, err := c.Wait(); err != nil || ws.ExitStatus() != 7 {
			t.Errorf("init %v: status %v, %v; want 7", init, ws, err)
		}
		c.Close()
	}
}

func TestStubReportsExecErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/plain", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/garbage", []byte("\x00garbage"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		candidates []string
		want       syscall.Errno
		code       int
	}{
		{[]string{"/nowhere"}, syscall.ENOENT, 127},
		{[]string{dir + "/plain", "/nowhere"}, syscall.EACCES, 126},
		{[]string{dir + "/garbage"}, syscall.ENOEXEC, 126},
		{[]string{dir + "/plain/x"}, syscall.ENOENT, 127},
	} {
		for _, init := range []bool{false, true} {
			c, r := runStub(t, Exec{Init: init, Candidates: tt.candidates, Args: []string{"x"}}, 0, nil)
			if err := c.Release(); err != nil {
				t.Fatal(err)
			}
			err := c.WaitExec()
			var ee *ExecError
			if !errors.As(err, &ee) || ee.Errno != tt.want {
				t.Errorf("%v: %v; want %v", tt.candidates, err, tt.want)
			}
			if ws, _, _ := c.Wait(); ws.ExitStatus() != tt.code {
				t.Errorf("%v: exit %d, want %d", tt.candidates, ws.ExitStatus(), tt.code)
			}
			r.Close()
			c.Close()
		}
	}
}

// A payload that gets hold of the stub's executable and runs it again must
// get nothing: 126.
func TestStubRefusesReentry(t *testing.T) {
	for _, candidate := range []string{"/proc/self/exe"} {
		c, r := runStub(t, Exec{Candidates: []string{candidate}, Args: []string{"/proc/self/exe", "3", "/bin/sh", "", "sh"}}, 0, nil)
		_ = c.Release()
		_ = c.WaitExec()
		if ws, _, _ := c.Wait(); ws.ExitStatus() != 126 {
			t.Errorf("exit %v, want 126", ws)
		}
		r.Close()
		c.Close()
	}
}

func TestInitForwardsAndReaps(t *testing.T) {
	c, r := runStub(t, Exec{Init: true, Candidates: []string{"/bin/sh"}, Env: []string{"PATH=/bin:/usr/bin"},
		Args: []string{"sh", "-c", `trap 'echo got; exit 3' TERM; (sleep 0.05 &) ; echo ready; while :; do sleep 0.02; done`}}, 0, nil)
	_ = c.Release()
	if err := c.WaitExec(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := r.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "ready") {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if err := unix.Kill(c.PID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := output(t, r); got != "got\n" {
		t.Errorf("output %q", got)
	}
	if ws, _, _ := c.Wait(); ws.ExitStatus() != 3 {
		t.Errorf("status %v, want 3", ws)
	}
	c.Close()
}

func TestInitReportsSignal(t *testing.T) {
	c, r := runStub(t, Exec{Init: true, Candidates: []string{"/bin/sh"}, Args: []string{"sh", "-c", `kill -9 $$`}}, 0, nil)
	_ = c.Release()
	_ = c.WaitExec()
	r.Close()
	if ws, _, _ := c.Wait(); ws.ExitStatus() != 137 {
		t.Errorf("status %v, want 137", ws)
	}
	c.Close()
}

func TestStepErrorNamesTheStep(t *testing.T) {
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
		p.Call("make the impossible", unix.SYS_MKDIRAT, ^uintptr(99), "/nowhere/x", 0o755).Allow(unix.EEXIST)
	})
	defer r.Close()
	_ = c.Release()
	err := c.WaitExec()
	var se *StepError
	if !errors.As(err, &se) || se.Step != "make the impossible" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
	if ws, _, _ := c.Wait(); ws.ExitStatus() != 125 {
		t.Errorf("status %v, want 125", ws)
	}
	c.Close()
}

func TestCatchJumpsAndPokes(t *testing.T) {
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
		over, end := p.NewSpot(), p.NewSpot()
		fd := p.NewReg()
		p.Call("open nothing", unix.SYS_OPENAT, ^uintptr(99), "/nowhere", 0, 0).Catch(unix.ENOENT, over)
		p.Call("never", unix.SYS_EXIT_GROUP, 99)
		p.Mark(over)
		p.Call("open null", unix.SYS_OPENAT, ^uintptr(99), "/dev/null", 0, 0).To(fd)
		number := p.Bytes(make([]byte, 8))
		p.Poke(number, fd)
		p.Jump(end)
		p.Call("never", unix.SYS_EXIT_GROUP, 98)
		p.Mark(end)
		p.Need("open null", fd, 0, unix.EBADF)
	})
	defer r.Close()
	_ = c.Release()
	err := c.WaitExec()
	var se *StepError
	if !errors.As(err, &se) || se.Errno != unix.EBADF {
		t.Errorf("%v: want the need to fail with EBADF", err)
	}
	_, _, _ = c.Wait()
	c.Close()
}

func TestPeekAndSame(t *testing.T) {
	for _, tt := range []struct {
		other uint64
		want  error
	}{{0x1122334455667788, nil}, {0x1122334455667789, syscall.EXDEV}} {
		c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
			word := func(v uint64) []byte { return p.Bytes(binary.NativeEndian.AppendUint64(nil, v)) }
			a, b, reg := word(0x1122334455667788), word(tt.other), p.NewReg()
			p.Peek(a, reg)
			p.Need("the low half", reg, 0x55667788, syscall.EBADMSG)
			p.Same("the same", a, b, syscall.EXDEV)
		})
		if err := execs(t, c, r); !errors.Is(err, tt.want) {
			t.Errorf("%#x: %v, want %v", tt.other, err, tt.want)
		}
	}
}

// TestRenamesElsewhere: the kernel gives a walk up in a root up with EAGAIN whenever
// anything has been renamed or mounted meanwhile, by anybody on the machine. A start
// must not fail of it, however busy the neighbours are.
func TestRenamesElsewhere(t *testing.T) {
	root, busy := t.TempDir(), t.TempDir()+"/"
	if err := os.WriteFile(root+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("../", 1300)+"file", root+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(busy+"a", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				_, _ = unix.Rename(busy+"a", busy+"b"), unix.Rename(busy+"b", busy+"a")
			}
		}
	}()
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	how := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil,
		unix.O_PATH|unix.O_CLOEXEC), 0), unix.RESOLVE_IN_ROOT)
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
		for range 20 {
			p.Call("walk up", unix.SYS_OPENAT2, dir.Fd(), "link", p.Addr(how), uintptr(len(how)))
		}
	})
	if err := execs(t, c, r); err != nil {
		t.Error(err)
	}
	close(stop)
	t.Logf("%d renames", 2*<-stopped)
}

func TestOctal(t *testing.T) {
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
		word := p.Bytes(binary.NativeEndian.AppendUint32(nil, 0o102754))
		b, want := p.Bytes([]byte("mode=1777,ro")), p.Bytes([]byte("mode=2754,ro"))
		p.Octal(b[5:], word)
		p.Same("the digits", b, want, syscall.EXDEV)
		p.Same("what follows", b[4:], want[4:], syscall.EXDEV)
	})
	if err := execs(t, c, r); err != nil {
		t.Error(err)
	}
}

// What carries out a step for the child says in words why it failed.
func TestReportText(t *testing.T) {
	var text bytes.Buffer
	if err := ReportText(&text, "a.txt: "+strings.Repeat("long ", 2000)); err != nil {
		t.Fatal(err)
	}
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, func(p *Program) {
		b := p.Bytes(text.Bytes())
		p.Call("report", unix.SYS_WRITE, ErrFD, b, uintptr(len(b)))
		p.Call("copy", unix.SYS_CLOSE, -1)
	})
	defer r.Close()
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	err := c.WaitExec()
	var se *StepError
	if !errors.As(err, &se) || se.Step != "copy" || se.Errno != syscall.EBADF || !strings.HasPrefix(err.Error(), "copy: a.txt: long ") {
		t.Errorf("got %v", err)
	}
	_, _, _ = c.Wait()
	c.Close()
}

// The launcher's death before the release ends the child.
func TestChildEndsWithoutRelease(t *testing.T) {
	c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, nil)
	defer r.Close()
	c.sync.Close()
	if err := c.WaitExec(); !errors.Is(err, unix.EPIPE) {
		t.Errorf("%v", err)
	}
	if ws, _, _ := c.Wait(); ws.ExitStatus() != 125 {
		t.Errorf("status %v, want 125", ws)
	}
	c.Close()
}

func TestGuardKills(t *testing.T) {
	stub, err := OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	c, r := runStub(t, Exec{Candidates: []string{"/bin/sleep"}, Args: []string{"sleep", "30"}}, 0, nil)
	defer r.Close()
	g, err := StartGuard(stub, c.PIDFD)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Release()
	if err := c.WaitExec(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	g.Stop() // as if the launcher had died
	ws, _, _ := c.Wait()
	if ws.Signal() != syscall.SIGKILL || time.Since(start) > 10*time.Second {
		t.Errorf("status %v after %v, want SIGKILL at once", ws, time.Since(start))
	}
	c.Close()
}

// Many clones while the garbage collector runs: the child must not need the
// runtime for anything.
func TestStartUnderGC(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			_ = make([]byte, 1<<20)
			runtime.GC()
		}
	}()
	for range 100 {
		c, r := runStub(t, Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}}, 0, nil)
		_ = c.Release()
		if err := c.WaitExec(); err != nil {
			t.Fatal(err)
		}
		if ws, _, err := c.Wait(); err != nil || ws != 0 {
			t.Fatalf("%v %v", ws, err)
		}
		r.Close()
		c.Close()
	}
	<-done
}

func TestProgramRefusesNUL(t *testing.T) {
	var p Program
	p.Call("x", unix.SYS_CHDIR, "a\x00b")
	if _, err := Start(&p, 0); err == nil || !strings.Contains(err.Error(), "NUL") {
		t.Errorf("%v", err)
	}
}

func TestStubIsSmallAndSealed(t *testing.T) {
	elf, err := StubELF()
	if err != nil {
		t.Fatal(err)
	}
	if len(elf) > 2048 {
		t.Errorf("the stub has %d bytes", len(elf))
	}
	f, err := OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing the stub: %v, want EPERM", err)
	}
}

// ForkExec puts a pipe of its own behind the last descriptor that it hands on;
// the stub may be there.
func TestGuardWhereverTheStubIs(t *testing.T) {
	stub, err := OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	c, r := runStub(t, Exec{Candidates: []string{"/bin/sleep"}, Args: []string{"sleep", "30"}}, 0, nil)
	defer r.Close()
	defer c.Abort()
	const last = 200
	for fd, f := range map[int]*os.File{last: c.PIDFD, last + 1: stub} {
		if err := unix.Dup3(int(f.Fd()), fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	pidfd, moved := os.NewFile(last, "pidfd"), os.NewFile(last+1, "stub")
	defer pidfd.Close()
	defer moved.Close()
	g, err := StartGuard(moved, pidfd)
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
}
