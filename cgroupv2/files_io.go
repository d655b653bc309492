package cgroupv2

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// blockIO: weights of 10 to 1000, and rates of devices in bytes and
// operations per second.
func (c *converter) blockIO(r *specs.LinuxResources) error {
	b := r.BlockIO
	if b == nil {
		return nil
	}
	if value(b.LeafWeight) != 0 {
		return unsupported("blockIO.leafWeight", "cgroup v2 has no weight of a cgroup's own tasks")
	}
	if w := value(b.Weight); w != 0 {
		if err := c.ioWeight("blockIO.weight", "", w); err != nil {
			return err
		}
	}
	for i, d := range b.WeightDevice {
		field := fmt.Sprintf("blockIO.weightDevice[%d]", i)
		if value(d.LeafWeight) != 0 {
			return unsupported(field+".leafWeight", "cgroup v2 has no weight of a cgroup's own tasks")
		}
		dev, err := device(field, d.LinuxBlockIODevice)
		if err != nil {
			return err
		}
		if w := value(d.Weight); w == 0 {
			return bad(field+".weight", "is missing")
		} else if err := c.ioWeight(field+".weight", dev+" ", w); err != nil {
			return err
		}
	}
	return c.throttle(b)
}

// ioWeight writes to the BFQ scheduler's file where there is one, which takes
// the old range, and else to io.weight, whose 1 to 10000 the old range is
// stretched to.
func (c *converter) ioWeight(field, dev string, w uint16) error {
	if w < 10 || w > 1000 {
		return bad(field, "%d: the minimum is 10 and the maximum 1000", w)
	}
	switch {
	case c.facts.Read != nil && c.facts.has("io.bfq.weight"):
		c.add(field, "io.bfq.weight", dev+strconv.Itoa(int(w)))
	case c.facts.has("io.weight"):
		c.add(field, "io.weight", dev+strconv.Itoa(1+(int(w)-10)*9999/990))
	case slices.Contains(strings.Fields(first(c.facts.read("cgroup.controllers"))), "io"):
		return unsupported(field, "the kernel has neither io.weight (CONFIG_BLK_CGROUP_IOCOST) nor the BFQ scheduler")
	default:
		// The controller is missing: the write says so.
		c.add(field, "io.weight", dev+strconv.Itoa(1+(int(w)-10)*9999/990))
	}
	return nil
}

func first(s string, _ bool) string { return s }

// throttle is io.max, a line for each device with all of its rates, so that
// no half of them is ever in force. A rate of 0 takes the limit away, as in
// version 1.
func (c *converter) throttle(b *specs.LinuxBlockIO) error {
	type line struct{ dev, field, rates string }
	var lines []line
	for _, k := range []struct {
		field, key string
		devices    []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", "rbps", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "wbps", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "riops", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "wiops", b.ThrottleWriteIOPSDevice},
	} {
		for i, d := range k.devices {
			field := fmt.Sprintf("blockIO.%s[%d]", k.field, i)
			dev, err := device(field, d.LinuxBlockIODevice)
			if err != nil {
				return err
			}
			rate := " " + k.key + "=max"
			if d.Rate != 0 {
				rate = fmt.Sprintf(" %s=%d", k.key, d.Rate)
			}
			at := slices.IndexFunc(lines, func(l line) bool { return l.dev == dev })
			if at < 0 {
				lines = append(lines, line{dev, field, rate})
			} else {
				lines[at].rates += rate
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.dev, b.dev) })
	for _, l := range lines {
		c.add(l.field, "io.max", l.dev+l.rates)
	}
	return nil
}

func device(field string, d specs.LinuxBlockIODevice) (string, error) {
	const most = 1<<32 - 1
	if d.Major < 0 || d.Major > most || d.Minor < 0 || d.Minor > most {
		return "", bad(field, "%d:%d is no device", d.Major, d.Minor)
	}
	return fmt.Sprintf("%d:%d", d.Major, d.Minor), nil
}
