package cgroupv2

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestScopeOf(t *testing.T) {
	long := strings.Repeat("x", 250)
	for name, tt := range map[string]struct {
		path, id    string
		user        bool
		name, slice string
	}{
		"default, user":    {id: "abc", user: true, name: "coracle-abc.scope", slice: "user.slice"},
		"default, machine": {id: "abc", name: "coracle-abc.scope", slice: "system.slice"},
		"podman":           {path: "user.slice:libpod:123", user: true, name: "libpod-123.scope", slice: "user.slice"},
		"CRI":              {path: "kubepods-besteffort-pod1.slice:cri-containerd:123", name: "cri-containerd-123.scope", slice: "kubepods-besteffort-pod1.slice"},
		"no slice":         {path: ":docker:123", name: "docker-123.scope", slice: "system.slice"},
		"no prefix":        {path: "machine.slice::123", name: "123.scope", slice: "machine.slice"},
		"plus":             {id: "a+b", name: `coracle-a\x2bb.scope`, slice: "system.slice"},
		"root slice":       {path: "-.slice:a:b", name: "a-b.scope", slice: "-.slice"},
	} {
		u, err := scopeOf(tt.path, tt.id, tt.user)
		if err != nil || u.name != tt.name || u.slice != tt.slice || u.user != tt.user {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	for _, path := range []string{"/a/b", "a:b", "a:b:c:d", "a.slice:b:", "a:b:c", "a--b.slice:b:c", ".slice:b:c", "a.slice/b.slice:b:c", "-a.slice:b:c", "a.slice:b:c.slice", "a.slice:b:" + long} {
		if u, err := scopeOf(path, "id", true); !errors.Is(err, ErrBadRequest) || !strings.HasPrefix(err.Error(), pathField) {
			t.Errorf("%s: %+v, %v", path, u, err)
		}
	}
	_, err := scopeOf("/a/b", "id", true)
	if !strings.Contains(err.Error(), `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead`) {
		t.Errorf("%v: callers know runc's words", err)
	}
}

func TestExpandSlice(t *testing.T) {
	for slice, want := range map[string]string{"-.slice": "/", "a.slice": "/a.slice", "a-b-c.slice": "/a.slice/a-b.slice/a-b-c.slice"} {
		if got, err := expandSlice(slice); got != want || err != nil {
			t.Errorf("%s: %s, %v", slice, got, err)
		}
	}
}

// words are properties as text.
func words(p []property) string {
	var out []string
	for _, x := range p {
		value, ok := x.Value.(dbus.Variant)
		if !ok {
			value = dbus.MakeVariant(x.Value)
		}
		v := fmt.Sprint(value.Value())
		if n, ok := value.Value().(uint64); ok && n == math.MaxUint64 {
			v = "infinity"
		}
		out = append(out, x.Name+"="+value.Signature().String()+":"+v)
	}
	return strings.Join(out, " ")
}

func TestLimitProperties(t *testing.T) {
	for name, tt := range map[string]struct {
		in      string
		version int
		want    string
	}{
		"memory":           {`{"memory":{"limit":1000,"swap":1500,"reservation":10}}`, 252, "MemorySwapMax=t:500 MemoryMax=t:1000 MemoryLow=t:10"},
		"no limit":         {`{"memory":{"limit":-1},"pids":{"limit":-1}}`, 252, "MemorySwapMax=t:infinity MemoryMax=t:infinity TasksMax=t:infinity"},
		"tasks":            {`{"pids":{"limit":0}}`, 252, "TasksMax=t:1"},
		"quota":            {`{"cpu":{"quota":50000}}`, 252, "CPUQuotaPerSecUSec=t:500000 CPUQuotaPeriodUSec=t:100000"},
		"quota rounds up":  {`{"cpu":{"quota":1000,"period":3000}}`, 252, "CPUQuotaPerSecUSec=t:333334 CPUQuotaPeriodUSec=t:3000"},
		"quota, old":       {`{"cpu":{"quota":50000}}`, 241, "CPUQuotaPerSecUSec=t:500000"},
		"no quota":         {`{"cpu":{"quota":-1}}`, 241, "CPUQuotaPerSecUSec=t:infinity"},
		"weight":           {`{"cpu":{"shares":2048},"blockIO":{"weight":500}}`, 252, "CPUWeight=t:174 IOWeight=t:4950"},
		"idle wins":        {`{"cpu":{"shares":2048,"idle":1}}`, 252, "CPUWeight=t:0"},
		"idle, old":        {`{"cpu":{"shares":2048,"idle":1}}`, 247, "CPUWeight=t:174"},
		"cpuset":           {`{"cpu":{"cpus":"0-1,9","mems":"0"}}`, 244, "AllowedCPUs=ay:[3 2] AllowedMemoryNodes=ay:[1]"},
		"cpuset, old":      {`{"cpu":{"cpus":"0"}}`, 243, ""},
		"unified":          {`{"unified":{"memory.high":"1M","memory.min":"5","cpu.max":"max","memory.low":"1.5G"}}`, 252, "CPUQuotaPerSecUSec=t:infinity CPUQuotaPeriodUSec=t:100000 MemoryHigh=t:1048576 MemoryMin=t:5"},
		"no word for them": {`{"hugepageLimits":[{"pageSize":"2MB","limit":1}],"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]}}`, 252, ""},
	} {
		files, err := Files(parseResources(t, tt.in), Facts{})
		must(t, err)
		if got := words(limitProperties(files, tt.version)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

func TestScopeProperties(t *testing.T) {
	p, err := scopeProperties(unit{"coracle-x.scope", "a.slice", true}, "x", 77, []File{{Name: "pids.max", Value: "5"}},
		map[string]string{"org.systemd.property.TimeoutStopSec": "uint64 2", "org.systemd.property.RuntimeMaxUSec": "uint64 9", "org.systemd.property.CollectMode": "'inactive'", "other": "x"}, 252)
	must(t, err)
	const want = "Description=s:coracle container x Slice=s:a.slice PIDs=au:[77] Delegate=b:true DefaultDependencies=b:false " +
		"MemoryAccounting=b:true CPUAccounting=b:true IOAccounting=b:true TasksAccounting=b:true TasksMax=t:5 " +
		"CollectMode=s:inactive RuntimeMaxUSec=t:9 TimeoutStopUSec=t:2000000"
	if got := words(p); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	for key, v := range map[string]string{"X": "1", "Bad-Name": "'x'", "TimeoutStopSec": "'x'", "CollectMode": "", "RuntimeMaxSec": "-5"} {
		_, err := annotated(map[string]string{"org.systemd.property." + key: v})
		if !errors.Is(err, ErrBadRequest) || !strings.Contains(err.Error(), "annotations.org.systemd.property."+key) {
			t.Errorf("%s=%s: %v", key, v, err)
		}
	}
}

func TestBusAddresses(t *testing.T) {
	env := map[string]string{"XDG_RUNTIME_DIR": "/run/user/5", "DBUS_SESSION_BUS_ADDRESS": "tcp:host=x;unix:path=/tmp/a%20b,guid=1;unix:abstract=/tmp/c"}
	got := busAddresses(true, 1000, func(k string) string { return env[k] })
	want := []busAddress{{"/run/user/5/systemd/private", true}, {"/tmp/a b", false}, {"@/tmp/c", false}, {"/run/user/5/bus", false}}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	got = busAddresses(true, 1000, func(string) string { return "" })
	if want := []busAddress{{"/run/user/1000/systemd/private", true}, {"/run/user/1000/bus", false}}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := busAddresses(false, 0, func(k string) string { return env[k] }); len(got) != 2 || !got[0].own || got[1].socket != "/run/dbus/system_bus_socket" {
		t.Errorf("%v", got)
	}
}

func TestPlanRefuses(t *testing.T) {
	unified := Tree{Layout: Unified, Mount: "/sys/fs/cgroup", Root: "/"}
	for name, tt := range map[string]struct {
		tree  Tree
		cfg   Config
		field string
		kind  error
	}{
		"hybrid":     {Tree{Layout: Hybrid, Mount: "/x"}, Config{ID: "x"}, pathField, ErrUnsupported},
		"path":       {unified, Config{ID: "x", Path: "/a"}, pathField, ErrBadRequest},
		"limit":      {unified, Config{ID: "x", Resources: parseResources(t, `{"memory":{"limit":-9}}`)}, "linux.resources.memory.limit", ErrBadRequest},
		"device":     {unified, Config{ID: "x", Resources: parseResources(t, `{"devices":[{"allow":true}]}`)}, "linux.resources.devices[0].access", ErrBadRequest},
		"annotation": {unified, Config{ID: "x", Annotations: map[string]string{"org.systemd.property.Abc": "["}}, "annotations.org.systemd.property.Abc", ErrBadRequest},
	} {
		_, err := plan(tt.tree, tt.cfg)
		var field *FieldError
		if !errors.As(err, &field) || field.Field != tt.field || !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
