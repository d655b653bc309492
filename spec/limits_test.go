package spec

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// disks is a host that has /dev/sda, and /dev/null.
type disks struct{ Host }

func (disks) Stat(p string) (FileInfo, error) {
	switch p {
	case "/dev/sda":
		return FileInfo{Mode: modeBlock | 0o660, Major: 8}, nil
	case "/dev/null":
		return FileInfo{Mode: modeChar | 0o666, Major: 1, Minor: 3}, nil
	}
	return FileInfo{}, fs.ErrNotExist
}

func limitsJSON(r *specs.LinuxResources) string {
	if r == nil {
		return ""
	}
	data, _ := json.Marshal(r)
	return string(data)
}

func TestLimits(t *testing.T) {
	const pids = `{"pids":{"limit":2048}}`
	for _, tt := range []struct {
		name           string
		l              Limits
		asked, implied string
	}{
		{"nothing", Limits{}, "", pids},
		{"no pids", Limits{PidsLimit: "-1"}, "", ""},
		{"pids 0 is none, as podman's", Limits{PidsLimit: "0"}, "", ""},
		{"pids", Limits{PidsLimit: "100"}, `{"pids":{"limit":100}}`, ""},
		{"swap is twice memory", Limits{Memory: "64m"}, `{"memory":{"limit":67108864}}`, `{"memory":{"swap":134217728},"pids":{"limit":2048}}`},
		{"units", Limits{Memory: "10mb", PidsLimit: "1"}, `{"memory":{"limit":10485760},"pids":{"limit":1}}`, `{"memory":{"swap":20971520}}`},
		{"binary units", Limits{Memory: "10MiB", MemorySwap: "10MiB"}, `{"memory":{"limit":10485760,"swap":10485760}}`, pids},
		{"a fraction", Limits{Memory: "1.5g", MemorySwap: "2g"}, `{"memory":{"limit":1610612736,"swap":2147483648}}`, pids},
		{"a space", Limits{Memory: "64 M", MemorySwap: "-1"}, `{"memory":{"limit":67108864,"swap":-1}}`, pids},
		{"memory without limit", Limits{Memory: "-1", MemorySwap: "-1"}, "", pids},
		{"memory 0", Limits{Memory: "0"}, "", pids},
		{"swap 0 is not given, as docker's", Limits{Memory: "8m", MemorySwap: "0"}, `{"memory":{"limit":8388608}}`, `{"memory":{"swap":16777216},"pids":{"limit":2048}}`},
		{"the most memory", Limits{Memory: "8000000000000000000b"}, `{"memory":{"limit":8000000000000000000}}`, `{"memory":{"swap":9223372036854775807},"pids":{"limit":2048}}`},
		{"reservation alone", Limits{MemoryReservation: "1m"}, `{"memory":{"reservation":1048576}}`, pids},
		{"high", Limits{MemoryHigh: "32m"}, `{"unified":{"memory.high":"33554432"}}`, pids},
		{"cpus", Limits{CPUs: "1.5"}, `{"cpu":{"quota":150000,"period":100000}}`, pids},
		{"fewest cpus", Limits{CPUs: ".01"}, `{"cpu":{"quota":1000,"period":100000}}`, pids},
		{"cpus 0", Limits{CPUs: "0"}, "", pids},
		{"quota", Limits{CPUQuota: "50000"}, `{"cpu":{"quota":50000}}`, pids},
		{"quota and period", Limits{CPUQuota: "5000", CPUPeriod: "10000"}, `{"cpu":{"quota":5000,"period":10000}}`, pids},
		{"no quota", Limits{CPUQuota: "-1"}, "", pids},
		{"shares", Limits{CPUShares: "512"}, `{"cpu":{"shares":512}}`, pids},
		{"one share is the kernel's two", Limits{CPUShares: "1"}, `{"cpu":{"shares":2}}`, pids},
		{"sets", Limits{CPUSetCPUs: "0-1,3", CPUSetMems: "0"}, `{"cpu":{"cpus":"0-1,3","mems":"0"}}`, pids},
		{"block I/O", Limits{BlkioWeight: "300", BlkioWeightDevice: []string{"/dev/sda:200"}, DeviceReadBps: []string{"/dev/sda:1mb"}, DeviceWriteIOPS: []string{"/dev/sda:5"}},
			`{"blockIO":{"weight":300,"weightDevice":[{"major":8,"minor":0,"weight":200}],"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":5}]}}`, pids},
		{"files", Limits{CgroupConf: []string{"memory.high=10000000", "io.max=8:0 rbps=1", "io.max=8:16 rbps=1"}},
			`{"unified":{"io.max":"8:0 rbps=1\n8:16 rbps=1","memory.high":"10000000"}}`, pids},
	} {
		asked, implied, err := tt.l.Resources(disks{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if a, i := limitsJSON(asked), limitsJSON(implied); a != tt.asked || i != tt.implied {
			t.Errorf("%s:\n\tasked   %s\n\twant    %s\n\timplied %s\n\twant    %s", tt.name, a, tt.asked, i, tt.implied)
		}
		if asked == nil {
			continue
		}
		if _, err := ValidateResources(asked); err != nil {
			t.Errorf("%s: the OCI runtime would refuse it: %v", tt.name, err)
		}
	}
}

func TestLimitsRefused(t *testing.T) {
	for _, tt := range []struct {
		l            Limits
		flag, reason string
	}{
		{Limits{Memory: "5m"}, "--memory", "less than a process can start in"},
		{Limits{Memory: "-5m"}, "--memory", "not a size"},
		{Limits{Memory: "-2"}, "--memory", "not a size"},
		{Limits{Memory: "lots"}, "--memory", "not a size"},
		{Limits{Memory: "10mm"}, "--memory", "unit"},
		{Limits{Memory: "10e"}, "--memory", "not a size"},
		{Limits{Memory: "0x10m"}, "--memory", "not a size"},
		{Limits{Memory: "1e9"}, "--memory", "not a size"},
		{Limits{Memory: "NaN"}, "--memory", "not a size"},
		{Limits{Memory: "99999999999999999999"}, "--memory", "too large"},
		{Limits{Memory: "9000p"}, "--memory", "too large"},
		{Limits{MemorySwap: "1g"}, "--memory-swap", "--memory is missing"},
		{Limits{Memory: "1g", MemorySwap: "512m"}, "--memory-swap", "less than --memory 1g"},
		{Limits{Memory: "1g", MemorySwap: "-2"}, "--memory-swap", "not a size"},
		{Limits{Memory: "1g", MemoryReservation: "2g"}, "--memory-reservation", "more than --memory 1g"},
		{Limits{MemoryReservation: "x"}, "--memory-reservation", "not a size"},
		{Limits{MemoryHigh: "1k"}, "--memory-high", "less than"},
		{Limits{CPUs: "-1"}, "--cpus", "not a number"},
		{Limits{CPUs: "1,5"}, "--cpus", "not a number"},
		{Limits{CPUs: "inf"}, "--cpus", "not a number"},
		{Limits{CPUs: "0.001"}, "--cpus", "out of range"},
		{Limits{CPUs: "100000"}, "--cpus", "out of range"},
		{Limits{CPUs: "1", CPUQuota: "1000"}, "--cpus", "--cpu-quota 1000"},
		{Limits{CPUs: "1", CPUPeriod: "1000"}, "--cpus", "--cpu-period 1000"},
		{Limits{CPUShares: "-1"}, "--cpu-shares", "out of range"},
		{Limits{CPUShares: "262145"}, "--cpu-shares", "out of range"},
		{Limits{CPUPeriod: "999"}, "--cpu-period", "out of range"},
		{Limits{CPUPeriod: "1000001"}, "--cpu-period", "out of range"},
		{Limits{CPUQuota: "999"}, "--cpu-quota", "out of range"},
		{Limits{CPUQuota: "-2"}, "--cpu-quota", "out of range"},
		{Limits{CPUQuota: "9223372036854775808"}, "--cpu-quota", "not a whole number"},
		{Limits{CPUSetCPUs: "3-1"}, "--cpuset-cpus", "not a list"},
		{Limits{CPUSetCPUs: "0-99999"}, "--cpuset-cpus", "not a list"},
		{Limits{CPUSetMems: "a"}, "--cpuset-mems", "not a list"},
		{Limits{PidsLimit: "-2"}, "--pids-limit", "out of range"},
		{Limits{PidsLimit: "4194305"}, "--pids-limit", "out of range"},
		{Limits{PidsLimit: "many"}, "--pids-limit", "not a whole number"},
		{Limits{BlkioWeight: "9"}, "--blkio-weight", "out of range"},
		{Limits{BlkioWeightDevice: []string{"/dev/sda:5"}}, "--blkio-weight-device", "no weight"},
		{Limits{BlkioWeightDevice: []string{"/dev/sda"}}, "--blkio-weight-device", "not a device and a value"},
		{Limits{DeviceReadBps: []string{"sda:1m"}}, "--device-read-bps", "not a device and a value"},
		{Limits{DeviceReadBps: []string{"/dev/null:1m"}}, "--device-read-bps", "not a block device"},
		{Limits{DeviceReadBps: []string{"/dev/sdz:1m"}}, "--device-read-bps", "not exist"},
		{Limits{DeviceReadBps: []string{"/dev/sda:-1"}}, "--device-read-bps", "not a size"},
		{Limits{DeviceWriteBps: []string{"/dev/sda:0"}}, "--device-write-bps", "no rate"},
		{Limits{DeviceReadIOPS: []string{"/dev/sda:1m"}}, "--device-read-iops", "no rate"},
		{Limits{DeviceWriteIOPS: []string{"/dev/sda:18446744073709551615"}}, "--device-write-iops", "no rate"},
		{Limits{CgroupConf: []string{"memory.high"}}, "--cgroup-conf", "not a file and its value"},
		{Limits{CgroupConf: []string{"../memory.max=1"}}, "--cgroup-conf", "not a file of a controller"},
		{Limits{CgroupConf: []string{"cgroup.procs=1"}}, "--cgroup-conf", "not a file of a controller"},
		{Limits{MemoryHigh: "10m", CgroupConf: []string{"memory.high=1"}}, "--cgroup-conf", "--memory-high 10m"},
	} {
		_, _, err := tt.l.Resources(disks{})
		var o *OptionError
		if !errors.As(err, &o) || o.Flag != tt.flag || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%+v: %v; want %s: %s", tt.l, err, tt.flag, tt.reason)
		}
	}
}

func TestCgroupsPath(t *testing.T) {
	for parent, want := range map[string]string{
		"": "", "/a/b": "/a/b/coracle-x", "a//b/": "a/b/coracle-x", "my.slice": "my.slice:coracle:x", "/my.slice": "/my.slice/coracle-x",
		"..": "!", "/a/../..": "!", "a\nb": "!", "..a": "..a/coracle-x",
	} {
		got, err := cgroupsPath(parent, "x")
		if err != nil {
			got = "!"
		}
		if got != want || InSlice(got) != (parent == "my.slice") {
			t.Errorf("%q: %q, want %q", parent, got, want)
		}
	}
}

func TestLimitFlag(t *testing.T) {
	l := Limits{Memory: "1g", CPUs: "2", MemoryHigh: "9m", CgroupConf: []string{"pids.max=1"}, DeviceReadBps: []string{"/dev/sda:1", "/dev/sdb:2"}}
	for field, want := range map[string]string{
		"memory.limit": "--memory 1g", "cpu.quota": "--cpus 2", "memory.swap": "", "pids.limit": "", `unified["memory.high"]`: "--memory-high 9m",
		`unified["pids.max"]`: "--cgroup-conf pids.max", "blockIO.throttleReadBpsDevice[1]": "--device-read-bps /dev/sdb:2", "blockIO.throttleReadBpsDevice[7]": "",
	} {
		if got := l.Flag("linux.resources." + field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := l.Flag("linux.cgroupsPath"); got != "" {
		t.Error(got)
	}
}

// TestImplied: what nobody asked for gives way, what was asked for does not.
func TestImplied(t *testing.T) {
	asked, implied, err := Limits{Memory: "64m"}.Resources(disks{})
	if err != nil {
		t.Fatal(err)
	}
	both := WithImplied(asked, implied)
	if *both.Memory.Swap != 128<<20 || *both.Pids.Limit != DefaultPidsLimit || asked.Memory.Swap != nil {
		t.Errorf("both: %s, asked: %s", limitsJSON(both), limitsJSON(asked))
	}
	for _, field := range []string{"linux.resources.memory.swap", "linux.resources.pids.limit"} {
		var ok bool
		if implied, ok = withoutField(implied, field); !ok {
			t.Errorf("%s does not give way", field)
		}
	}
	if implied != nil {
		t.Errorf("left: %s", limitsJSON(implied))
	}
	if _, ok := withoutField(&specs.LinuxResources{Pids: &specs.LinuxPids{}}, "linux.resources.memory.limit"); ok {
		t.Error("a limit that was asked for gives way")
	}
	if got := WithImplied(nil, implied); got != nil {
		t.Errorf("nothing at all: %s", limitsJSON(got))
	}
}
