package spec

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update is l with what was typed of o in its place. --cpus and the quota are
// two words for one thing: the later one counts. A lifted --memory lifts
// --memory-swap, too.
func (l Limits) Update(o Limits) Limits {
	if o.CPUs != "" {
		l.CPUPeriod, l.CPUQuota = "", ""
	}
	if o.CPUPeriod != "" || o.CPUQuota != "" {
		l.CPUs = ""
	}
	if o.Memory == "0" || o.Memory == "-1" {
		l.MemorySwap = ""
	}
	for _, f := range []struct {
		to *string
		by string
	}{
		{&l.Memory, o.Memory}, {&l.MemoryReservation, o.MemoryReservation}, {&l.MemorySwap, o.MemorySwap}, {&l.MemoryHigh, o.MemoryHigh},
		{&l.CPUs, o.CPUs}, {&l.CPUShares, o.CPUShares}, {&l.CPUPeriod, o.CPUPeriod}, {&l.CPUQuota, o.CPUQuota},
		{&l.CPUSetCPUs, o.CPUSetCPUs}, {&l.CPUSetMems, o.CPUSetMems}, {&l.PidsLimit, o.PidsLimit}, {&l.BlkioWeight, o.BlkioWeight},
	} {
		if f.by != "" {
			*f.to = f.by
		}
	}
	for _, f := range []struct {
		to *[]string
		by []string
	}{
		{&l.BlkioWeightDevice, o.BlkioWeightDevice}, {&l.DeviceReadBps, o.DeviceReadBps}, {&l.DeviceWriteBps, o.DeviceWriteBps},
		{&l.DeviceReadIOPS, o.DeviceReadIOPS}, {&l.DeviceWriteIOPS, o.DeviceWriteIOPS}, {&l.CgroupConf, o.CgroupConf},
	} {
		if len(f.by) > 0 {
			*f.to = f.by
		}
	}
	return l
}

// Given says whether anything was typed.
func (l Limits) Given() bool { return !reflect.DeepEqual(l, Limits{}) }

// changes is what makes old to now, for cgroupv2.Cgroup.Apply: what is the same
// is left out, and what is gone gets the kernel's default. Both are as Limits has
// made them.
func changes(old, now *specs.LinuxResources) *specs.LinuxResources {
	if old == nil {
		old = &specs.LinuxResources{}
	}
	if now == nil {
		now = &specs.LinuxResources{}
	}
	out := &specs.LinuxResources{Unified: map[string]string{}}
	memoryChanges(out, orEmpty(old.Memory), orEmpty(now.Memory))
	cpuChanges(out, orEmpty(old.CPU), orEmpty(now.CPU))
	if n := altered(orEmpty(old.Pids).Limit, orEmpty(now.Pids).Limit, -1); n != nil {
		out.Pids = &specs.LinuxPids{Limit: n}
	}
	blockIOChanges(out, orEmpty(old.BlockIO), orEmpty(now.BlockIO))
	for _, name := range slices.Sorted(maps.Keys(now.Unified)) {
		if now.Unified[name] != old.Unified[name] {
			out.Unified[name] = now.Unified[name]
		}
	}
	if _, still := now.Unified[memoryHigh]; old.Unified[memoryHigh] != "" && !still {
		out.Unified[memoryHigh] = "max"
	}
	if len(out.Unified) == 0 {
		out.Unified = nil
	}
	return orNil(out)
}

func orEmpty[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// altered is the new value of a number where that is another, and none for one that is gone.
func altered[T comparable](old, now *T, none T) *T {
	switch {
	case now == nil && old == nil, now != nil && old != nil && *now == *old:
		return nil
	case now == nil:
		return &none
	}
	return now
}

func memoryChanges(out *specs.LinuxResources, old, now *specs.LinuxMemory) {
	m := &specs.LinuxMemory{Limit: altered(old.Limit, now.Limit, -1), Swap: altered(old.Swap, now.Swap, -1)}
	if m.Swap != nil && *m.Swap > 0 || m.Limit != nil && now.Swap != nil {
		m.Limit, m.Swap = now.Limit, now.Swap // the kernel's is of swap alone, so both count
	}
	if reservation := altered(old.Reservation, now.Reservation, 0); reservation != nil && *reservation == 0 {
		out.Unified["memory.low"] = "0" // which the specification cannot say
	} else {
		m.Reservation = reservation
	}
	if *m != (specs.LinuxMemory{}) {
		out.Memory = m
	}
}

func cpuChanges(out *specs.LinuxResources, old, now *specs.LinuxCPU) {
	c := &specs.LinuxCPU{
		Shares: altered(old.Shares, now.Shares, 1024), Quota: altered(old.Quota, now.Quota, -1), Period: altered(old.Period, now.Period, period),
	}
	if now.Cpus != old.Cpus {
		c.Cpus = now.Cpus
	}
	if now.Mems != old.Mems {
		c.Mems = now.Mems
	}
	if *c != (specs.LinuxCPU{}) {
		out.CPU = c
	}
}

func blockIOChanges(out *specs.LinuxResources, old, now *specs.LinuxBlockIO) {
	b := &specs.LinuxBlockIO{}
	if w := altered(old.Weight, now.Weight, 0); w != nil && *w == 0 {
		out.Unified["io.weight"] = "default 100"
	} else {
		b.Weight = w
	}
	if !reflect.DeepEqual(old.WeightDevice, now.WeightDevice) {
		b.WeightDevice = now.WeightDevice
		var gone []string
		for _, d := range old.WeightDevice {
			if !slices.ContainsFunc(now.WeightDevice, func(n specs.LinuxWeightDevice) bool { return n.LinuxBlockIODevice == d.LinuxBlockIODevice }) {
				gone = append(gone, fmt.Sprintf("%d:%d default", d.Major, d.Minor))
			}
		}
		if len(gone) > 0 {
			if w := out.Unified["io.weight"]; w != "" {
				gone = append(gone, w)
			}
			out.Unified["io.weight"] = strings.Join(gone, "\n")
		}
	}
	for _, f := range []struct {
		old, now []specs.LinuxThrottleDevice
		into     *[]specs.LinuxThrottleDevice
	}{
		{old.ThrottleReadBpsDevice, now.ThrottleReadBpsDevice, &b.ThrottleReadBpsDevice},
		{old.ThrottleWriteBpsDevice, now.ThrottleWriteBpsDevice, &b.ThrottleWriteBpsDevice},
		{old.ThrottleReadIOPSDevice, now.ThrottleReadIOPSDevice, &b.ThrottleReadIOPSDevice},
		{old.ThrottleWriteIOPSDevice, now.ThrottleWriteIOPSDevice, &b.ThrottleWriteIOPSDevice},
	} {
		*f.into = throttleChanges(f.old, f.now)
	}
	if !reflect.DeepEqual(*b, specs.LinuxBlockIO{}) {
		out.BlockIO = b
	}
}

// throttleChanges are the new rates; a device that is in the list no longer gets
// none, which is 0.
func throttleChanges(old, now []specs.LinuxThrottleDevice) []specs.LinuxThrottleDevice {
	if reflect.DeepEqual(old, now) {
		return nil
	}
	out := slices.Clone(now)
	for _, d := range old {
		if !slices.ContainsFunc(now, func(n specs.LinuxThrottleDevice) bool { return n.LinuxBlockIODevice == d.LinuxBlockIODevice }) {
			d.Rate = 0
			out = append(out, d)
		}
	}
	return out
}
