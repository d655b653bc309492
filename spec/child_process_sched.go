package spec

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// scheduling sets how the payload is scheduled and where its memory comes
// from. It comes while the capabilities are still there.
func (c *child) scheduling() {
	if s := c.s.Process.Scheduler; s != nil {
		attr, err := schedAttr(s)
		if err != nil {
			c.fail(err)
			return
		}
		c.p.Call("process.scheduler: set "+string(s.Policy), unix.SYS_SCHED_SETATTR, 0, attr, 0)
	}
	if io := c.s.Process.IOPriority; io != nil {
		value, err := ioPriority(io)
		if err != nil {
			c.fail(err)
			return
		}
		const ioprioWhoProcess = 1
		c.p.Call(fmt.Sprintf("process.ioPriority: set %s %d", io.Class, io.Priority), unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, value)
	}
	if m := c.s.Linux.MemoryPolicy; m != nil {
		mode, mask, err := memoryPolicy(m)
		if err != nil {
			c.fail(err)
			return
		}
		bits := 0
		if len(mask) > 0 {
			bits = 8*len(mask) + 1 // the kernel takes one off
		}
		c.p.Call("linux.memoryPolicy: set "+string(m.Mode), unix.SYS_SET_MEMPOLICY, mode, mask, bits)
	}
}

// affinity binds the process to CPUs, field says on whose behalf.
func (c *child) affinity(field, cpus string) {
	if cpus == "" {
		return
	}
	mask, err := bitList(cpus, maxCPUs)
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", field, err))
		return
	}
	c.p.Call(field+": bind to the CPUs "+cpus, unix.SYS_SCHED_SETAFFINITY, 0, len(mask), mask)
}

const (
	maxCPUs  = 8192 // NR_CPUS of the largest kernels
	maxNodes = 1024 // MAX_NUMNODES likewise
)

// The names of the specification, in the order of the kernel's numbers: policies
// from 0 (linux/sched.h), flags from bit 0, modes from 0 and flags from bit 13
// (linux/mempolicy.h), classes from 0 (linux/ioprio.h).
func schedulerPolicies() []specs.LinuxSchedulerPolicy {
	return []specs.LinuxSchedulerPolicy{
		specs.SchedOther, specs.SchedFIFO, specs.SchedRR, specs.SchedBatch, specs.SchedISO, specs.SchedIdle, specs.SchedDeadline,
	}
}

func schedulerFlags() []specs.LinuxSchedulerFlag {
	return []specs.LinuxSchedulerFlag{
		specs.SchedFlagResetOnFork, specs.SchedFlagReclaim, specs.SchedFlagDLOverrun, specs.SchedFlagKeepPolicy,
		specs.SchedFlagKeepParams, specs.SchedFlagUtilClampMin, specs.SchedFlagUtilClampMax,
	}
}

func memoryPolicyModes() []specs.MemoryPolicyModeType {
	return []specs.MemoryPolicyModeType{
		specs.MpolDefault, specs.MpolPreferred, specs.MpolBind, specs.MpolInterleave, specs.MpolLocal,
		specs.MpolPreferredMany, specs.MpolWeightedInterleave,
	}
}

func memoryPolicyFlags() []specs.MemoryPolicyFlagType {
	return []specs.MemoryPolicyFlagType{specs.MpolFNumaBalancing, specs.MpolFRelativeNodes, specs.MpolFStaticNodes}
}

func ioPriorityClasses() []specs.IOPriorityClass {
	return []specs.IOPriorityClass{"", specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE}
}

