package spec

import (
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Limits is what a container may use of the machine, as typed: the flags of
// docker run and podman run. "" is not given.
type Limits struct {
	Memory            string `json:",omitempty"` // --memory, bytes with a unit; 0 and -1 are no limit
	MemoryReservation string `json:",omitempty"`
	MemorySwap        string `json:",omitempty"` // of memory and swap together
	MemoryHigh        string `json:",omitempty"`
	CPUs              string `json:",omitempty"` // 1.5
	CPUShares         string `json:",omitempty"`
	CPUPeriod         string `json:",omitempty"` // microseconds
	CPUQuota          string `json:",omitempty"`
	CPUSetCPUs        string `json:",omitempty"` // 0-3,7
	CPUSetMems        string `json:",omitempty"`
	PidsLimit         string `json:",omitempty"`

	BlkioWeight       string   `json:",omitempty"`
	BlkioWeightDevice []string `json:",omitempty"` // PATH:WEIGHT
	DeviceReadBps     []string `json:",omitempty"` // PATH:BYTES
	DeviceWriteBps    []string `json:",omitempty"`
	DeviceReadIOPS    []string `json:",omitempty"` // PATH:N
	DeviceWriteIOPS   []string `json:",omitempty"`
	CgroupConf        []string `json:",omitempty"` // FILE=VALUE
}

// DefaultPidsLimit is how many processes and threads a container may have when
// nothing is said: podman's number.
const DefaultPidsLimit = 2048

// Bounds of values that flags have.
const (
	// minMemory is docker's: what a first process, its namespaces, mounts and
	// pages of a C library, takes at all.
	minMemory = 6 << 20
	maxPids   = 1 << 22 // PIDS_MAX of kernel/cgroup/pids.c, on 64 bits
	mostCores = mostCPUs + 1
	period    = 100000 // of --cpus, as docker's and podman's
)

// Resources are the limits in the words of runtime-spec, what was asked for and
// what follows where nothing was: that is set where it can be had, and silently
// left out elsewhere. Either may be nil. h looks at the device nodes.
func (l Limits) Resources(h Host) (asked, implied *specs.LinuxResources, err error) {
	r, d := &specs.LinuxResources{}, &specs.LinuxResources{}
	for _, step := range []func() error{
		func() error { return l.memory(r, d) },
		func() error { return l.cpu(r) },
		func() error { return l.cpuset(r) },
		func() error { return l.pids(r, d) },
		func() error { return l.blockIO(r, h) },
		func() error { return l.unified(r) },
	} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	return orNil(r), orNil(d), nil
}

func orNil(r *specs.LinuxResources) *specs.LinuxResources {
	if !limited(r) && r.Devices == nil {
		return nil
	}
	return r
}

// bytesOf reads a size; 0 stands for no limit, which is typed as 0 or -1.
func bytesOf(flag, value string) (int64, error) {
	if value == "" || value == "-1" {
		return 0, nil
	}
	n, err := ParseBytes(value)
	if err != nil {
		return 0, refused(flag, value, err)
	}
	return n, nil
}

// memory follows podman: swap is memory and swap together, needs --memory, and
// is twice that where it is not given.
func (l Limits) memory(r, d *specs.LinuxResources) error {
	limit, err := bytesOf("--memory", l.Memory)
	if err != nil {
		return err
	}
	if limit != 0 && limit < minMemory {
		return refuse("--memory", l.Memory, "less than a process can start in").hint("6m at least")
	}
	reservation, err := bytesOf("--memory-reservation", l.MemoryReservation)
	if err != nil {
		return err
	}
	if limit > 0 && reservation > limit {
		return refuse("--memory-reservation", l.MemoryReservation, "more than --memory %s", l.Memory).hint("it is the part of --memory that is kept for the container")
	}
	m := &specs.LinuxMemory{}
	if limit > 0 {
		m.Limit = &limit
	}
	if reservation > 0 {
		m.Reservation = &reservation
	}
	if err := l.swap(m, d); err != nil {
		return err
	}
	if *m != (specs.LinuxMemory{}) {
		r.Memory = m
	}
	high, err := bytesOf("--memory-high", l.MemoryHigh)
	if err != nil || high == 0 {
		return err
	}
	if high < minMemory {
		return refuse("--memory-high", l.MemoryHigh, "less than a process can start in").hint("6m at least")
	}
	r.Unified = map[string]string{memoryHigh: strconv.FormatInt(high, 10)}
	return nil
}

const memoryHigh = "memory.high"

func (l Limits) swap(m *specs.LinuxMemory, d *specs.LinuxResources) error {
	if l.MemorySwap == "-1" {
		if m.Limit != nil {
			none := int64(-1)
			m.Swap = &none
		}
		return nil
	}
	swap, err := bytesOf("--memory-swap", l.MemorySwap)
	switch {
	case err != nil:
		return err
	case swap == 0 && m.Limit == nil:
		return nil
	case swap == 0: // as if not given, in docker and podman
		twice := int64(math.MaxInt64)
		if *m.Limit <= math.MaxInt64/2 {
			twice = 2 * *m.Limit
		}
		d.Memory = &specs.LinuxMemory{Swap: &twice}
		return nil
	case m.Limit == nil:
		return refuse("--memory-swap", l.MemorySwap, "it is memory and swap together, and --memory is missing").hint("give --memory too")
	case swap < *m.Limit:
		return refuse("--memory-swap", l.MemorySwap, "less than --memory %s: it is memory and swap together", l.Memory).
			hint("the same as --memory is no swap, -1 is as much as there is")
	}
	m.Swap = &swap
	return nil
}

// number reads a whole number of a flag; what lies below least is refused, but
// for those in none, which mean "no limit" and give 0.
func number(flag, value string, least, most int64, none ...string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	for _, n := range none {
		if value == n {
			return 0, nil
		}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, refuse(flag, value, "not a whole number").hint("%d to %d", least, most)
	}
	if n < least || n > most {
		return 0, refuse(flag, value, "out of range").hint("%d to %d", least, most)
	}
	return n, nil
}

func (l Limits) cpu(r *specs.LinuxResources) error {
	shares, err := number("--cpu-shares", l.CPUShares, 1, 262144, "0")
	if err != nil {
		return err
	}
	micros, err := number("--cpu-period", l.CPUPeriod, 1000, 1000000, "0")
	if err != nil {
		return err
	}
	quota, err := number("--cpu-quota", l.CPUQuota, 1000, mostCores*1000000, "0", "-1")
	if err != nil {
		return err
	}
	cpus, err := l.cpus()
	if err != nil {
		return err
	}
	c := &specs.LinuxCPU{}
	if shares > 0 {
		n := uint64(max(shares, 2)) // the kernel's least
		c.Shares = &n
	}
	if cpus > 0 {
		quota, micros = cpus, period
	}
	if micros > 0 {
		n := uint64(micros)
		c.Period = &n
	}
	if quota > 0 {
		c.Quota = &quota
	}
	if c.Shares != nil || c.Period != nil || c.Quota != nil {
		r.CPU = c
	}
	return nil
}

// cpus is --cpus as a quota of the usual period.
func (l Limits) cpus() (int64, error) {
	if l.CPUs == "" {
		return 0, nil
	}
	const flag = "--cpus"
	for _, other := range []struct{ flag, value string }{{"--cpu-period", l.CPUPeriod}, {"--cpu-quota", l.CPUQuota}} {
		if other.value != "" {
			return 0, refuse(flag, l.CPUs, "%s %s says the same in other words", other.flag, other.value).hint("leave one of them out")
		}
	}
	f, err := strconv.ParseFloat(l.CPUs, 64)
	// ParseFloat also reads hexadecimal, "inf" and "1e9".
	if err != nil || strings.Trim(l.CPUs, "0123456789.") != "" {
		return 0, refuse(flag, l.CPUs, "not a number of processors").hint("a number such as 2 or 0.5")
	}
	if f != 0 && f < 0.01 || f > mostCores {
		return 0, refuse(flag, l.CPUs, "out of range").hint("0.01 to %d", mostCores)
	}
	return int64(math.Round(f * period)), nil
}

func (l Limits) cpuset(r *specs.LinuxResources) error {
	for _, f := range []struct {
		flag, list string
		most       uint64
	}{{"--cpuset-cpus", l.CPUSetCPUs, mostCPUs}, {"--cpuset-mems", l.CPUSetMems, mostNodes}} {
		if err := checkList(f.flag, f.list, f.most); err != nil {
			return refuse(f.flag, f.list, "not a list of numbers up to %d", f.most).hint("a list such as 0-3,7")
		}
	}
	if l.CPUSetCPUs == "" && l.CPUSetMems == "" {
		return nil
	}
	if r.CPU == nil {
		r.CPU = &specs.LinuxCPU{}
	}
	r.CPU.Cpus, r.CPU.Mems = l.CPUSetCPUs, l.CPUSetMems
	return nil
}

func (l Limits) pids(r, d *specs.LinuxResources) error {
	n, err := number("--pids-limit", l.PidsLimit, 1, maxPids, "0", "-1")
	switch {
	case err != nil:
		return err
	case n > 0:
		r.Pids = &specs.LinuxPids{Limit: &n}
	case l.PidsLimit == "":
		n = DefaultPidsLimit
		d.Pids = &specs.LinuxPids{Limit: &n}
	}
	return nil
}

func (l Limits) blockIO(r *specs.LinuxResources, h Host) error {
	b := &specs.LinuxBlockIO{}
	used := false
	if n, err := number("--blkio-weight", l.BlkioWeight, 10, 1000, "0"); err != nil {
		return err
	} else if n > 0 {
		w := uint16(n)
		b.Weight, used = &w, true
	}
	for _, s := range l.BlkioWeightDevice {
		dev, value, err := blockDevice("--blkio-weight-device", s, h)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n < 10 || n > 1000 {
			return refuse("--blkio-weight-device", s, "%q is no weight", value).hint("10 to 1000")
		}
		w := uint16(n)
		d := specs.LinuxWeightDevice{Weight: &w}
		d.LinuxBlockIODevice = dev
		b.WeightDevice, used = append(b.WeightDevice, d), true
	}
	for _, f := range []struct {
		flag   string
		values []string
		bytes  bool
		into   *[]specs.LinuxThrottleDevice
	}{
		{"--device-read-bps", l.DeviceReadBps, true, &b.ThrottleReadBpsDevice},
		{"--device-write-bps", l.DeviceWriteBps, true, &b.ThrottleWriteBpsDevice},
		{"--device-read-iops", l.DeviceReadIOPS, false, &b.ThrottleReadIOPSDevice},
		{"--device-write-iops", l.DeviceWriteIOPS, false, &b.ThrottleWriteIOPSDevice},
	} {
		for _, s := range f.values {
			dev, value, err := blockDevice(f.flag, s, h)
			if err != nil {
				return err
			}
			rate, err := rateOf(f.flag, s, value, f.bytes)
			if err != nil {
				return err
			}
			d := specs.LinuxThrottleDevice{Rate: rate}
			d.LinuxBlockIODevice = dev
			*f.into, used = append(*f.into, d), true
		}
	}
	if used {
		r.BlockIO = b
	}
	return nil
}

func rateOf(flag, word, value string, bytes bool) (uint64, error) {
	if bytes {
		n, err := ParseBytes(value)
		if err != nil {
			return 0, refused(flag, word, err)
		}
		if n > 0 {
			return uint64(n), nil
		}
	} else if n, err := strconv.ParseUint(value, 10, 63); err == nil && n > 0 {
		return n, nil
	}
	what := "operations a second"
	if bytes {
		what = "bytes a second, such as 10mb"
	}
	return 0, refuse(flag, word, "%q is no rate", value).hint("PATH:RATE, in %s", what)
}

// blockDevice reads PATH:VALUE, of which PATH must be a block device's node.
func blockDevice(flag, word string, h Host) (dev specs.LinuxBlockIODevice, value string, err error) {
	at := strings.LastIndexByte(word, ':')
	if at < 0 || !path.IsAbs(word[:at]) {
		return dev, "", refuse(flag, word, "not a device and a value").hint("PATH:VALUE, such as /dev/sda:10mb")
	}
	node := path.Clean(word[:at])
	info, err := h.Stat(node)
	if err != nil {
		return dev, "", refuse(flag, word, "").because(err)
	}
	if info.Mode&modeType != modeBlock {
		return dev, "", refuse(flag, word, "%s is not a block device", node).hint("lsblk -p lists them; limits hold for whole disks")
	}
	dev.Major, dev.Minor = int64(info.Major), int64(info.Minor)
	return dev, word[at+1:], nil
}

// unified are --cgroup-conf.
func (l Limits) unified(r *specs.LinuxResources) error {
	const flag = "--cgroup-conf"
	for _, s := range l.CgroupConf {
		name, value, ok := strings.Cut(s, "=")
		if !ok || strings.TrimSpace(value) == "" {
			return refuse(flag, s, "not a file and its value").hint("FILE=VALUE, such as memory.high=1073741824")
		}
		if err := checkUnified("", map[string]string{name: value}); err != nil {
			return refuse(flag, s, "%s is not a file of a controller", name).hint("FILE=VALUE, such as memory.high=1073741824")
		}
		if r.Unified == nil {
			r.Unified = map[string]string{}
		}
		if _, twice := r.Unified[name]; twice {
			if name == memoryHigh && l.MemoryHigh != "" {
				return refuse(flag, s, "--memory-high %s says the same in other words", l.MemoryHigh).hint("leave one of them out")
			}
			r.Unified[name] += "\n" + value // io.max has a line for each device
			continue
		}
		r.Unified[name] = value
	}
	return nil
}
