package cgroupv2

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// running is a container in a fake tree with all controllers.
func running(t *testing.T, in string) (*fakeKernel, *Cgroup) {
	t.Helper()
	k := newFake(t, "cpu cpuset hugetlb io memory pids rdma")
	mkdirs(t, k, "/user", "/user/session")
	c, err := create(k.tree("/user/session"), Config{ID: "x", Resources: parseResources(t, in)}, k)
	must(t, err)
	t.Cleanup(c.Close)
	return k, c
}

func TestApply(t *testing.T) {
	k, c := running(t, `{"memory":{"limit":1000}}`)
	must(t, c.Apply(parseResources(t, `{"memory":{"swap":3000},"cpu":{"period":5000,"cpus":"0-1"},"unified":{"memory.high":"900"}}`)))
	for file, want := range map[string]string{"memory.max": "1000", "memory.swap.max": "2000", "cpu.max": "max 5000", "cpuset.cpus": "0-1", "memory.high": "900"} {
		if got := readIn(c.Path(), file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	must(t, c.Apply(parseResources(t, `{"cpu":{"quota":2000}}`)))
	if got := readIn(c.Path(), "cpu.max"); got != "2000 5000" {
		t.Errorf("cpu.max is %q: the period is gone", got)
	}
	must(t, c.Apply(nil))
	if got := strings.Join(sortedFields(readIn(k.root+"/user", subtreeControl)), " "); got != "cpu cpuset memory" {
		t.Errorf("enabled: %s", got)
	}
}

// Each file in turn is refused: all have their old values then, and the
// controllers that were enabled for it are disabled.
func TestApplyAllOrNothing(t *testing.T) {
	const old = `{"memory":{"limit":1000,"swap":1500,"reservation":10},"cpu":{"shares":512,"quota":5000,"burst":100},"pids":{"limit":7}}`
	const update = `{"memory":{"limit":900,"swap":900,"reservation":20},"cpu":{"shares":2048,"quota":8000,"period":9000,"burst":6000,"idle":1,"cpus":"1","mems":"0"},
		"pids":{"limit":3},"blockIO":{"weight":500},"hugepageLimits":[{"pageSize":"2MB","limit":5}],"unified":{"memory.high":"5"}}`
	files, err := Files(parseResources(t, update), Facts{})
	must(t, err)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			k, c := running(t, old)
			k.refuse[f.Name+"="+f.Value] = unix.EINVAL
			before := k.snapshot()
			err := c.Apply(parseResources(t, update))
			var field *FieldError
			if !errors.As(err, &field) || field.Field != f.Field || !errors.Is(err, unix.EINVAL) {
				t.Errorf("%v; want %s", err, f.Field)
			}
			if after := k.snapshot(); after != before {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
		})
	}
}

func TestApplySaysWhatItCouldNotRestore(t *testing.T) {
	k, c := running(t, `{"memory":{"limit":1000}}`)
	k.refuse["memory.low=5"] = unix.EINVAL
	k.refuse["memory.max=1000"] = unix.EBUSY
	err := c.Apply(parseResources(t, `{"memory":{"limit":900,"reservation":5}}`))
	if !errors.Is(err, unix.EINVAL) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "put the old memory.max back") {
		t.Errorf("%v", err)
	}
}

func TestApplyWithoutCgroup(t *testing.T) {
	c := &Cgroup{reason: "no cgroup: because"}
	must(t, c.Apply(parseResources(t, `{}`)))
	if err := c.Apply(parseResources(t, limits)); !errors.Is(err, ErrNone) || !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "because") {
		t.Errorf("%v", err)
	}
}

func TestBefore(t *testing.T) {
	for name, tt := range map[string]struct{ file, value, old, want string }{
		"number":               {"memory.max", "5", "max\n", "max"},
		"two":                  {"cpu.max", "5 6", "max 100000\n", "max 100000"},
		"device with a limit":  {"io.max", "8:0 rbps=5", "8:16 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=9 wbps=max riops=3 wiops=max\n", "8:0 rbps=9 wbps=max riops=3 wiops=max"},
		"device without":       {"io.max", "8:0 rbps=5", "8:16 rbps=1 wbps=max riops=max wiops=max\n", "8:0 rbps=max wbps=max riops=max wiops=max"},
		"default weight":       {"io.weight", "50", "default 100\n8:0 5\n", "default 100"},
		"old bfq":              {"io.bfq.weight", "50", "100\n", "100"},
		"weight of a device":   {"io.weight", "8:0 50", "default 100\n8:0 5\n", "8:0 5"},
		"device had no weight": {"io.weight", "8:1 50", "default 100\n8:0 5\n", "8:1 default"},
		"rdma":                 {"rdma.max", "mlx hca_handle=1", "", "mlx hca_handle=max hca_object=max"},
		"cpus were not set":    {"cpuset.cpus", "0", "\n", ""},
		"latency":              {"io.latency", "8:0 target=5", "", "8:0 target=0"},
	} {
		if got, ok := before(File{Name: tt.file, Value: tt.value}, tt.old); got != tt.want || !ok {
			t.Errorf("%s: %q, %v; want %q", name, got, ok, tt.want)
		}
	}
	for _, tt := range [][3]string{{"memory.reclaim", "5", ""}, {"cpu.weight", "5", "0\n"}} {
		if got, ok := before(File{Name: tt[0], Value: tt[1]}, tt[2]); ok {
			t.Errorf("%s: %q", tt[0], got)
		}
	}
}

// The kernel that there is: files that need no controller.
func TestApplyForReal(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	must(t, c.Apply(parseResources(t, `{"unified":{"cgroup.max.depth":"3","cgroup.max.descendants":"10"}}`)))
	err := c.Apply(parseResources(t, `{"unified":{"cgroup.max.depth":"4","cgroup.max.descendants":"-7"}}`))
	if !errors.Is(err, unix.ERANGE) && !errors.Is(err, unix.EINVAL) {
		t.Errorf("a value that the kernel refuses: %v", err)
	}
	if got := readIn(c.Path(), "cgroup.max.depth"); got != "3" {
		t.Errorf("cgroup.max.depth is %s, want the old 3", got)
	}
	must(t, c.Remove(t.Context()))
	if err := c.Apply(parseResources(t, `{"unified":{"cgroup.max.depth":"4"}}`)); !errors.Is(err, ErrGone) {
		t.Errorf("a cgroup that is gone: %v", err)
	}
}

func TestReadAllIsWhole(t *testing.T) {
	dir := t.TempDir()
	want := strings.Repeat("12345\n", 5000)
	must(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(want), 0o644))
	d, err := os.Open(dir)
	must(t, err)
	defer d.Close()
	if got, err := readAt(d, "cgroup.procs"); err != nil || got != want {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
	}
}
