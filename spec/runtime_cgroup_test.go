package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestCgroupOwner(t *testing.T) {
	own := []specs.LinuxNamespace{{Type: specs.CgroupNamespace}}
	mount := []specs.Mount{{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid"}}}
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 10}}
	for name, tt := range map[string]struct {
		ns     []specs.LinuxNamespace
		mounts []specs.Mount
		maps   []specs.LinuxIDMapping
		uid    uint32
		want   int
		ok     bool
	}{
		"host ids":     {own, mount, nil, 7, 7, true},
		"mapped":       {own, mount, maps, 3, 100002, true},
		"root, mapped": {own, mount, maps, 0, 1000, true},
		"not mapped":   {own, mount, maps, 11, 0, false},
		"read-only":    {own, []specs.Mount{{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}}}, nil, 7, 0, false},
		"no mount":     {own, nil, nil, 7, 0, false},
		"elsewhere":    {own, []specs.Mount{{Destination: "/cg", Source: "cgroup"}}, nil, 7, 0, false},
		"no namespace": {nil, mount, nil, 7, 0, false},
		"joined":       {[]specs.LinuxNamespace{{Type: specs.CgroupNamespace, Path: "/proc/1/ns/cgroup"}}, mount, nil, 7, 0, false},
	} {
		s := &specs.Spec{Mounts: tt.mounts, Process: &specs.Process{User: specs.User{UID: tt.uid}}, Linux: &specs.Linux{Namespaces: tt.ns, UIDMappings: tt.maps}}
		if uid, ok := cgroupOwner(s); uid != tt.want || ok != tt.ok {
			t.Errorf("%s: %d, %v", name, uid, ok)
		}
	}
}

// cgroupRuntime makes containers in cgroups, below a path of the test's own.
func cgroupRuntime(t *testing.T) (r *Runtime, root, path string) {
	t.Helper()
	tree, err := cgroupv2.Detect()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 || tree.Mount == "" || tree.Place == "" {
		if os.Getenv("CORACLE_MUST_WORK") == "1" {
			t.Fatalf("missing: root and a cgroup v2 tree (%+v)", tree)
		}
		t.Skip("needs root and a cgroup v2 tree")
	}
	r, root = testRuntime(t)
	r.NoCgroup = false
	return r, root, fmt.Sprintf("/coracle-spec-%d-%d", os.Getpid(), time.Now().UnixNano())
}

// A container from its birth in its cgroup to its removal: it sees that as the
// root, owns it where it may write, and leaves nothing.
func TestCgroupOfContainer(t *testing.T) {
	r, root, path := cgroupRuntime(t)
	o, out := boxOf(t, root, "sh", "-c", "cat /proc/self/cgroup; sleep 1000 & wait")
	o.Config.Linux.CgroupsPath = path + "/c"
	o.Config.Linux.UIDMappings = append(o.Config.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 1, HostID: 65534, Size: 1})
	o.Config.Process.User.UID = 1
	o.Config.Mounts = append(o.Config.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup"})
	o.Config.Linux.Resources = &specs.LinuxResources{Unified: map[string]string{"cgroup.max.depth": "3"}}
	ctx := context.Background()
	c, _, err := r.Create(ctx, "cg", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Delete(ctx, "cg", true); err != nil && !errors.Is(err, ErrNotExist) {
			t.Error(err)
		}
	})
	if err := r.Start(ctx, "cg"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the container's output", func() bool {
		data, _ := os.ReadFile(out)
		return strings.Contains(string(data), "0::/\n")
	})
	for file, want := range map[string]uint32{"": 65534, "/cgroup.procs": 65534, "/cgroup.max.depth": 0} {
		var st unix.Stat_t
		if err := unix.Stat(c.Cgroup.Path+file, &st); err != nil || st.Uid != want {
			t.Errorf("%s belongs to %d, %v; want %d", c.Cgroup.Path+file, st.Uid, err, want)
		}
	}
	if depth, err := os.ReadFile(c.Cgroup.Path + "/cgroup.max.depth"); err != nil || string(depth) != "3\n" {
		t.Errorf("cgroup.max.depth is %q, %v", depth, err)
	}
	var pids []int
	waitFor(t, "two processes", func() bool { pids, err = c.Processes(); return err != nil || len(pids) >= 2 })
	if err != nil || len(pids) != 2 {
		t.Errorf("processes %v, %v; want the shell and its sleep", pids, err)
	}
	if err := r.Delete(ctx, "cg", true); err != nil {
		t.Fatal(err)
	}
	up := c.Cgroup.Path[:strings.LastIndex(c.Cgroup.Path, "/")]
	if _, err := os.Stat(up); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", up, err)
	}
}

// A limit that cannot be had: no container, no cgroup, no state.
func TestCgroupLimitRefused(t *testing.T) {
	r, root, path := cgroupRuntime(t)
	o, _ := boxOf(t, root, "true")
	o.Config.Linux.CgroupsPath = path + "/c"
	o.Config.Linux.Resources = &specs.LinuxResources{Unified: map[string]string{"zzz.max": "3"}}
	_, _, err := r.Create(context.Background(), "cg", o)
	var field *cgroupv2.FieldError
	if !errors.As(err, &field) || field.Field != `linux.resources.unified["zzz.max"]` {
		t.Errorf("%v", err)
	}
	if _, err := r.Load("cg"); !errors.Is(err, ErrNotExist) {
		t.Errorf("the container is there: %v", err)
	}
	tree, _ := cgroupv2.Detect()
	if _, err := os.Stat(tree.Mount + path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cgroup is there: %v", err)
	}
}
