package spec

import (
	"fmt"
	"strings"
)

// Flag is the flag, with what was typed, that asked for a field of
// linux.resources; "" where none of l did.
func (l Limits) Flag(field string) string {
	rest, ok := strings.CutPrefix(field, "linux.resources.")
	if !ok {
		return ""
	}
	if name, ok := strings.CutPrefix(rest, `unified["`); ok {
		name = strings.TrimSuffix(name, `"]`)
		if name == memoryHigh && l.MemoryHigh != "" {
			return "--memory-high " + l.MemoryHigh
		}
		return "--cgroup-conf " + name
	}
	rest, index, _ := strings.Cut(rest, "[")
	for _, f := range []struct {
		field, flag, value string
		list               []string
	}{
		{"memory.limit", "--memory", l.Memory, nil},
		{"memory.reservation", "--memory-reservation", l.MemoryReservation, nil},
		{"memory.swap", "--memory-swap", l.MemorySwap, nil},
		{"cpu.quota", "--cpus", l.CPUs, nil},
		{"cpu.period", "--cpus", l.CPUs, nil},
		{"cpu.quota", "--cpu-quota", l.CPUQuota, nil},
		{"cpu.period", "--cpu-period", l.CPUPeriod, nil},
		{"cpu.shares", "--cpu-shares", l.CPUShares, nil},
		{"cpu.cpus", "--cpuset-cpus", l.CPUSetCPUs, nil},
		{"cpu.mems", "--cpuset-mems", l.CPUSetMems, nil},
		{"pids.limit", "--pids-limit", l.PidsLimit, nil},
		{"blockIO.weight", "--blkio-weight", l.BlkioWeight, nil},
		{"blockIO.weightDevice", "--blkio-weight-device", "", l.BlkioWeightDevice},
		{"blockIO.throttleReadBpsDevice", "--device-read-bps", "", l.DeviceReadBps},
		{"blockIO.throttleWriteBpsDevice", "--device-write-bps", "", l.DeviceWriteBps},
		{"blockIO.throttleReadIOPSDevice", "--device-read-iops", "", l.DeviceReadIOPS},
		{"blockIO.throttleWriteIOPSDevice", "--device-write-iops", "", l.DeviceWriteIOPS},
	} {
		if f.field != rest {
			continue
		}
		if f.value != "" {
			return f.flag + " " + f.value
		}
		var i int
		if _, err := fmt.Sscanf(index, "%d]", &i); err == nil && i < len(f.list) {
			return f.flag + " " + f.list[i]
		}
	}
	return ""
}
