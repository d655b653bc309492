package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coracle/internal/plainfile"
	"coracle/netns"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// testEngine is an engine on a store of its own; any warning fails the test.
func testEngine(t *testing.T) *Engine {
	t.Helper()
	dir := t.TempDir()
	e := openTest(t, filepath.Join(dir, "store"), filepath.Join(dir, "run"))
	if err := e.ready(); err != nil {
		t.Fatal(err)
	}
	e.hostNetworks = func() []netns.HostNetwork { return nil }
	return e
}

func openTest(t *testing.T, root, runRoot string) *Engine {
	t.Helper()
	e, err := Open(Config{Root: root, RunRoot: runRoot, Warn: func(msg, hint string) { t.Errorf("warned: %s (%s)", msg, hint) }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testBox(t *testing.T, e *Engine, name string, remove bool) *box {
	t.Helper()
	b, err := e.newBox(context.Background(), Container{ID: newID(), Name: name, Remove: remove, Status: Running}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	return b
}

// assertNothing fails when a container has left anything.
func assertNothing(t *testing.T, e *Engine) {
	t.Helper()
	for _, dir := range []string{e.root + "/containers", e.root + "/running", e.root + "/names", e.runRoot + "/containers"} {
		entries, _ := os.ReadDir(dir)
		for _, d := range entries {
			if d.Name() != ".lock" {
				t.Errorf("left: %s/%s", dir, d.Name())
			}
		}
	}
}

func TestClaimIsOnes(t *testing.T) {
	e := testEngine(t)
	var inside, wins atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				f, err := e.claim("id", "")
				if errors.Is(err, unix.EWOULDBLOCK) {
					continue
				}
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold it", n)
				}
				if !plainfile.Named(f, e.runningFile("id")) || !e.alive("id") {
					t.Error("what was claimed is not what others see")
				}
				wins.Add(1)
				inside.Add(-1)
				e.unclaim("id", f)
			}
		})
	}
	all.Wait()
	if wins.Load() == 0 {
		t.Error("nobody ever got it")
	}
	if e.alive("id") {
		t.Error("alive after all have let go")
	}
}

const holderEnv = "CORACLE_TEST_HOLD"

// TestHolder is no test: it is the process that the tests below start. It
// makes a container, says its id, and stays until it is killed.
func TestHolder(t *testing.T) {
	dir := os.Getenv(holderEnv)
	if dir == "" {
		t.Skip("a helper process of other tests")
	}
	e := openTest(t, filepath.Join(dir, "store"), filepath.Join(dir, "run"))
	b := testBox(t, e, os.Getenv(holderEnv+"_NAME"), os.Getenv(holderEnv+"_RM") != "")
	fmt.Println(b.ID)
	time.Sleep(time.Minute)
}

// hold starts such a process and returns it and the container's id.
func hold(t *testing.T, dir, name string, remove bool) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	cmd.Env = append(os.Environ(), holderEnv+"="+dir, holderEnv+"_NAME="+name)
	if remove {
		cmd.Env = append(cmd.Env, holderEnv+"_RM=1")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || len(line) != 65 {
		t.Fatalf("the helper says %q, %v", line, err)
	}
	return cmd, line[:64]
}

