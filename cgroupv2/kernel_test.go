package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func newReal(t *testing.T, name string) *Cgroup {
	t.Helper()
	c, err := New(Config{ID: "x", Path: name})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// noKill is a kernel before 5.14.
type noKill struct{ realKernel }

func (k noKill) write(dir *os.File, name, value string) error {
	if name == "cgroup.kill" {
		return &os.PathError{Op: "open", Path: name, Err: unix.ENOENT}
	}
	return k.realKernel.write(dir, name, value)
}

func TestFreezeHoldsProcesses(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	echo := exec.Command("cat")
	in, err := echo.StdinPipe()
	must(t, err)
	out, err := echo.StdoutPipe()
	must(t, err)
	echo.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: c.FD(), Pdeathsig: syscall.SIGKILL}
	must(t, echo.Start())
	t.Cleanup(func() { _ = echo.Process.Kill(); _ = echo.Wait() })
	ask := func() {
		if _, err := in.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	answer := make(chan error)
	listen := func() { _, err := io.ReadFull(out, make([]byte, 1)); answer <- err }
	ask()
	go listen()
	must(t, <-answer)

	must(t, c.Freeze(t.Context()))
	must(t, c.Freeze(t.Context()))
	if frozen, err := c.Frozen(); err != nil || !frozen {
		t.Fatalf("frozen %v, %v", frozen, err)
	}
	ask()
	go listen()
	select {
	case err := <-answer:
		t.Fatalf("a frozen process answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	must(t, c.Thaw())
	must(t, <-answer)
	if frozen, err := c.Frozen(); err != nil || frozen {
		t.Errorf("frozen %v, %v", frozen, err)
	}
}

// The cgroup above is frozen: that is not our pause.
func TestFrozenIsOurOwn(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/up/c")
	must(t, os.WriteFile(filepath.Dir(c.Path())+"/cgroup.freeze", []byte("1"), 0))
	if frozen, err := c.Frozen(); err != nil || frozen {
		t.Errorf("frozen %v, %v", frozen, err)
	}
	if _, err := New(Config{ID: "x", Path: name + "/up/d"}); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("a container below a frozen cgroup: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(c.Path()) + "/d"); err == nil {
		t.Error("the refused cgroup is still there")
	}
}

// forest starts processes in the cgroup and in cgroups below it: children that
// left their session and parent, and one that forks all the time.
func forest(t *testing.T, c *Cgroup) {
	t.Helper()
	must(t, os.MkdirAll(c.Path()+"/in/deep", 0o755))
	start(t, c, "sh", "-c", `for i in 1 2 3; do setsid sh -c 'trap "" TERM; (sleep 1000 &) ; sleep 1000' & done; wait`)
	start(t, c, "sh", "-c", `while :; do sleep 0.02; done`)
	moved := start(t, c, "sleep", "1000")
	must(t, os.WriteFile(c.Path()+"/in/deep/cgroup.procs", fmt.Append(nil, moved.Process.Pid), 0))
	for range 500 {
		if pids, err := c.Procs(); err == nil && len(pids) >= 8 {
			if !slices.Contains(pids, moved.Process.Pid) {
				t.Fatalf("%v lacks %d, which is in a cgroup below", pids, moved.Process.Pid)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the processes do not come up")
}

func TestKill(t *testing.T) {
	for name, sys := range map[string]kernel{"cgroup.kill": realKernel{}, "one by one": noKill{}} {
		for _, frozen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s frozen %v", name, frozen), func(t *testing.T) {
				_, name := realTree(t)
				c := newReal(t, name+"/c")
				c.sys = sys
				forest(t, c)
				if frozen {
					must(t, c.Freeze(t.Context()))
				}
				if err := c.Kill(t.Context()); err != nil {
					t.Fatal(err)
				}
				if pids, err := c.Procs(); err != nil || len(pids) > 0 {
					t.Fatalf("left: %v, %v", pids, err)
				}
				must(t, c.Remove(t.Context()))
				if _, err := os.Stat(c.Path()); !os.IsNotExist(err) {
					t.Errorf("still there: %v", err)
				}
				must(t, c.Kill(t.Context()))
				must(t, c.Remove(t.Context()))
				if _, err := c.Procs(); !errors.Is(err, ErrGone) {
					t.Errorf("processes of a removed cgroup: %v", err)
				}
				if err := c.Freeze(t.Context()); !errors.Is(err, ErrGone) {
					t.Errorf("freeze a removed cgroup: %v", err)
				}
			})
		}
	}
}

func TestSignal(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	a, b := start(t, c, "sleep", "1000"), start(t, c, "sleep", "1000")
	must(t, c.Signal(t.Context(), unix.SIGUSR1))
	for _, cmd := range []*exec.Cmd{a, b} {
		_ = cmd.Wait()
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != unix.SIGUSR1 {
			t.Errorf("ended by %v", ws.Signal())
		}
	}
	if frozen, _ := c.Frozen(); frozen {
		t.Error("left frozen")
	}
}

func TestRemove(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/made/c")
	deep := c.Path()
	for range 300 {
		deep += "/d"
		must(t, os.Mkdir(deep, 0o755))
	}
	for i := range 20 {
		must(t, os.MkdirAll(fmt.Sprintf("%s/wide%d/x", c.Path(), i), 0o755))
	}
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, os.WriteFile(deep+"/cgroup.procs", fmt.Append(nil, cmd.Process.Pid), 0))
	if pids, err := c.Procs(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("processes %v, %v; want %d", pids, err, cmd.Process.Pid)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	err := c.Remove(ctx)
	cancel()
	if !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("with a process: %v", err)
	}
	if cmd.ProcessState != nil {
		t.Fatal("the process ended")
	}
	go func() { _ = cmd.Process.Kill() }()
	must(t, c.Remove(t.Context()))
	if _, err := os.Stat(filepath.Dir(c.Path())); !os.IsNotExist(err) {
		t.Errorf("the parent that was made for it: %v", err)
	}
}

// A parent that another container uses stays.
func TestRemoveSharedParent(t *testing.T) {
	tree, name := realTree(t)
	a, b := newReal(t, name+"/pod/a"), newReal(t, name+"/pod/b")
	must(t, a.Remove(t.Context()))
	if _, err := os.Stat(b.Path()); err != nil {
		t.Fatal(err)
	}
	must(t, b.Remove(t.Context()))
	if _, err := os.Stat(tree.Mount + name + "/pod"); err != nil {
		t.Errorf("b did not make the parent, and removed it: %v", err)
	}
}

func TestOpen(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/up/c")
	again, err := Open(c.Ref())
	must(t, err)
	if again.Ref() != c.Ref() || again.Ref().Made != 2 || again.Ref().ID == 0 {
		t.Errorf("%+v, opened as %+v", c.Ref(), again.Ref())
	}
	again.Close()
	must(t, os.Remove(c.Path()))
	if _, err := Open(c.Ref()); !errors.Is(err, ErrGone) {
		t.Errorf("removed: %v", err)
	}
	must(t, os.Mkdir(c.Path(), 0o755))
	if _, err := Open(c.Ref()); !errors.Is(err, ErrGone) {
		t.Errorf("path of another: %v", err)
	}
	// The old handle leaves the new one alone.
	must(t, c.Kill(t.Context()))
	must(t, c.Remove(t.Context()))
	if _, err := os.Stat(c.Path()); err != nil {
		t.Errorf("another's cgroup was removed: %v", err)
	}
	fake := t.TempDir()
	if _, err := Open(Ref{Path: fake}); !errors.Is(err, ErrGone) {
		t.Errorf("no cgroup at all: %v", err)
	}
	empty, err := Open(Ref{})
	must(t, err)
	if empty.Path() != "" || empty.FD() != -1 || empty.Reason() == "" {
		t.Errorf("empty: %+v", empty)
	}
}

func TestNewOnUsedPaths(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	old := c.Ref()
	// Empty: what a dead container left, with limits perhaps.
	must(t, os.WriteFile(c.Path()+"/cgroup.max.depth", []byte("3"), 0))
	d := newReal(t, name+"/c")
	if d.Ref().ID == old.ID {
		t.Error("the leftover was used as it was")
	}
	start(t, d, "sleep", "1000")
	if _, err := New(Config{ID: "x", Path: name + "/c"}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("with a process: %v", err)
	}
	if _, err := os.Stat(d.Path()); err != nil {
		t.Errorf("refused and removed: %v", err)
	}
}

func TestAddProcess(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, c.AddProcess(cmd.Process.Pid))
	if pids, err := c.Procs(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("processes %v, %v", pids, err)
	}
}

// insideNamespace prints the root of its cgroup namespace as an error.
func insideNamespace(args []string) error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	_, path, _ := strings.Cut("\n"+string(own), "\n0::")
	if got, _, _ := strings.Cut(path, "\n"); got != args[0] {
		return fmt.Errorf("our cgroup is %q, want %q", got, args[0])
	}
	return nil
}

