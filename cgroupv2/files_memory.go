package cgroupv2

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// memory: limit, reservation and swap (of memory and swap together in the
// specification, of swap alone in version 2), bytes.
func (c *converter) memory(r *specs.LinuxResources) error {
	m := r.Memory
	if m == nil {
		return nil
	}
	if err := memoryV1(m); err != nil {
		return err
	}
	swap, ok, err := c.swap(value(m.Limit), value(m.Swap))
	if err != nil {
		return err
	}
	if value(m.CheckBeforeUpdate) {
		if err := c.aboveUsage(value(m.Limit), value(m.Swap)); err != nil {
			return err
		}
	}
	// Swap first: a lower memory.max makes the kernel look for room at once,
	// and it must not find it in swap that was not meant to be used.
	if ok {
		c.add("memory.swap", "memory.swap.max", swap)
	}
	for _, f := range []struct {
		field, file string
		n           int64
	}{{"memory.limit", "memory.max", value(m.Limit)}, {"memory.reservation", "memory.low", value(m.Reservation)}} {
		if f.n == 0 {
			continue
		}
		v, err := limit(f.field, f.n)
		if err != nil {
			return err
		}
		c.add(f.field, f.file, v)
	}
	return nil
}

// memoryV1 refuses what version 2 has no file for.
func memoryV1(m *specs.LinuxMemory) error {
	//nolint:staticcheck // deprecated in the specification; refused here
	if k := value(m.Kernel); k != 0 && k != -1 {
		return unsupported("memory.kernel", "cgroup v2 has no limit on kernel memory alone; memory.limit counts it in")
	}
	if k := value(m.KernelTCP); k != 0 && k != -1 {
		return unsupported("memory.kernelTCP", "cgroup v2 has no limit on TCP buffers alone; memory.limit counts them in")
	}
	if m.Swappiness != nil {
		return unsupported("memory.swappiness", "cgroup v2 has no swappiness of a cgroup; memory.swap limits swap")
	}
	if value(m.DisableOOMKiller) {
		return unsupported("memory.disableOOMKiller", "cgroup v2 cannot turn the OOM killer off; unified memory.high slows processes down instead")
	}
	if m.UseHierarchy != nil && !*m.UseHierarchy {
		return unsupported("memory.useHierarchy", "cgroup v2 always counts children in")
	}
	return nil
}

// swap is the value of memory.swap.max, false where nothing was asked for.
func (c *converter) swap(limit, swap int64) (string, bool, error) {
	const field = "memory.swap"
	var v string
	switch {
	case swap < -1:
		return "", false, bad(field, "%d: the minimum is 0, and -1 is no limit", swap)
	case swap == -1, swap == 0 && limit == -1: // as version 1: no limit on memory, none on swap
		v = "max"
	case swap == 0:
		return "", false, nil
	case limit == -1:
		v = strconv.FormatInt(swap, 10)
	default:
		if limit == 0 {
			current, _ := c.facts.read("memory.max")
			n, err := strconv.ParseInt(current, 10, 64)
			if err != nil {
				return "", false, bad(field, "a limit on memory and swap needs memory.limit")
			}
			limit = n
		}
		if swap < limit {
			return "", false, bad(field, "%d: the minimum is memory.limit, %d, for it counts memory and swap", swap, limit)
		}
		v = strconv.FormatInt(swap-limit, 10)
	}
	if c.facts.has("memory.swap.max") {
		return v, true, nil
	}
	if v == "max" || v == "0" && c.facts.NoSwap {
		return "", false, nil
	}
	return "", false, unsupported(field, "the kernel does not count swap (swapaccount=0)")
}

// aboveUsage refuses a limit that would kill at once.
func (c *converter) aboveUsage(limit, swap int64) error {
	current, _ := c.facts.read("memory.current")
	used, err := strconv.ParseInt(current, 10, 64)
	if err != nil {
		return nil // a new cgroup uses nothing
	}
	if limit > 0 && limit <= used {
		return bad("memory.limit", "%d bytes: the container uses %d, and checkBeforeUpdate is set", limit, used)
	}
	if swap > 0 && swap <= used {
		return bad("memory.swap", "%d bytes: the container uses %d, and checkBeforeUpdate is set", swap, used)
	}
	return nil
}
