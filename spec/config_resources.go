package spec

import (
	"cmp"
	"math/bits"
	"strconv"
	"strings"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// resources checks the limits of the cgroup against cgroup v2, which is what
// carries them out: what only cgroup v1 had is refused by name, unless it asks
// for nothing. 0 stands for "not set", as in all runtimes, but for pids.limit.
// Whether the controllers are there cgroupv2 finds out when it makes the
// cgroup; it says what to do about one that is not.
func (v *validator) resources(field string, r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	for _, step := range []func() error{
		func() error { return checkDeviceRules(under(field, "devices"), r.Devices) },
		func() error { return v.memory(under(field, "memory"), r.Memory) },
		func() error { return checkCPU(under(field, "cpu"), r.CPU) },
		func() error { return checkPids(under(field, "pids"), r.Pids) },
		func() error { return checkBlockIO(under(field, "blockIO"), r.BlockIO) },
		func() error { return checkHugepages(under(field, "hugepageLimits"), r.HugepageLimits) },
		func() error { return checkNetwork(under(field, "network"), r.Network) },
		func() error { return checkRdma(under(field, "rdma"), r.Rdma) },
		func() error { return checkUnified(under(field, "unified"), r.Unified) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (v *validator) memory(field string, m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	kernel := value(m.Kernel) //nolint:staticcheck // deprecated, and old bundles have it
	for _, l := range []struct {
		name  string
		value int64
	}{{"limit", value(m.Limit)}, {"reservation", value(m.Reservation)}, {"swap", value(m.Swap)}, {"kernel", kernel}, {"kernelTCP", value(m.KernelTCP)}} {
		if l.value < -1 {
			return wrong(field+"."+l.name, "%d bytes; -1 is unlimited", l.value)
		}
	}
	if err := v.checkSwap(field, value(m.Limit), value(m.Swap)); err != nil {
		return err
	}
	switch {
	case value(m.KernelTCP) > 0:
		return wrong(field+".kernelTCP", "cgroup v2 has no limit of its own for TCP buffers: they count to limit")
	case m.Swappiness != nil && *m.Swappiness > 100:
		return wrong(field+".swappiness", "%d is not between 0 and 100", *m.Swappiness)
	case m.Swappiness != nil:
		return wrong(field+".swappiness", "cgroup v2 has none for a cgroup; vm.swappiness is the machine's")
	case value(m.DisableOOMKiller):
		return wrong(field+".disableOOMKiller", "cgroup v2 cannot do without the OOM killer")
	case m.UseHierarchy != nil && !*m.UseHierarchy:
		return wrong(field+".useHierarchy", "cgroup v2 is always a hierarchy")
	}
	if kernel > 0 {
		// config-linux.md and the Go type: obsolete since Linux 5.4, may be ignored.
		v.warn(field+".kernel", "ignored: kernel memory has no limit of its own since Linux 5.4, it counts to limit")
	}
	return nil
}

// checkSwap: swap is the limit of both together, and cgroup v2 wants its own
// share of it. Without a limit on memory that is all of it; to an update the
// limit that there is counts, which cgroupv2 reads.
func (v *validator) checkSwap(field string, limit, swap int64) error {
	switch {
	case swap <= 0, limit == -1, limit == 0 && v.update:
		return nil
	case limit == 0:
		return wrong(field+".swap", "%d is a limit of memory and swap together, and limit, that of memory, is missing", swap)
	case swap < limit:
		return wrong(field+".swap", "%d is less than limit, %d: it is memory and swap together", swap, limit)
	}
	return nil
}

func checkCPU(field string, c *specs.LinuxCPU) error {
	if c == nil {
		return nil
	}
	shares, quota, period, burst, idle := value(c.Shares), value(c.Quota), value(c.Period), value(c.Burst), value(c.Idle)
	switch {
	case shares != 0 && (shares < 2 || shares > 262144):
		return wrong(field+".shares", "%d is not between 2 and 262144", shares)
	case quota < -1 || quota > 0 && quota < 1000:
		return wrong(field+".quota", "%d µs; the kernel wants 1000 at least, -1 is unlimited", quota)
	case period != 0 && (period < 1000 || period > 1000000):
		return wrong(field+".period", "%d µs is not between 1000 and 1000000", period)
	case quota > 0 && burst > uint64(quota):
		return wrong(field+".burst", "%d µs is more than quota, %d", burst, quota)
	case value(c.RealtimeRuntime) != 0:
		return wrong(field+".realtimeRuntime", "cgroup v2 has no control of realtime scheduling")
	case value(c.RealtimePeriod) != 0:
		return wrong(field+".realtimePeriod", "cgroup v2 has no control of realtime scheduling")
	case idle != 0 && idle != 1:
		return wrong(field+".idle", "%d is neither 0 nor 1", idle)
	}
	for _, l := range []struct {
		name, list string
		most       uint64
	}{{"cpus", c.Cpus, mostCPUs}, {"mems", c.Mems, mostNodes}} {
		if err := checkList(field+"."+l.name, l.list, l.most); err != nil {
			return err
		}
	}
	return nil
}

func checkPids(field string, p *specs.LinuxPids) error {
	if p != nil && value(p.Limit) < -1 {
		return wrong(field+".limit", "%d; -1 is unlimited", *p.Limit)
	}
	return nil
}

func checkBlockIO(field string, b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	if err := checkWeight(field, b.Weight, b.LeafWeight); err != nil {
		return err
	}
	for i := range b.WeightDevice {
		d, at := &b.WeightDevice[i], at(field+".weightDevice", i)
		if err := checkBlockDevice(at, d.LinuxBlockIODevice); err != nil {
			return err
		}
		if d.Weight == nil && d.LeafWeight == nil {
			return wrong(at+".weight", "missing")
		}
		if err := checkWeight(at, d.Weight, d.LeafWeight); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		name string
		list []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", b.ThrottleReadBpsDevice}, {"throttleWriteBpsDevice", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", b.ThrottleReadIOPSDevice}, {"throttleWriteIOPSDevice", b.ThrottleWriteIOPSDevice},
	} {
		for i := range l.list {
			if err := checkBlockDevice(at(field+"."+l.name, i), l.list[i].LinuxBlockIODevice); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkWeight(field string, weight, leaf *uint16) error {
	if w := value(weight); w != 0 && (w < 10 || w > 1000) {
		return wrong(field+".weight", "%d is not between 10 and 1000", w)
	}
	if value(leaf) != 0 {
		return wrong(field+".leafWeight", "the CFQ scheduler had it, and left Linux with 5.0")
	}
	return nil
}

func checkBlockDevice(field string, d specs.LinuxBlockIODevice) error {
	if d.Major < 0 || d.Major > mostMajor {
		return wrong(field+".major", "%d is not between 0 and %d", d.Major, mostMajor)
	}
	if d.Minor < 0 || d.Minor > mostMinor {
		return wrong(field+".minor", "%d is not between 0 and %d", d.Minor, mostMinor)
	}
	return nil
}

func checkHugepages(field string, limits []specs.LinuxHugepageLimit) error {
	seen := make(map[string]bool)
	for i, l := range limits {
		at := at(field, i) + ".pageSize"
		if !isPageSize(l.Pagesize) {
			return wrong(at, "%s is not like 64KB, 2MB, 1GB", plainjson.Quote(l.Pagesize))
		}
		if seen[l.Pagesize] {
			return wrong(at, "a second limit of %s", l.Pagesize)
		}
		seen[l.Pagesize] = true
	}
	return nil
}

func isPageSize(s string) bool {
	if len(s) < 3 || s[len(s)-1] != 'B' || !strings.ContainsRune("KMG", rune(s[len(s)-2])) || s[0] == '0' {
		return false
	}
	n, err := strconv.ParseUint(s[:len(s)-2], 10, 32)
	return err == nil && decimal(s[:len(s)-2]) && bits.OnesCount64(n) == 1
}

// checkNetwork: cgroup v1's net_cls and net_prio have no successor but BPF.
func checkNetwork(field string, n *specs.LinuxNetwork) error {
	switch {
	case n == nil:
	case value(n.ClassID) != 0:
		return wrong(field+".classID", "cgroup v2 marks no packets (net_cls was cgroup v1's)")
	case len(n.Priorities) > 0:
		return wrong(field+".priorities", "cgroup v2 has no network priorities (net_prio was cgroup v1's)")
	}
	return nil
}

func checkRdma(field string, devices map[string]specs.LinuxRdma) error {
	for _, name := range sortedKeys(devices) {
		at, d := field+"["+plainjson.Quote(name)+"]", devices[name]
		if name == "" || strings.ContainsAny(name, " \t\n\x00/") {
			return wrong(at, "not the name of a device")
		}
		if d.HcaHandles == nil && d.HcaObjects == nil {
			return wrong(at, "neither hcaHandles nor hcaObjects")
		}
	}
	return nil
}

// unified are files of the cgroup: of its controllers, and not those by which
// the cgroup itself is run.
func checkUnified(field string, files map[string]string) error {
	for _, name := range sortedKeys(files) {
		at := field + "[" + plainjson.Quote(name) + "]"
		controller, file, ok := strings.Cut(name, ".")
		if !ok || controller == "" || file == "" || strings.ContainsAny(name, "/\x00") || strings.Contains(name, "..") {
			return wrong(at, "not the name of a file of a cgroup, CONTROLLER.NAME")
		}
		if err := noNul(at, files[name]); err != nil {
			return err
		}
		if controller == "cgroup" && !strings.HasPrefix(file, "max.") && file != "pressure" {
			return wrong(at, "the runtime itself runs the cgroup by it")
		}
	}
	return nil
}

// Numbers of processors and of memory nodes that kernels are built for.
const (
	mostCPUs  = 8191 // CONFIG_NR_CPUS
	mostNodes = 1023 // CONFIG_NODES_SHIFT
)

// checkList wants a list as cpuset(7) has it: 0-3,7. Empty is no list.
func checkList(field, list string, most uint64) error {
	if list == "" {
		return nil
	}
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 32)
		b, err2 := strconv.ParseUint(last, 10, 32)
		switch {
		case cmp.Or(err, err2) != nil || !decimal(first) || !decimal(last):
			return wrong(field, "%s is not a list like 0-3,7", plainjson.Quote(list))
		case a > b:
			return wrong(field, "%s: %d-%d runs backwards", plainjson.Quote(list), a, b)
		case b > most:
			return wrong(field, "%s: %d is more than %d", plainjson.Quote(list), b, most)
		}
	}
	return nil
}