// What FD's comment says of CLONE_NEWCGROUP, in the clone and after it.
func TestNamespaceRoot(t *testing.T) {
	tree, name := realTree(t)
	need(t, tree.Own == "/", "the test in the root of the tree")
	c := newReal(t, name+"/c")
	runInside(t, "namespace", c.Path(), syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWCGROUP}, "/")
	runInside(t, "namespace", c.Path(), syscall.SysProcAttr{}, name+"/c")
	runInside(t, "namespace", c.Path(), syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWCGROUP}, "/")
}

func TestChown(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	must(t, c.Chown(65534, 65533))
	for file, want := range map[string]uint32{".": 65534, "cgroup.procs": 65534, "cgroup.subtree_control": 65534, "cgroup.max.depth": 0, "cgroup.freeze": 0} {
		var st unix.Stat_t
		must(t, unix.Stat(c.Path()+"/"+file, &st))
		if st.Uid != want {
			t.Errorf("%s belongs to %d, want %d", file, st.Uid, want)
		}
	}
}

// TestLimitsThatTheTreeLacks needs a tree without controllers, as hybrid
// machines have.
func TestLimitsThatTheTreeLacks(t *testing.T) {
	tree, name := realTree(t)
	need(t, !slices.Contains(tree.Controllers, "memory"), "a tree without the memory controller")
	limit := int64(1 << 26)
	_, err := New(Config{ID: "x", Path: name + "/up/c", Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}})
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "linux.resources.memory.limit" || !errors.Is(err, ErrUnsupported) || field.Hint() == "" {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(tree.Mount + name + "/up"); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}

// TestSweep: an empty cgroup of that name goes, one with processes stays.
func TestSweep(t *testing.T) {
	tree, name := realTree(t)
	runInside(t, "sweep", tree.Mount+name, syscall.SysProcAttr{}, tree.Mount+name)
}

func insideSweep(args []string) error {
	dir := args[0]
	for _, d := range []string{"/leaf", "/coracle-left", "/coracle-lives", "/coracle-other"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			return err
		}
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := os.WriteFile(dir+"/coracle-lives/cgroup.procs", fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/leaf/cgroup.procs", []byte("0"), 0); err != nil {
		return err
	}
	for _, id := range []string{"left", "lives", "", "..", "absent"} {
		Sweep(id)
	}
	left, err := filepath.Glob(dir + "/coracle-*")
	if want := []string{dir + "/coracle-lives", dir + "/coracle-other"}; err == nil && !slices.Equal(left, want) {
		err = fmt.Errorf("there are %v, want %v", left, want)
	}
	return err
}
