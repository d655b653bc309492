package cgroupv2

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stats reads the counters. What a controller that is not enabled would tell
// is left out; CPU time is counted without.
func (c *Cgroup) Stats() (*Stats, error) {
	if c.dir == nil {
		return nil, fmt.Errorf("read statistics: %w", ErrNone)
	}
	r := statReader{c: c}
	s := &Stats{Hugetlb: map[string]Hugetlb{}}
	r.cpu(&s.CPU)
	r.cpuset(&s.CPUSet)
	r.memory(&s.Memory)
	r.io(&s.Blkio)
	r.pids(&s.Pids)
	if slices.Contains(strings.Fields(r.text("cgroup.controllers")), "hugetlb") {
		r.hugetlb(s.Hugetlb)
	}
	if r.err != nil {
		return nil, fmt.Errorf("read statistics of cgroup %s: %w", c.ref.Path, r.err)
	}
	return s, nil
}

// statReader keeps the first error; a file that is not there reads as empty.
type statReader struct {
	c   *Cgroup
	err error
}

func (r *statReader) text(name string) string {
	s, err := r.c.read(name)
	missing := errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrGone)
	// Pressure files without CONFIG_PSI_DEFAULT answer EOPNOTSUPP.
	if err != nil && !missing && !errors.Is(err, unix.EOPNOTSUPP) && r.err == nil {
		r.err = err
	}
	return strings.TrimSpace(s)
}

// number reads a single value; "max" is 2^64-1.
func (r *statReader) number(name string) uint64 { return parseNumber(r.text(name)) }

func parseNumber(s string) uint64 {
	if s == "max" {
		return math.MaxUint64
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func (r *statReader) cpu(s *CPUStats) {
	const us = 1000
	kv := keyValues(r.text("cpu.stat"))
	s.Usage = CPUUsage{Total: kv["usage_usec"] * us, User: kv["user_usec"] * us, Kernel: kv["system_usec"] * us}
	s.Throttling = Throttling{Periods: kv["nr_periods"], ThrottledPeriods: kv["nr_throttled"], ThrottledTime: kv["throttled_usec"] * us}
	s.PSI = r.pressure("cpu.pressure")
}

func (r *statReader) cpuset(s *CPUSet) {
	s.CPUs = expand(r.text("cpuset.cpus"))
	s.Mems = expand(r.text("cpuset.mems"))
}

// expand makes 0,1,2,7 of "0-2,7".
func expand(list string) []uint16 {
	var out []uint16
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			continue
		}
		b := a
		if isRange {
			if b, err = strconv.ParseUint(high, 10, 16); err != nil {
				continue
			}
		}
		for n := int(a); n <= int(b); n++ { // a uint16 would never be more than 65535
			out = append(out, uint16(n)) //nolint:gosec // at most b
		}
	}
	return out
}

func (r *statReader) memory(s *MemoryStats) {
	s.PSI = r.pressure("memory.pressure")
	raw := keyValues(r.text("memory.stat"))
	if len(raw) == 0 {
		return
	}
	s.Raw, s.Cache = raw, raw["file"]
	s.Usage = MemoryEntry{
		Limit: r.number("memory.max"), Usage: r.number("memory.current"), Max: r.number("memory.peak"),
		Failcnt: keyValues(r.text("memory.events"))["max"],
	}
	if r.text("memory.swap.max") == "" { // swap is not counted
		return
	}
	s.Swap = MemoryEntry{Limit: math.MaxUint64, Usage: s.Usage.Usage + r.number("memory.swap.current"), Failcnt: keyValues(r.text("memory.swap.events"))["max"]}
	if limit := r.number("memory.swap.max"); limit != math.MaxUint64 && s.Usage.Limit != math.MaxUint64 {
		s.Swap.Limit = limit + s.Usage.Limit
	}
}

func (r *statReader) io(s *BlkioStats) {
	s.PSI = r.pressure("io.pressure")
	for line := range strings.Lines(r.text("io.stat")) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, ok := strings.Cut(f[0], ":")
		if !ok {
			continue
		}
		e := BlkioEntry{Major: parseNumber(major), Minor: parseNumber(minor)}
		for _, item := range f[1:] {
			key, v, _ := strings.Cut(item, "=")
			e.Value = parseNumber(v)
			e.Op = "Read"
			if strings.HasPrefix(key, "w") {
				e.Op = "Write"
			}
			switch key {
			case "rbytes", "wbytes":
				s.IoServiceBytesRecursive = append(s.IoServiceBytesRecursive, e)
			case "rios", "wios":
				s.IoServicedRecursive = append(s.IoServicedRecursive, e)
			}
		}
	}
}

func (r *statReader) pids(s *PidsStats) {
	if current := r.text("pids.current"); current != "" {
		s.Current = parseNumber(current)
		if limit := r.number("pids.max"); limit != math.MaxUint64 {
			s.Limit = limit
		}
		return
	}
	pids, err := r.c.Procs()
	if err != nil && r.err == nil {
		r.err = err
	}
	s.Current = uint64(len(pids))
}

func (r *statReader) hugetlb(s map[string]Hugetlb) {
	f, err := openIn(r.c.dir, ".", unix.O_DIRECTORY|unix.O_RDONLY)
	if err != nil {
		return // gone: the next file says so
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		size, ok := strings.CutPrefix(strings.TrimSuffix(name, ".events"), "hugetlb.")
		if !ok || !strings.HasSuffix(name, ".events") || strings.Contains(size, ".") {
			continue
		}
		base := "hugetlb." + size
		h := Hugetlb{Failcnt: keyValues(r.text(base + ".events"))["max"]}
		if rsvd := r.text(base + ".rsvd.current"); rsvd != "" {
			h.Usage = parseNumber(rsvd)
		} else {
			h.Usage = r.number(base + ".current")
		}
		s[size] = h
	}
}

func (r *statReader) pressure(name string) *PSI {
	text := r.text(name)
	if text == "" {
		return nil
	}
	var p PSI
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		d := &p.Some
		if f[0] == "full" {
			d = &p.Full
		}
		for _, item := range f[1:] {
			key, v, _ := strings.Cut(item, "=")
			n, _ := strconv.ParseFloat(v, 64)
			switch key {
			case "avg10":
				d.Avg10 = n
			case "avg60":
				d.Avg60 = n
			case "avg300":
				d.Avg300 = n
			case "total":
				d.Total = parseNumber(v)
			}
		}
	}
	return &p
}
