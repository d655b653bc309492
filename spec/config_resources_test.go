package spec

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func kernelMemory(n int64) specs.LinuxMemory {
	return specs.LinuxMemory{Kernel: &n} //nolint:staticcheck // deprecated, and old bundles have it
}

func TestValidateResources(t *testing.T) {
	set := func(r specs.LinuxResources) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Linux.Resources = &r }
	}
	memory := func(m specs.LinuxMemory) func(*specs.Spec, *HostFacts) { return set(specs.LinuxResources{Memory: &m}) }
	cpu := func(c specs.LinuxCPU) func(*specs.Spec, *HostFacts) { return set(specs.LinuxResources{CPU: &c}) }
	block := func(b specs.LinuxBlockIO) func(*specs.Spec, *HostFacts) {
		return set(specs.LinuxResources{BlockIO: &b})
	}
	pages := func(sizes ...string) func(*specs.Spec, *HostFacts) {
		var r specs.LinuxResources
		for _, s := range sizes {
			r.HugepageLimits = append(r.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: s})
		}
		return set(r)
	}
	unified := func(name string) func(*specs.Spec, *HostFacts) {
		return set(specs.LinuxResources{Unified: map[string]string{name: "1"}})
	}
	i, u, w := ptr[int64], ptr[uint64], ptr[uint16]
	disk := specs.LinuxBlockIODevice{Major: 8}
	rate := []specs.LinuxThrottleDevice{{LinuxBlockIODevice: disk, Rate: 1}}
	badRate := []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: -1}}}
	const m, c, b, un = "linux.resources.memory.", "linux.resources.cpu.", "linux.resources.blockIO", "linux.resources.unified"
	refusedAll(t, []badConfig{
		{memory(specs.LinuxMemory{Limit: i(-2)}), m + "limit: -2 bytes"},
		{memory(specs.LinuxMemory{Reservation: i(-2)}), m + "reservation: -2 bytes"},
		{memory(specs.LinuxMemory{Swap: i(-1 << 63)}), m + "swap: -9223372036854775808 bytes"},
		{memory(kernelMemory(-2)), m + "kernel: -2 bytes"},
		{memory(specs.LinuxMemory{KernelTCP: i(-2)}), m + "kernelTCP: -2 bytes"},
		{memory(specs.LinuxMemory{Swap: i(5)}), m + "swap: 5 is a limit of memory and swap together, and limit"},
		{memory(specs.LinuxMemory{Swap: i(5), Limit: i(6)}), m + "swap: 5 is less than limit, 6"},
		{memory(specs.LinuxMemory{KernelTCP: i(1)}), m + "kernelTCP: cgroup v2 has no limit"},
		{memory(specs.LinuxMemory{Swappiness: u(101)}), m + "swappiness: 101 is not"},
		{memory(specs.LinuxMemory{Swappiness: u(0)}), m + "swappiness: cgroup v2 has none"},
		{memory(specs.LinuxMemory{DisableOOMKiller: ptr(true)}), m + "disableOOMKiller: cgroup v2 cannot"},
		{memory(specs.LinuxMemory{UseHierarchy: ptr(false)}), m + "useHierarchy: cgroup v2 is always"},
		{cpu(specs.LinuxCPU{Shares: u(1)}), c + "shares: 1 is not"},
		{cpu(specs.LinuxCPU{Shares: u(262145)}), c + "shares: 262145 is not"},
		{cpu(specs.LinuxCPU{Quota: i(-2)}), c + "quota: -2"},
		{cpu(specs.LinuxCPU{Quota: i(999)}), c + "quota: 999"},
		{cpu(specs.LinuxCPU{Period: u(999)}), c + "period: 999"},
		{cpu(specs.LinuxCPU{Period: u(1000001)}), c + "period: 1000001"},
		{cpu(specs.LinuxCPU{Burst: u(1001), Quota: i(1000)}), c + "burst: 1001 µs is more than quota"},
		{cpu(specs.LinuxCPU{RealtimeRuntime: i(1)}), c + "realtimeRuntime: cgroup v2 has no"},
		{cpu(specs.LinuxCPU{RealtimePeriod: u(1)}), c + "realtimePeriod: cgroup v2 has no"},
		{cpu(specs.LinuxCPU{Idle: i(2)}), c + "idle: 2 is neither"},
		{cpu(specs.LinuxCPU{Cpus: "0-x"}), c + `cpus: "0-x" is not a list`},
		{cpu(specs.LinuxCPU{Mems: "0,1024"}), c + `mems: "0,1024": 1024 is more than 1023`},
		{set(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: i(-2)}}), "linux.resources.pids.limit: -2"},
		{block(specs.LinuxBlockIO{Weight: w(9)}), b + ".weight: 9 is not"},
		{block(specs.LinuxBlockIO{Weight: w(1001)}), b + ".weight: 1001 is not"},
		{block(specs.LinuxBlockIO{LeafWeight: w(10)}), b + ".leafWeight: the CFQ scheduler"},
		{block(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: disk}}}), b + ".weightDevice[0].weight: missing"},
		{block(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: disk, Weight: w(5)}}}), b + ".weightDevice[0].weight: 5 is not"},
		{block(specs.LinuxBlockIO{WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Minor: 1 << 20}}}}), b + ".weightDevice[0].minor: "},
		{block(specs.LinuxBlockIO{ThrottleReadBpsDevice: badRate}), b + ".throttleReadBpsDevice[0].major: -1"},
		{block(specs.LinuxBlockIO{ThrottleWriteBpsDevice: badRate}), b + ".throttleWriteBpsDevice[0].major: -1"},
		{block(specs.LinuxBlockIO{ThrottleReadIOPSDevice: badRate}), b + ".throttleReadIOPSDevice[0].major: -1"},
		{block(specs.LinuxBlockIO{ThrottleWriteIOPSDevice: badRate}), b + ".throttleWriteIOPSDevice[0].major: -1"},
		{pages("2MB", "2MB"), "linux.resources.hugepageLimits[1].pageSize: a second limit of 2MB"},
		{pages(""), `linux.resources.hugepageLimits[0].pageSize: "" is not`},
		{pages("2M"), `linux.resources.hugepageLimits[0].pageSize: "2M" is not`},
		{pages("3MB"), `linux.resources.hugepageLimits[0].pageSize: "3MB" is not`},
		{pages("02MB"), `linux.resources.hugepageLimits[0].pageSize: "02MB" is not`},
		{pages("../x"), `linux.resources.hugepageLimits[0].pageSize: "../x" is not`},
		{pages("MB"), `linux.resources.hugepageLimits[0].pageSize: "MB" is not`},
		{set(specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(1))}}), "linux.resources.network.classID: cgroup v2"},
		{set(specs.LinuxResources{Network: &specs.LinuxNetwork{Priorities: make([]specs.LinuxInterfacePriority, 1)}}), "linux.resources.network.priorities: cgroup v2"},
		{set(specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"a": {}}}), `linux.resources.rdma["a"]: neither`},
		{set(specs.LinuxResources{Rdma: map[string]specs.LinuxRdma{"a b": {HcaObjects: ptr(uint32(1))}}}), `linux.resources.rdma["a b"]: not the name`},
		{unified(""), un + `[""]: not the name of a file`},
		{unified("memory"), un + `["memory"]: not the name`},
		{unified("memory."), un + `["memory."]: not the name`},
		{unified(".max"), un + `[".max"]: not the name`},
		{unified("memory.max/x"), un + `["memory.max/x"]: not the name`},
		{unified("../cgroup.procs"), un + `["../cgroup.procs"]: not the name`},
		{unified("memory..max"), un + `["memory..max"]: not the name`},
		{unified("cgroup.procs"), un + `["cgroup.procs"]: the runtime itself`},
		{unified("cgroup.kill"), un + `["cgroup.kill"]: the runtime itself`},
		{unified("cgroup.freeze"), un + `["cgroup.freeze"]: the runtime itself`},
		{unified("cgroup.subtree_control"), un + `["cgroup.subtree_control"]: the runtime itself`},
		{set(specs.LinuxResources{Unified: map[string]string{"memory.max": "1\x00"}}), un + `["memory.max"]: `},
	})
	accepted(t, everything(), map[string]func(*specs.Spec){
		"": func(s *specs.Spec) {
			memory(specs.LinuxMemory{Limit: i(1 << 30), Reservation: i(1 << 29), Swap: i(1 << 30), KernelTCP: i(-1),
				DisableOOMKiller: ptr(false), UseHierarchy: ptr(true), CheckBeforeUpdate: ptr(true)})(s, nil)
		},
		"#1": func(s *specs.Spec) {
			cpu(specs.LinuxCPU{Shares: u(262144), Quota: i(1000), Period: u(1000000), Burst: u(1000), RealtimeRuntime: i(0), RealtimePeriod: u(0), Cpus: "0-1", Mems: "0", Idle: i(1)})(s, nil)
		},
		"#2": func(s *specs.Spec) {
			block(specs.LinuxBlockIO{Weight: w(1000), LeafWeight: w(0), WeightDevice: []specs.LinuxWeightDevice{{LinuxBlockIODevice: disk, Weight: w(10)}},
				ThrottleReadBpsDevice: rate, ThrottleWriteIOPSDevice: rate})(s, nil)
		},
		"#3":      func(s *specs.Spec) { pages("64KB", "2MB", "1GB")(s, nil) },
		"#4":      func(s *specs.Spec) { unified("hugetlb.1GB.max")(s, nil) },
		"#5":      func(s *specs.Spec) { unified("cgroup.max.descendants")(s, nil) },
		"#6":      func(s *specs.Spec) { set(specs.LinuxResources{Pids: &specs.LinuxPids{Limit: i(0)}})(s, nil) },
		"#kernel": func(s *specs.Spec) { memory(kernelMemory(-1))(s, nil) },
		"#7": func(s *specs.Spec) {
			set(specs.LinuxResources{Network: &specs.LinuxNetwork{ClassID: ptr(uint32(0))}})(s, nil)
		},
		"#8":                                     func(s *specs.Spec) { memory(specs.LinuxMemory{Limit: i(-1), Swap: i(5)})(s, nil) },
		"#9":                                     func(s *specs.Spec) { cpu(specs.LinuxCPU{Burst: u(1)})(s, nil) },
		"linux.resources.memory.kernel: ignored": func(s *specs.Spec) { memory(kernelMemory(1))(s, nil) },
	})
	accepted(t, rootless(), map[string]func(*specs.Spec){
		"": func(s *specs.Spec) { s.Linux.Resources = nil },
		"#1": func(s *specs.Spec) {
			set(specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: i(-1), Swap: i(-1), Reservation: i(0)}, CPU: &specs.LinuxCPU{Shares: u(0), Quota: i(-1), Period: u(100000)},
				Pids: &specs.LinuxPids{Limit: i(-1)}, BlockIO: &specs.LinuxBlockIO{Weight: w(0)}})(s, nil)
		},
	})
	// The limit that the container has counts.
	if _, err := ValidateResources(&specs.LinuxResources{Memory: &specs.LinuxMemory{Swap: i(5)}}); err != nil {
		t.Error(err)
	}
	if _, err := ValidateResources(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: i(-5)}}); err == nil || err.Error() != "memory.limit: -5 bytes; -1 is unlimited" {
		t.Error(err)
	}
}
