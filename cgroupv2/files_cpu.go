package cgroupv2

import (
	"math"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The kernel's bounds, microseconds (kernel/sched/core.c).
const (
	minQuota      = 1000
	minPeriod     = 1000
	maxPeriod     = 1000000
	defaultPeriod = 100000
)

// cpu: shares, quota, period, burst (microseconds) and idle.
func (c *converter) cpu(r *specs.LinuxResources) error {
	p := r.CPU
	if p == nil {
		return nil
	}
	if value(p.RealtimeRuntime) != 0 {
		return unsupported("cpu.realtimeRuntime", "cgroup v2 has no bandwidth for real-time tasks")
	}
	if value(p.RealtimePeriod) != 0 {
		return unsupported("cpu.realtimePeriod", "cgroup v2 has no bandwidth for real-time tasks")
	}
	idle := value(p.Idle)
	if idle != 0 && idle != 1 {
		return bad("cpu.idle", "%d: want 0 or 1", idle)
	}
	setIdle := func() {
		if p.Idle != nil {
			c.add("cpu.idle", "cpu.idle", strconv.FormatInt(idle, 10))
		}
	}
	// The kernel refuses a weight while the cgroup is idle.
	if idle == 0 {
		setIdle()
	}
	if s := value(p.Shares); s != 0 {
		c.add("cpu.shares", "cpu.weight", strconv.FormatUint(Weight(s), 10))
	}
	if idle == 1 {
		setIdle()
	}
	return c.bandwidth(p)
}

// Weight converts cpu.shares of version 1 (2 to 262144, of 1024) to
// cpu.weight of version 2 (1 to 10000, of 100). The straight line that
// runtimes had until 2025 gave the default of one, 1024, a weight of 39, which
// is not the default of the other; so containers got less than what ran beside
// them. This curve, the one that runc 1.3 and crun 1.23 have, meets minimum,
// default and maximum: log10(w) = (l² + 125 l)/612 - 7/34 with l = log2(shares).
func Weight(shares uint64) uint64 {
	if shares <= 2 {
		return 1
	}
	if shares >= 262144 {
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612.0-7.0/34.0)))
}

// bandwidth is cpu.max and cpu.max.burst.
func (c *converter) bandwidth(p *specs.LinuxCPU) error {
	quota, period := value(p.Quota), value(p.Period)
	if quota > 0 && quota < minQuota {
		return bad("cpu.quota", "%d microseconds: the minimum is %d", quota, minQuota)
	}
	if period != 0 && (period < minPeriod || period > maxPeriod) {
		return bad("cpu.period", "%d microseconds: the minimum is %d and the maximum %d", period, minPeriod, maxPeriod)
	}
	burst := value(p.Burst)
	if burst > math.MaxInt64 || quota > 0 && burst > uint64(quota) {
		return bad("cpu.burst", "%d microseconds: the maximum is cpu.quota, %d", burst, quota)
	}
	current, _ := c.facts.read("cpu.max")
	oldQuota, oldPeriod := parseMax(current)
	var cpuMax []File
	if quota != 0 || period != 0 {
		// An update of one leaves the other as it is.
		if quota == 0 {
			quota = oldQuota
		}
		if period == 0 {
			period = oldPeriod
		}
		q := "max"
		if quota > 0 {
			q = strconv.FormatInt(quota, 10)
		}
		field := "cpu.quota"
		if p.Quota == nil {
			field = "cpu.period"
		}
		cpuMax = []File{{Name: "cpu.max", Value: q + " " + strconv.FormatUint(period, 10), Field: resources + field}}
	}
	if p.Burst == nil {
		c.files = append(c.files, cpuMax...)
		return nil
	}
	set := File{Name: "cpu.max.burst", Value: strconv.FormatUint(burst, 10), Field: resources + "cpu.burst"}
	// The kernel refuses a burst above the quota at any moment in between.
	if oldQuota < 0 || burst <= uint64(oldQuota) {
		c.files = append(c.files, slices.Concat([]File{set}, cpuMax)...)
	} else {
		c.files = append(c.files, slices.Concat(cpuMax, []File{set})...)
	}
	return nil
}

// parseMax reads cpu.max: "max 100000"; the quota is -1 where there is none.
func parseMax(s string) (quota int64, period uint64) {
	first, second, _ := strings.Cut(s, " ")
	quota, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		quota = -1
	}
	period, err = strconv.ParseUint(second, 10, 64)
	if err != nil {
		period = defaultPeriod
	}
	return quota, period
}

func (c *converter) cpuset(r *specs.LinuxResources) error {
	if r.CPU == nil {
		return nil
	}
	for _, f := range []struct{ field, file, list string }{
		{"cpu.cpus", "cpuset.cpus", r.CPU.Cpus}, {"cpu.mems", "cpuset.mems", r.CPU.Mems},
	} {
		list := strings.TrimSpace(f.list)
		if list == "" {
			continue
		}
		for part := range strings.SplitSeq(list, ",") {
			low, high, isRange := strings.Cut(part, "-")
			a, err := strconv.ParseUint(low, 10, 31)
			b := a
			if err == nil && isRange {
				b, err = strconv.ParseUint(high, 10, 31)
			}
			if err != nil || b < a {
				return bad(f.field, "%q: want a list as 0-3,7", f.list)
			}
		}
		c.add(f.field, f.file, list)
	}
	return nil
}
