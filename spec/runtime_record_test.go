package spec

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// unrecorded is a container as the engine makes them.
func unrecorded(t *testing.T, root string, args ...string) CreateOptions {
	t.Helper()
	o, _ := boxOf(t, root, args...)
	o.Bundle, o.Final, o.Guarded, o.Unrecorded = t.TempDir(), true, true, true
	data, err := json.Marshal(o.Config)
	if err == nil {
		err = os.WriteFile(filepath.Join(o.Bundle, configFile), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestUnrecorded(t *testing.T) {
	r, root := testRuntime(t)
	ctx := t.Context()
	c, p, err := r.Run(ctx, "boat", unrecorded(t, root, "sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Delete(ctx, "boat", true) })
	if _, err := os.Stat(r.Root); err == nil || c.Recorded() {
		t.Error("something is written before it is asked for")
	}
	if c.Namespaces == nil {
		t.Error("the newborn's namespaces were not looked up")
	}
	if _, err := r.Load("boat"); !errors.Is(err, ErrNotExist) {
		t.Errorf("load: %v", err)
	}
	for range 2 { // the second time does nothing
		if err := c.Record(p); err != nil || !c.Recorded() {
			t.Fatal(err)
		}
	}
	found, err := r.Load("boat")
	if err != nil {
		t.Fatal(err)
	}
	if st := found.Status(); st.Status != specs.StateRunning || st.Pid != p.PID || st.Rootfs != root {
		t.Errorf("it is shown as %+v", st)
	}
	if _, err := os.Stat(filepath.Join(r.dir("boat"), configFile)); err == nil {
		t.Error("the configuration is there twice")
	}
	if s, err := found.Spec(); err != nil || strings.Join(s.Process.Args, " ") != "sleep 1000" {
		t.Errorf("the configuration of the bundle: %v", err)
	}
	inside, err := found.Exec(ctx, &specs.Process{Args: []string{"test", "-d", "/proc/1"}, Cwd: "/", Env: []string{"PATH=/bin"}}, ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ws, _, err := inside.Wait(); err != nil || ws != 0 {
		t.Errorf("exec: %v, %v", ws, err)
	}
	if err := found.Kill(ctx, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	if ws, _, err := p.Wait(); err != nil || !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v, %v", ws, err)
	}
	if err := r.Delete(ctx, "boat", false); err != nil {
		t.Error(err)
	}
}

// Of what has ended, nothing is written: its pid may be another process's.
func TestRecordOfWhatHasEnded(t *testing.T) {
	r, root := testRuntime(t)
	c, p, err := r.Run(t.Context(), "boat", unrecorded(t, root, "true"))
	if err != nil {
		t.Fatal(err)
	}
	if ws, _, err := p.WaitPayload(); err != nil || ws != 0 {
		t.Fatal(ws, err)
	}
	c.Pid = os.Getpid() // as if we had got the number
	if err := c.Record(p); err != nil {
		t.Error(err)
	}
	p.Release()
	if _, err := os.Stat(r.Root); err == nil || c.Recorded() {
		t.Error("it is written down")
	}
}

// What a delete has to undo, or another process has to find, is written at once.
func TestUnrecordedIsWrittenDownWhereItMust(t *testing.T) {
	r, root := testRuntime(t)
	for name, change := range map[string]func(*making){
		"hooks":         func(m *making) { m.s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/true"}}} },
		"host's mounts": func(m *making) { m.s = without(m.s, specs.MountNamespace) },
		"a cgroup":      func(m *making) { m.rt = &Runtime{} },
		"create":        func(m *making) { m.wait = true },
	} {
		m := &making{rt: r, o: CreateOptions{Unrecorded: true}, s: testSpec(root)}
		if !m.unrecorded() {
			t.Fatal("nothing is ever unrecorded")
		}
		if change(m); m.unrecorded() {
			t.Errorf("%s: it is not written down", name)
		}
	}
	o := unrecorded(t, root, "sleep", "1000")
	o.Config.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/true"}}}
	_, p, err := r.Run(t.Context(), "boat", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Load("boat"); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), "boat", true); err != nil {
		t.Error(err)
	}
	_, _, _ = p.Wait()
}

// Who has created a container waits for it, whoever starts it.
func TestCreatorWaits(t *testing.T) {
	r, root := testRuntime(t)
	o, _ := boxOf(t, root, "sh", "-c", "exit 7")
	_, p, err := r.Create(t.Context(), "boat", o)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Runtime{Root: r.Root, NoCgroup: true}).Start(t.Context(), "boat"); err != nil {
		t.Fatal(err)
	}
	if ws, _, err := p.Wait(); err != nil || ws.ExitStatus() != 7 {
		t.Errorf("it ended with %v, %v", ws, err)
	}
	if err := r.Delete(t.Context(), "boat", false); err != nil {
		t.Error(err)
	}
}
