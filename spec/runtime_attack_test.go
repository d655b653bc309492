package spec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A hook that cannot be executed is not mistaken for the payload.
func TestHookThatCannotBeExecuted(t *testing.T) {
	r, root := testRuntime(t)
	for point, hooks := range map[string]*specs.Hooks{
		"createContainer": {CreateContainer: []specs.Hook{{Path: "/no/such/hook"}}},
		"startContainer":  {StartContainer: []specs.Hook{{Path: "/no/such/hook"}}},
	} {
		o, _ := boxOf(t, root, "true")
		o.Config.Hooks = hooks
		_, _, err := r.Run(context.Background(), "nohook", o)
		var e *userns.ExecError
		if err == nil || errors.As(err, &e) || !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), point+"[0]: run /no/such/hook") {
			t.Errorf("%s: %v", point, err)
		}
	}
}

// After a startContainer hook that failed, poststop hooks run, and not again
// with the deletion.
func TestPoststopRunsOnce(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	log := filepath.Join(t.TempDir(), "log")
	o, _ := boxOf(t, root, "true")
	o.Config.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "exit 7"}}},
		Poststop: []specs.Hook{hookTo(log, "poststop")}}
	if _, _, err := r.Create(ctx, "once", o); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(ctx, "once"); err == nil {
		t.Error("it started")
	}
	if err := r.Delete(ctx, "once", false); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Run(ctx, "once", o); err == nil {
		t.Error("it ran")
	}
	said, _ := os.ReadFile(log)
	if n := strings.Count(string(said), "poststop"); n != 2 {
		t.Errorf("the poststop hooks of two containers ran %d times", n)
	}
}

// A state directory that somebody else can write to is not believed: he could
// name hooks for us to run, and processes for us to kill.
func TestStateOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "takes root, who can give a directory away")
	}
	ctx := context.Background()
	mark := filepath.Join(t.TempDir(), "mark")
	for name, change := range map[string]func(r *Runtime) error{
		"root of another":      func(r *Runtime) error { return os.Chown(r.Root, 12345, 12345) },
		"root open to all":     func(r *Runtime) error { return os.Chmod(r.Root, 0o777) },
		"container of another": func(r *Runtime) error { return os.Chown(r.dir("box"), 12345, 12345) },
		"a link": func(r *Runtime) error {
			return errors.Join(os.Rename(r.dir("box"), r.Root+"-box"), os.Symlink(r.Root+"-box", r.dir("box")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, root := testRuntime(t)
			o, _ := boxOf(t, root, "sleep", "1000")
			o.Config.Hooks = &specs.Hooks{Poststart: []specs.Hook{hookTo(mark, "poststart")}, Poststop: []specs.Hook{hookTo(mark, "poststop")}}
			c, _, err := r.Create(ctx, "box", o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Kill(ctx, unix.SIGKILL, false) }()
			if err := change(r); err != nil {
				t.Fatal(err)
			}
			var warned []string
			r.Warn = func(m string) { warned = append(warned, m) }
			if _, err := r.Load("box"); err == nil {
				t.Error("it is loaded")
			}
			if err := r.Start(ctx, "box"); err == nil {
				t.Error("it is started")
			}
			if err := r.Delete(ctx, "box", true); strings.HasPrefix(name, "root") && err == nil {
				t.Error("deleted by force")
			}
			if all, err := r.List(); len(all) > 0 || (err == nil) == strings.HasPrefix(name, "root") {
				t.Errorf("list: %d containers, %v, %q", len(all), err, warned)
			}
			if !c.alive() {
				t.Error("it was killed")
			}
			if _, err := os.Stat(mark); err == nil {
				t.Error("a hook was run")
			}
			other, _, err := r.Create(ctx, "other", o)
			if (err == nil) == strings.HasPrefix(name, "root") {
				t.Errorf("another: %v", err)
			}
			if err == nil {
				_ = other.Kill(ctx, unix.SIGKILL, false)
			}
		})
	}
}

// Between the look at a container that is half made and the lock, its maker can
// have come to the end: then it has a process.
func TestDeleteForceOfOneJustMade(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	o, _ := boxOf(t, root, "sleep", "1000")
	c, _, err := r.Create(ctx, "young", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Kill(ctx, unix.SIGKILL, false) }()
	if err := r.deleteDamaged(ctx, "young"); err != nil || c.alive() {
		t.Errorf("%v, alive %v", err, c.alive())
	}
}

// Deleting by force waits for no hook.
func TestDeleteForceWhileAHookHangs(t *testing.T) {
	hang := []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo > $0; exec sleep 30", ""}, Env: []string{"PATH=/usr/bin:/bin"}}}
	for point, hooks := range map[string]*specs.Hooks{
		"createRuntime":   {CreateRuntime: hang},
		"createContainer": {CreateContainer: hang},
		"startContainer":  {StartContainer: hang},
		"poststart":       {Poststart: hang},
	} {
		t.Run(point, func(t *testing.T) {
			r, root := testRuntime(t)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			mark := filepath.Join(root, "tmp-mark")
			if point == "startContainer" {
				hang[0].Args[3] = "/tmp-mark"
			} else {
				hang[0].Args[3] = mark
			}
			o, _ := boxOf(t, root, "sleep", "1000")
			o.Config.Hooks = hooks
			made := make(chan error, 1)
			go func() {
				_, _, err := r.Create(ctx, "hang", o)
				if err == nil {
					err = r.Start(ctx, "hang")
				}
				made <- err
			}()
			waitFor(t, "the hook to run", func() bool { _, err := os.Stat(mark); return err == nil })
			if got := status(t, r, "hang"); strings.HasPrefix(point, "create") && got != specs.StateCreating {
				t.Errorf("during the hook it is %s", got)
			}
			began := time.Now()
			if err := r.Delete(context.Background(), "hang", true); err != nil {
				t.Error(err)
			}
			// The hook hangs for 30 seconds, its caller's patience ends after 20.
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("deleting took %s", took)
			}
			if _, err := r.Load("hang"); !errors.Is(err, ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
			cancel() // for the poststart hook, which is its caller's
			<-made
		})
	}
}