// A launcher that is alive keeps its container from everybody; a dead one's is
// taken over, also from a session with another runtime directory.
func TestLauncherKilled(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	e := openTest(t, dir+"/store", dir+"/other")
	keep, kept := hold(t, dir, "kept", false)
	gone, removed := hold(t, dir, "removed", true)

	e.sweep(ctx)
	for _, id := range []string{kept, removed} {
		if c, err := e.load(id); err != nil || !c.Running() || !e.alive(id) {
			t.Errorf("%.12s after a sweep: %+v, %v", id, c, err)
		}
		if _, err := e.claim(id, ""); !errors.Is(err, unix.EWOULDBLOCK) {
			t.Errorf("claim of a living one: %v", err)
		}
		var ee *Error
		if err := e.RemoveContainer(ctx, id, false, false); !errors.As(err, &ee) || ee.Help == "" {
			t.Errorf("rm of a living one: %v", err)
		}
	}
	for _, cmd := range []*exec.Cmd{keep, gone} {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if c, err := e.load(kept); err != nil || c.Status != Stopped || c.ExitCode != 137 {
		t.Errorf("the killed one is shown as %+v, %v", c, err)
	}
	if all, err := e.Containers(); err != nil || len(all) != 1 {
		t.Errorf("%d containers are shown, want the kept one: %v", len(all), err)
	}
	e.sweep(ctx)
	if c, err := readRecord(e.containerDir(kept)); err != nil || c.Status != Stopped || c.Signal != 9 {
		t.Errorf("the record after the sweep: %+v, %v", c, err)
	}
	if err := e.RemoveContainer(ctx, "kept", false, false); err != nil {
		t.Errorf("rm of the killed one: %v", err)
	}
	assertNothing(t, e)
	assertNothing(t, openTest(t, dir+"/store", dir+"/run"))
}

// rm right after the launcher was killed, while what that had forked still ends.
func TestRemoveOneThatJustDied(t *testing.T) {
	e := testEngine(t)
	b := testBox(t, e, "boat", false)
	go func() {
		time.Sleep(50 * time.Millisecond)
		b.lock.Close()
	}()
	if err := e.RemoveContainer(context.Background(), "boat", false, false); err != nil {
		t.Error(err)
	}
	assertNothing(t, e)
}

// rm of a container whose end is written down, and whose monitor is still at its end.
func TestRemoveOneThatIsEnding(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 400 * time.Millisecond} {
		e := testEngine(t)
		b := testBox(t, e, "boat", false)
		b.Status = Stopped
		if err := b.save(); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(after)
			b.close()
		}()
		if err := e.RemoveContainer(context.Background(), "boat", false, false); err != nil {
			t.Errorf("%v later: %v", after, err)
		}
		assertNothing(t, e)
	}
}

// rm --force finds the process of a container of another session.
func TestKillAcrossSessions(t *testing.T) {
	dir := t.TempDir()
	e, other := openTest(t, dir+"/store", dir+"/a"), openTest(t, dir+"/store", dir+"/b")
	b := testBox(t, e, "boat", false)
	payload := exec.Command("sleep", "60")
	if err := payload.Start(); err != nil {
		t.Fatal(err)
	}
	at, _, err := spec.ProcessStart(payload.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	leaveState(t, e, b.ID, payload.Process.Pid, at, boot(t))
	go func() { // the launcher
		_ = payload.Wait()
		if err := b.forget(context.Background()); err != nil {
			t.Error(err)
		}
		b.Status = Stopped
		_ = b.save()
		b.close()
	}()
	start := time.Now()
	if err := other.RemoveContainer(context.Background(), "boat", true, false); err != nil {
		_ = payload.Process.Kill()
		t.Error(err)
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	assertNothing(t, e)
}

// What the lock file says is only believed when it can be a state's directory.
func TestRunDir(t *testing.T) {
	e := testEngine(t)
	if err := os.MkdirAll(filepath.Join(e.root, "running"), 0o700); err != nil {
		t.Fatal(err)
	}
	own := e.ownRunDir("id")
	for content, want := range map[string]string{
		"": own, "/": own, "/home": own, "containers/id": own, "/x/containers/other": own, "/x/id": own,
		"/x y/containers/id": "/x y/containers/id", own: own, "/x/containers/id\nsha256:abc": "/x/containers/id",
	} {
		if err := os.WriteFile(e.runningFile("id"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := e.runDir("id"); got != want {
			t.Errorf("%q: %s, want %s", content, got, want)
		}
	}
	if got := e.runDir("none"); got != e.ownRunDir("none") {
		t.Errorf("without a file: %s", got)
	}
}
