package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// testRuntime is a state directory and a bundle of busybox.
func testRuntime(t *testing.T) (*Runtime, string) {
	t.Helper()
	r := &Runtime{Root: filepath.Join(t.TempDir(), "state"), NoCgroup: true, Warn: func(m string) { t.Log("warning:", m) }}
	return r, busyboxRoot(t)
}

// boxOf is a container of one command, whose output goes to the file out.
func boxOf(t *testing.T, root string, args ...string) (o CreateOptions, out string) {
	t.Helper()
	s := testSpec(root, args...)
	m := singleMap()
	s.Linux.UIDMappings, s.Linux.GIDMappings = m.UIDs, m.GIDs
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	o = CreateOptions{Bundle: root, Config: s}
	o.Extra.Stdio = [3]*os.File{nil, f, f}
	return o, f.Name()
}

func hookTo(file, text string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf("echo %s $(cat) >> %s", text, file)}}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 500 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("timed out: %s", what)
}

func TestLifecycle(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	o, out := boxOf(t, root, "sh", "-c", "echo ran; exec sleep 1000")
	o.PIDFile = filepath.Join(t.TempDir(), "pid")
	c, _, err := r.Create(ctx, "one", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Delete(ctx, "one", true) })
	if data, err := os.ReadFile(o.PIDFile); err != nil || string(data) != fmt.Sprint(c.Pid) {
		t.Errorf("the pid file has %q, %v; want %d", data, err, c.Pid)
	}
	if got := status(t, r, "one"); got != specs.StateCreated {
		t.Errorf("after create it is %s", got)
	}
	if data, _ := os.ReadFile(out); len(data) > 0 {
		t.Errorf("the payload ran before it was started: %q", data)
	}
	if _, _, err := r.Create(ctx, "one", o); !errors.Is(err, ErrExist) {
		t.Errorf("a second one of that id: %v", err)
	}
	if err := r.Start(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if got := status(t, r, "one"); got != specs.StateRunning {
		t.Errorf("after start it is %s", got)
	}
	waitFor(t, "the payload's output", func() bool { data, _ := os.ReadFile(out); return string(data) == "ran\n" })
	if err := r.Start(ctx, "one"); err == nil || !strings.Contains(err.Error(), "already running") {
		t.Errorf("a second start: %v", err)
	}
	if err := r.Delete(ctx, "one", false); err == nil || !strings.Contains(err.Error(), "not stopped") {
		t.Errorf("delete of a running one: %v", err)
	}
	if c, err = r.Load("one"); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(ctx, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end", func() bool { return status(t, r, "one") == specs.StateStopped })
	if err := c.Kill(ctx, unix.SIGTERM, false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("kill of a stopped one: %v", err)
	}
	if err := r.Delete(ctx, "one", false); err != nil {
		t.Error(err)
	}
	if _, err := r.Load("one"); !errors.Is(err, ErrNotExist) {
		t.Errorf("after delete: %v", err)
	}
	if left, _ := os.ReadDir(r.Root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func status(t *testing.T, r *Runtime, id string) specs.ContainerState {
	t.Helper()
	c, err := r.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	return c.Status().Status
}

// The command is looked for at creation: callers of runc expect it.
func TestCreateLooksForTheCommand(t *testing.T) {
	r, root := testRuntime(t)
	if err := os.WriteFile(filepath.Join(root, "bin/plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]unix.Errno{"nope": unix.ENOENT, "/bin/sh/x": unix.ENOENT, "plain": unix.EACCES, "/tmp": unix.EACCES} {
		o, _ := boxOf(t, root, command)
		_, _, err := r.Create(context.Background(), "x", o)
		var ee *userns.ExecError
		if !errors.As(err, &ee) || ee.Errno != want {
			t.Errorf("%s: %v, want %v", command, err, want)
		}
		if left, _ := os.ReadDir(r.Root); len(left) > 0 {
			t.Errorf("%s: left %v", command, left)
		}
	}
	// What only an exec can tell comes with the start.
	if err := os.WriteFile(filepath.Join(root, "bin/garbage"), []byte{0}, 0o755); err != nil {
		t.Fatal(err)
	}
	o, _ := boxOf(t, root, "garbage")
	if _, _, err := r.Create(context.Background(), "x", o); err != nil {
		t.Fatal(err)
	}
	var ee *userns.ExecError
	if err := r.Start(context.Background(), "x"); !errors.As(err, &ee) || ee.Errno != unix.ENOEXEC {
		t.Errorf("start of garbage: %v", err)
	}
	if err := r.Delete(context.Background(), "x", true); err != nil {
		t.Error(err)
	}
}

func TestHooks(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	log := filepath.Join(root, "log")
	o, _ := boxOf(t, root, "sh", "-c", "echo payload >> /log; exec sleep 1000")
	s := o.Config
	s.Annotations = map[string]string{"org.example": "boat"}
	s.Hooks = &specs.Hooks{
		Prestart:        []specs.Hook{hookTo(log, "prestart")}, //nolint:staticcheck // deprecated, and still to be run
		CreateRuntime:   []specs.Hook{hookTo(log, "createRuntime $(readlink /proc/self/ns/mnt)")},
		CreateContainer: []specs.Hook{hookTo(log, "createContainer $(readlink /proc/self/ns/mnt) $(hostname)")},
		StartContainer:  []specs.Hook{hookTo("/log", "startContainer $(ls -d /bin/busybox) $$")},
		Poststart:       []specs.Hook{hookTo(log, "poststart"), {Path: "/bin/false"}},
		Poststop:        []specs.Hook{hookTo(log, "poststop")},
	}
	if _, _, err := r.Create(ctx, "h", o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Delete(ctx, "h", true) })
	if err := r.Start(ctx, "h"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the payload", func() bool { data, _ := os.ReadFile(log); return strings.Contains(string(data), "payload") })
	if err := r.Delete(ctx, "h", true); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// By a child: tests leave the main thread in namespaces of their own.
	said, err := exec.Command("readlink", "/proc/self/ns/mnt").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(string(said))
	var order []string
	for line := range strings.Lines(string(data)) {
		point, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		order = append(order, point)
		if point == "payload" {
			continue
		}
		text := rest[strings.IndexByte(rest, '{'):]
		var st specs.State
		if err := json.Unmarshal([]byte(text), &st); err != nil || st.ID != "h" || st.Annotations["org.example"] != "boat" {
			t.Errorf("%s: state %q, %v", point, text, err)
		}
		want := map[string]specs.ContainerState{"prestart": "created", "createRuntime": "creating", "createContainer": "creating",
			"startContainer": "created", "poststart": "running", "poststop": "stopped"}[point]
		if st.Status != want {
			t.Errorf("%s: status %s, want %s", point, st.Status, want)
		}
		switch {
		case point == "createRuntime" && !strings.Contains(rest, own),
			point == "createContainer" && (strings.Contains(rest, own) || !strings.Contains(rest, "boat")),
			point == "startContainer" && !strings.Contains(rest, "/bin/busybox"):
			t.Errorf("%s ran in the wrong place: %s", point, rest)
		}
	}
	if got := strings.Join(order, " "); got != "prestart createRuntime createContainer startContainer poststart payload poststop" &&
		got != "prestart createRuntime createContainer startContainer payload poststart poststop" {
		t.Errorf("order: %s", got)
	}
}

func TestFailingHooksStopTheContainer(t *testing.T) {
	ctx := context.Background()
	limit := 1
	for point, set := range map[string]func(*specs.Hooks, []specs.Hook){
		"prestart":        func(h *specs.Hooks, x []specs.Hook) { h.Prestart = x }, //nolint:staticcheck // deprecated, and still to be run
		"createRuntime":   func(h *specs.Hooks, x []specs.Hook) { h.CreateRuntime = x },
		"createContainer": func(h *specs.Hooks, x []specs.Hook) { h.CreateContainer = x },
		"startContainer":  func(h *specs.Hooks, x []specs.Hook) { h.StartContainer = x },
	} {
		for why, hook := range map[string]specs.Hook{
			"it says so":          {Path: "/bin/sh", Args: []string{"sh", "-c", "echo it says so >&2; exit 1"}},
			"no such file":        {Path: "/no/such/hook"},
			"longer than its tim": {Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 100"}, Timeout: &limit},
		} {
			r, root := testRuntime(t)
			log := filepath.Join(t.TempDir(), "log")
			o, out := boxOf(t, root, "sh", "-c", "echo ran; sleep 1000")
			o.Config.Hooks = &specs.Hooks{Poststop: []specs.Hook{hookTo(log, "poststop")}}
			set(o.Config.Hooks, []specs.Hook{hook})
			_, _, err := r.Create(ctx, "f", o)
			if err == nil {
				err = r.Start(ctx, "f")
				if got := status(t, r, "f"); got != specs.StateStopped {
					t.Errorf("%s, %s: it is %s", point, why, got)
				}
			}
			if err == nil || !strings.Contains(err.Error(), "hooks."+point+"[0]") || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v, want %q", point, err, why)
			}
			if data, _ := os.ReadFile(log); !strings.HasPrefix(string(data), "poststop") {
				t.Errorf("%s, %s: the poststop hook did not run", point, why)
			}
			var ee *userns.ExecError
			if errors.As(err, &ee) {
				t.Errorf("%s, %s: it looks as if the payload could not be executed: %v", point, why, err)
			}
			if data, _ := os.ReadFile(out); len(data) > 0 {
				t.Errorf("%s, %s: the payload ran", point, why)
			}
			_ = r.Delete(ctx, "f", true)
			if data, _ := os.ReadFile(log); strings.Count(string(data), "poststop") != 1 {
				t.Errorf("%s, %s: the poststop hook did not run once: %q", point, why, data)
			}
		}
	}
}

// Eight callers at once: one makes it, one starts it, one deletes it.
func TestConcurrentCallers(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	atOnce := func(f func() error) (won int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				if f() == nil {
					mu.Lock()
					won++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return won
	}
	o, _ := boxOf(t, root, "sleep", "1000")
	if n := atOnce(func() error { _, _, err := r.Create(ctx, "c", o); return err }); n != 1 {
		t.Errorf("%d creates succeeded", n)
	}
	if n := atOnce(func() error { return r.Start(ctx, "c") }); n != 1 {
		t.Errorf("%d starts succeeded", n)
	}
	c, err := r.Load("c")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(ctx, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end", func() bool { return !c.alive() })
	if n := atOnce(func() error { return r.Delete(ctx, "c", false) }); n != 1 {
		t.Errorf("%d deletes succeeded", n)
	}
	if left, _ := os.ReadDir(r.Root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A pid that is another process's now is not signalled.
func TestReusedPID(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	o, _ := boxOf(t, root, "sleep", "1000")
	if _, _, err := r.Create(ctx, "p", o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Delete(ctx, "p", true) })
	c, err := r.Load("p")
	if err != nil {
		t.Fatal(err)
	}
	real := c.Pid
	time.Sleep(30 * time.Millisecond) // start times are counted in hundredths of a second
	victim, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Kill(); _, _ = victim.Wait() }()
	c.Pid = victim.Pid
	if err := c.Kill(ctx, unix.SIGKILL, false); !errors.Is(err, ErrNotRunning) {
		t.Errorf("kill: %v", err)
	}
	if err := victim.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other process is gone: %v", err)
	}
	c.Pid, c.Boot = real, "another boot"
	if got := c.status(); got != specs.StateStopped {
		t.Errorf("a state of another boot is %s", got)
	}
}

func TestDamagedState(t *testing.T) {
	r, _ := testRuntime(t)
	ctx := context.Background()
	for name, content := range map[string]string{"empty": "", "half": `{"id": "half", "pi`, "other": `{"id": "somebody"}`, "none": "-"} {
		if err := os.MkdirAll(r.dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if content != "-" {
			if err := os.WriteFile(filepath.Join(r.dir(name), stateFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(r.Root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var warned []string
	r.Warn = func(m string) { warned = append(warned, m) }
	if all, err := r.List(); err != nil || len(all) != 0 || len(warned) != 4 {
		t.Errorf("list: %d containers, %v; %d warnings %q", len(all), err, len(warned), warned)
	}
	for _, id := range []string{"empty", "half", "other", "none", "never"} {
		if err := r.Delete(ctx, id, false); err == nil {
			t.Errorf("%s: deleted without force", id)
		}
		if err := r.Delete(ctx, id, true); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := r.Delete(ctx, "file", true); err == nil {
		t.Error("a file was deleted as a container")
	}
	for _, id := range []string{"", ".", "..", "a/b", "a\nb", strings.Repeat("a", 1025), "ä"} {
		if err := checkID(id); err == nil {
			t.Errorf("the id %q is taken", id)
		}
	}
}
