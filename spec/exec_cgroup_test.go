package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// withCgroup is a container with a cgroup.
func withCgroup(t *testing.T) *Container {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to make a cgroup")
	c := running(t, func(*specs.Spec, *CreateOptions) {}, func(r *Runtime) { r.NoCgroup = false })
	need(t, c.Cgroup.Path != "", "a writable tree of cgroup v2")
	return c
}

// cgroupOf is where a process is, as the host sees it.
func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	t.Fatalf("no cgroup v2 in %q", data)
	return ""
}

// sleeper is a process in the container that stays.
func sleeper(t *testing.T, c *Container, o ExecOptions) *Process {
	t.Helper()
	pr, err := c.Exec(context.Background(), shell("exec sleep 1000"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pr.Signal(unix.SIGKILL); _, _, _ = pr.Wait() })
	return pr
}

func TestExecJoinsTheCgroup(t *testing.T) {
	c := withCgroup(t)
	first := cgroupOf(t, c.Pid)
	if got := cgroupOf(t, sleeper(t, c, ExecOptions{}).PID); got != first {
		t.Errorf("it is in %s, not in %s", got, first)
	}
	if err := os.Mkdir(c.Cgroup.Path+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	if got := cgroupOf(t, sleeper(t, c, ExecOptions{Cgroup: "/below"}).PID); got != first+"/below" {
		t.Errorf("it is in %s, not in %s/below", got, first)
	}
	for _, path := range []string{"none", "../..", "below/../../.."} {
		pr, err := c.Exec(context.Background(), shell("exec sleep 1000"), ExecOptions{Cgroup: path})
		if err == nil {
			if got := cgroupOf(t, pr.PID); !strings.HasPrefix(got, first) {
				t.Errorf("%s leads to %s", path, got)
			}
			_ = pr.Signal(unix.SIGKILL)
			_, _, _ = pr.Wait()
		} else if path != "none" {
			t.Errorf("%s: %v", path, err) // it ends at the container's cgroup
		}
	}
}

func TestExecIntoPaused(t *testing.T) {
	c := withCgroup(t)
	ctx := context.Background()
	if err := c.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, shell("true"), ExecOptions{}); !errors.Is(err, ErrPaused) || !strings.Contains(err.Error(), "cannot exec in a paused container") {
		t.Errorf("into a paused one: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		pr, err := c.Exec(ctx, shell("true"), ExecOptions{IgnorePaused: true})
		if err == nil {
			_, _, err = pr.Wait()
		}
		ended <- err
	}()
	// It is there, and waits with the others.
	waitFor(t, "the process to be born", func() bool { pids, err := c.Processes(); return err == nil && len(pids) > 1 })
	select {
	case err := <-ended:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Whoever has no patience ends it.
	if err := c.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	stop, cancel := context.WithCancel(ctx)
	go func() {
		_, err := c.Exec(stop, shell("true"), ExecOptions{IgnorePaused: true})
		ended <- err
	}()
	waitFor(t, "the process to be born", func() bool { pids, err := c.Processes(); return err == nil && len(pids) > 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ran in a paused container")
	}
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
}

// A cgroup that cannot be joined matters where the container has limits.
func TestExecWithoutTheCgroup(t *testing.T) {
	c := running(t, nil)
	c.Cgroup = cgroupv2.Ref{Path: "/sys/fs/cgroup/coracle-was-removed"}
	if _, _, err := execIn(t, c, shell("true"), ExecOptions{}); err != nil {
		t.Errorf("no limits: %v", err)
	}
	s, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(5))}}
	rewrite(t, c, s)
	if _, _, err := execIn(t, c, shell("true"), ExecOptions{}); !errors.Is(err, cgroupv2.ErrGone) || !strings.Contains(err.Error(), "--ignore-cgroup") {
		t.Errorf("with limits: %v", err)
	}
	if _, _, err := execIn(t, c, shell("true"), ExecOptions{IgnoreCgroup: true}); err != nil {
		t.Errorf("with limits, ignored: %v", err)
	}
	if _, _, err := execIn(t, c, shell("true"), ExecOptions{IgnoreCgroup: true, Cgroup: "below"}); err == nil {
		t.Error("a cgroup below one that is not there")
	}
}
