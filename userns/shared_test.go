package userns

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

func begin(p *Program, flags uintptr) (*Child, error) {
	c, err := Begin(flags, -1)
	if err != nil {
		return nil, err
	}
	return c, c.Give(p)
}

// A child that has the launcher's memory does all that one with a copy does.
func TestShared(t *testing.T) {
	testShared = true
	defer func() { testShared = false }()
	for name, test := range map[string]func(*testing.T){
		"execs": TestStubExecs, "exec errors": TestStubReportsExecErrors, "init": TestInitForwardsAndReaps,
		"step errors": TestStepErrorNamesTheStep, "jumps": TestCatchJumpsAndPokes, "words": TestPeekAndSame,
		"texts": TestReportText, "end without release": TestChildEndsWithoutRelease, "guard": TestGuardKills,
		"garbage collection": TestStartUnderGC, "await": TestAwaitTellsErrorsAndEnds,
	} {
		t.Run(name, test)
	}
}

// The program is written while the child waits for it.
func TestGiveLate(t *testing.T) {
	c, err := Begin(unix.CLONE_NEWUSER|unix.CLONE_NEWPID, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var p Program
	for range 1000 {
		p.Call("count", unix.SYS_GETPID)
	}
	p.Call("leave", unix.SYS_EXIT_GROUP, 42)
	runtime.GC()
	if err := errors.Join(c.Give(&p), c.Release()); err != nil {
		t.Fatal(err)
	}
	if ws, _, err := c.Wait(); err != nil || ws.ExitStatus() != 42 {
		t.Errorf("status %v, %v; want 42", ws, err)
	}
}

// While the child has our memory its change of user makes us untraceable, and
// our own files in /proc root's. That must not last.
func TestSharedLeavesUsDumpable(t *testing.T) {
	dumpable := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if dumpable() != 1 {
		mustWork(t, "look at the test's own files", errors.New("it is not dumpable itself"))
	}
	stub, err := OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	c, err := Begin(0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var p Program
	p.Call("forbid traces", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0) // as a change of user does
	p.Report("say so", 1)
	p.AwaitLauncher()
	x := Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}, FirstFD: 3}
	p.ExecStub(p.PrepareStub(stub, x), x)
	if err := errors.Join(c.Give(&p), c.Release(), c.Await(1)); err != nil {
		t.Fatal(err)
	}
	if dumpable() != 0 {
		t.Error("the child has no part in our memory")
	}
	if err := errors.Join(c.Release(), c.WaitExec()); err != nil {
		t.Fatal(err)
	}
	if dumpable() != 1 {
		t.Error("the launcher stays untraceable")
	}
	_, _, _ = c.Wait()
}

// The payload has the launcher's signal mask, default dispositions for what the
// launcher handles, and ignores what the launcher ignores.
func TestSharedSignals(t *testing.T) {
	ours := make(chan os.Signal, 1)
	signal.Notify(ours, unix.SIGUSR1)
	defer signal.Stop(ours)
	signal.Ignore(unix.SIGUSR2)
	defer signal.Reset(unix.SIGUSR2)
	status := func(shared bool) string {
		testShared = shared
		defer func() { testShared = false }()
		c, r := runStub(t, Exec{Candidates: []string{"/bin/grep"}, Args: []string{"grep", "^Sig[BIC]", "/proc/self/status"}}, 0, nil)
		defer c.Close()
		if err := errors.Join(c.Release(), c.WaitExec()); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _, _ = c.Wait() }()
		return output(t, r)
	}
	got, want := status(true), status(false)
	if got != want || !strings.Contains(got, "SigBlk:\t0000000000000000") || ignored(got)&(1<<(unix.SIGUSR2-1)) == 0 {
		t.Errorf("with our memory:\n%swith a copy:\n%s", got, want)
	}
}

// ignored reads SigIgn of /proc/PID/status: what started the tests may ignore
// signals, too.
func ignored(status string) (mask uint64) {
	_, rest, _ := strings.Cut(status, "SigIgn:\t")
	_, _ = fmt.Sscanf(rest, "%x", &mask)
	return mask
}

func TestGiveRefusesBadPrograms(t *testing.T) {
	c, err := Begin(0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort()
	var p Program
	p.Call("x", unix.SYS_CHDIR, "a\x00b")
	if err := c.Give(&p); err == nil || !strings.Contains(err.Error(), "NUL") {
		t.Errorf("%v", err)
	}
}

// A descriptor that is opened after the child was born is there; one that is
// closed before its release is not, and nobody waits for the child to close it.
func TestSharedDescriptors(t *testing.T) {
	before, after := pipe(t), pipe(t)
	c, err := Begin(0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before[1].Close()
	if n, err := before[0].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v; want the end at once", n, err)
	}
	late := pipe(t)
	var p Program
	p.Call("write", unix.SYS_WRITE, late[1].Fd(), []byte("x"), 1)
	p.Call("close", unix.SYS_CLOSE, after[1].Fd())
	p.Report("say so", 1)
	p.AwaitLauncher()
	p.Call("leave", unix.SYS_EXIT_GROUP, 42)
	if err := errors.Join(c.Give(&p), c.Release()); err != nil {
		t.Fatal(err)
	}
	late[1].Close()
	if err := c.Await(1); err != nil {
		t.Fatal(err)
	}
	if n, err := late[0].Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v; want the child's", n, err)
	}
	if _, err := after[1].Write([]byte("y")); err != nil {
		t.Errorf("the child has closed a descriptor of ours: %v", err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	if ws, _, err := c.Wait(); err != nil || ws.ExitStatus() != 42 {
		t.Errorf("status %v, %v; want 42", ws, err)
	}
}

func pipe(t *testing.T) [2]*os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return [2]*os.File{r, w}
}

// A launcher that is killed takes a child with it that was never released: the
// test itself, started again, is that launcher.
func TestSharedEndsWithLauncher(t *testing.T) {
	if os.Getenv("USERNS_TEST_LAUNCHER") == "1" {
		c, err := Begin(unix.CLONE_NEWUSER|unix.CLONE_NEWPID, -1)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("child " + id32(uint32(c.PID)) + "\n")
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSharedEndsWithLauncher$")
	cmd.Env = append(os.Environ(), "USERNS_TEST_LAUNCHER=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "child ")))
	if err != nil || pid == 0 {
		_ = cmd.Process.Kill()
		t.Fatalf("%q, %v", line, err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	n, err := plainfile.Retry(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000)
	})
	if n != 1 || err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		t.Errorf("the child outlives its launcher: %d, %v", n, err)
	}
}