// schedAttr lays out struct sched_attr (sched_setattr(2)), in the size that
// Linux 5.3 made of it: kernels before take the longer one with zeros.
func schedAttr(s *specs.Scheduler) ([]byte, error) {
	policy := index(schedulerPolicies(), s.Policy)
	if policy < 0 {
		return nil, fmt.Errorf("process.scheduler.policy: %q is unknown", s.Policy)
	}
	var flags uint64
	for i, f := range s.Flags {
		n := index(schedulerFlags(), f)
		if n < 0 {
			return nil, fmt.Errorf("process.scheduler.flags[%d]: %q is unknown", i, f)
		}
		flags |= 1 << n
	}
	const size = 56
	b := make([]byte, 0, size)
	e := binary.NativeEndian
	b = e.AppendUint32(b, size)
	b = e.AppendUint32(b, uint32(policy))
	b = e.AppendUint64(b, flags)
	b = e.AppendUint32(b, uint32(s.Nice))
	b = e.AppendUint32(b, uint32(s.Priority))
	b = e.AppendUint64(b, s.Runtime)
	b = e.AppendUint64(b, s.Deadline)
	b = e.AppendUint64(b, s.Period)
	return b[:size], nil
}

// ioPriority is the value for ioprio_set(2).
func ioPriority(io *specs.LinuxIOPriority) (int, error) {
	class := index(ioPriorityClasses(), io.Class)
	if class <= 0 {
		return 0, fmt.Errorf("process.ioPriority.class: %q is unknown", io.Class)
	}
	if io.Priority < 0 || io.Priority > 7 {
		return 0, fmt.Errorf("process.ioPriority.priority: %d is not from 0 to 7", io.Priority)
	}
	return class<<13 | io.Priority, nil
}

// memoryPolicy gives the arguments for set_mempolicy(2).
func memoryPolicy(m *specs.LinuxMemoryPolicy) (mode int, mask []byte, err error) {
	mode = index(memoryPolicyModes(), m.Mode)
	if mode < 0 {
		return 0, nil, fmt.Errorf("linux.memoryPolicy.mode: %q is unknown", m.Mode)
	}
	for i, f := range m.Flags {
		n := index(memoryPolicyFlags(), f)
		if n < 0 {
			return 0, nil, fmt.Errorf("linux.memoryPolicy.flags[%d]: %q is unknown", i, f)
		}
		mode |= 1 << (13 + n)
	}
	if m.Nodes == "" {
		return mode, nil, nil
	}
	if mask, err = bitList(m.Nodes, maxNodes); err != nil {
		return 0, nil, fmt.Errorf("linux.memoryPolicy.nodes: %w", err)
	}
	return mode, mask, nil
}

func index[T comparable](list []T, x T) int {
	for i, y := range list {
		if x == y {
			return i
		}
	}
	return -1
}

// bitList reads "0-3,7" into a mask of whole 64-bit words, little end first as
// the kernel's bitmaps are.
func bitList(list string, limit uint64) ([]byte, error) {
	var words []uint64
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.ParseUint(first, 10, 32)
		b := a
		if err == nil && ranged {
			b, err = strconv.ParseUint(last, 10, 32)
		}
		if err != nil || b < a {
			return nil, fmt.Errorf("%q is not a list of numbers and ranges like 0-3,7", list)
		}
		if b >= limit {
			return nil, fmt.Errorf("%q: there is no number %d (0 to %d)", list, b, limit-1)
		}
		for ; a <= b; a++ {
			for uint64(len(words)) <= a/64 {
				words = append(words, 0)
			}
			words[a/64] |= 1 << (a % 64)
		}
	}
	mask := make([]byte, 0, 8*len(words))
	for _, w := range words {
		mask = binary.NativeEndian.AppendUint64(mask, w)
	}
	return mask, nil
}

// personality sets the execution domain, also the usual one: the caller's may
// be another (setarch).
func (c *child) personality() {
	p := c.s.Linux.Personality
	if p == nil {
		return
	}
	domain := map[specs.LinuxPersonalityDomain]int{specs.PerLinux: 0, specs.PerLinux32: 8}
	n, ok := domain[p.Domain]
	if !ok {
		c.fail(fmt.Errorf("linux.personality.domain: %q is unknown", p.Domain))
		return
	}
	if len(p.Flags) > 0 {
		c.fail(fmt.Errorf("linux.personality.flags[0]: %q is unknown", p.Flags[0]))
		return
	}
	c.p.Call("linux.personality: set "+string(p.Domain), unix.SYS_PERSONALITY, n)
}
