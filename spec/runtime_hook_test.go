package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// everyPoint has the same hook at each point; to makes it from where in the
// host's view its files are, and where in its own.
func everyPoint(to func(point, dir string) specs.Hook, root string) *specs.Hooks {
	at := func(point, dir string) []specs.Hook { return []specs.Hook{to(point, dir)} }
	return &specs.Hooks{CreateRuntime: at("createRuntime", root), CreateContainer: at("createContainer", root),
		StartContainer: at("startContainer", ""), Poststart: at("poststart", root), Poststop: at("poststop", root)}
}

// What our caller left open is not for hooks, wherever they run.
func TestHooksInheritNothing(t *testing.T) {
	r, root := testRuntime(t)
	ctx := context.Background()
	secret := filepath.Join(t.TempDir(), "left-open")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(secret, unix.O_RDONLY, 0) // not close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	o, _ := boxOf(t, root, "true")
	o.Config.Hooks = everyPoint(func(point, dir string) specs.Hook {
		return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf(
			"for f in /proc/self/fd/*; do readlink $f; done | grep -c left-open >> %s/log; echo %s >> %s/log", dir, point, dir)}, Env: []string{"PATH=/usr/bin:/bin"}}
	}, root)
	_, p, err := r.Run(ctx, "inherit", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Wait(); err != nil {
		t.Error(err)
	}
	if err := r.Delete(ctx, "inherit", true); err != nil {
		t.Error(err)
	}
	said, _ := os.ReadFile(root + "/log")
	if got, want := string(said), "0\ncreateRuntime\n0\ncreateContainer\n0\nstartContainer\n0\npoststart\n0\npoststop\n"; got != want {
		t.Errorf("hooks see\n%swant\n%s", got, want)
	}
}

// With a hook that takes too long ends what it has started, also where no pid
// namespace ends with the container.
func TestHookTimeoutEndsDescendants(t *testing.T) {
	limit := 1
	for _, point := range []string{"createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		t.Run(point, func(t *testing.T) {
			r, root := testRuntime(t)
			r.Warn = func(string) {}
			ctx := context.Background()
			o, _ := boxOf(t, root, "true")
			without(o.Config, specs.PIDNamespace)
			o.Config.Mounts = o.Config.Mounts[1:] // no /proc of our own then
			o.Config.Linux.MaskedPaths, o.Config.Linux.ReadonlyPaths, o.Config.Linux.Sysctl = nil, nil, nil
			o.Config.Hooks = everyPoint(func(at, dir string) specs.Hook {
				if at != point {
					return specs.Hook{Path: "/bin/true"}
				}
				return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 1000 & echo $! > " + dir + "/left; sleep 1000"},
					Env: []string{"PATH=/usr/bin:/bin"}, Timeout: &limit}
			}, root)
			_, p, err := r.Run(ctx, "late", o)
			if err == nil {
				if _, _, err := p.Wait(); err != nil {
					t.Error(err)
				}
			}
			if (err != nil) != (point != "poststart" && point != "poststop") || err != nil && !strings.Contains(err.Error(), "longer than its timeout") {
				t.Errorf("it says %v", err)
			}
			if err := r.Delete(ctx, "late", true); err != nil {
				t.Error(err)
			}
			data, err := os.ReadFile(root + "/left")
			if err != nil {
				t.Fatal(err)
			}
			left, err := strconv.Atoi(strings.TrimSpace(string(data)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Kill(left, unix.SIGKILL) }()
			waitFor(t, "the end of what the hook started", func() bool {
				_, state, err := ProcessStart(left)
				return err != nil || state == 'Z'
			})
		})
	}
}

// What a hook says is not kept, but for the end, which is told when it fails.
func TestHookOutputIsBounded(t *testing.T) {
	for _, point := range []string{"createRuntime", "createContainer", "startContainer"} {
		r, root := testRuntime(t)
		o, _ := boxOf(t, root, "true")
		o.Config.Hooks = everyPoint(func(at, _ string) specs.Hook {
			if at != point {
				return specs.Hook{Path: "/bin/true"}
			}
			return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c",
				"busybox dd if=/dev/zero bs=1M count=8 2>/dev/null; echo kept $(busybox stat -L -c %s /proc/self/fd/2) bytes; echo the end >/dev/stderr; exit 3"},
				Env: []string{"PATH=/usr/bin:/bin"}}
		}, root)
		_, _, err := r.Run(context.Background(), "loud", o)
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "kept 0 bytes\nthe end") || len(err.Error()) > 2000 {
			t.Errorf("%s: %.3000q", point, fmt.Sprint(err))
		}
	}
}

// A hook that leaves a process behind, with its output, is not waited for
// longer than a moment.
func TestHookThatLeavesAProcess(t *testing.T) {
	for _, point := range []string{"createRuntime", "createContainer", "startContainer"} {
		r, root := testRuntime(t)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		o, _ := boxOf(t, root, "true")
		o.Config.Hooks = everyPoint(func(at, _ string) specs.Hook {
			if at != point {
				return specs.Hook{Path: "/bin/true"}
			}
			return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "sleep 25 & true"}, Env: []string{"PATH=/usr/bin:/bin"}}
		}, root)
		_, p, err := r.Run(ctx, "leaves", o)
		if err == nil {
			_, _, err = p.Wait()
		}
		if err := errors.Join(err, r.Delete(ctx, "leaves", true)); err != nil || ctx.Err() != nil {
			t.Errorf("%s: %v, %v", point, err, ctx.Err())
		}
	}
}
