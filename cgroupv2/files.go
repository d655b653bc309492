package cgroupv2

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// File is one write(2) to one file of a cgroup.
type File struct {
	Name  string // memory.max
	Value string
	Field string // what of config.json asks for it: linux.resources.memory.limit
}

// Controller is the controller that has the file, "" for the files that every
// cgroup has.
func (f File) Controller() string {
	name, _, _ := strings.Cut(f.Name, ".")
	if name == "cgroup" {
		return ""
	}
	return name
}

// Facts are what the conversion has to know about the cgroup.
type Facts struct {
	// Read gives the content of a file of the cgroup, false where there is no
	// such file. Without it every file is there, as new.
	Read func(name string) (string, bool)
	// NoSwap: the machine has no swap, so that a limit of none holds by itself.
	NoSwap bool
}

func (f Facts) has(name string) bool {
	_, ok := f.read(name)
	return ok
}

func (f Facts) read(name string) (string, bool) {
	if f.Read == nil {
		return "", true
	}
	s, ok := f.Read(name)
	return strings.TrimSpace(s), ok
}

// Files converts linux.resources (runtime-spec v1.3.0
// config-linux.md#control-groups), which speaks version 1, to the files of
// version 2, in the order in which the kernel takes them. Devices are not
// files: see DeviceProgram. As in runc, a zero is a field that is not set (for
// pids it is the smallest limit), and -1 is no limit. What version 2 does not
// have is refused by name.
func Files(r *specs.LinuxResources, facts Facts) ([]File, error) {
	if r == nil {
		return nil, nil
	}
	c := converter{facts: facts}
	for _, step := range []func(*specs.LinuxResources) error{
		c.memory, c.cpu, c.cpuset, c.pids, c.blockIO, c.hugepages, c.rdma, c.network, c.unified,
	} {
		if err := step(r); err != nil {
			return nil, err
		}
	}
	return c.files, nil
}

type converter struct {
	facts Facts
	files []File
}

func (c *converter) add(field, name, value string) {
	c.files = append(c.files, File{Name: name, Value: value, Field: resources + field})
}

// limit is a number of a .max, .low or .high file; -1 is "max".
func limit(field string, n int64) (string, error) {
	switch {
	case n == -1:
		return "max", nil
	case n < 0:
		return "", bad(field, "%d: the minimum is 0, and -1 is no limit", n)
	}
	return strconv.FormatInt(n, 10), nil
}

func (c *converter) pids(r *specs.LinuxResources) error {
	if r.Pids == nil || r.Pids.Limit == nil {
		return nil
	}
	n := *r.Pids.Limit
	if n == 0 {
		// A limit of none would not let the first process in
		// (CLONE_INTO_CGROUP is a fork, which is counted). One process that
		// cannot fork is the same, and what runc and systemd make of it.
		n = 1
	}
	v, err := limit("pids.limit", n)
	if err != nil {
		return err
	}
	c.add("pids.limit", "pids.max", v)
	return nil
}

func (c *converter) hugepages(r *specs.LinuxResources) error {
	for i, h := range r.HugepageLimits {
		field := fmt.Sprintf("hugepageLimits[%d]", i)
		number := strings.TrimRight(h.Pagesize, "KMGB")
		if n, err := strconv.ParseUint(number, 10, 32); err != nil || n == 0 || !slices.Contains([]string{"KB", "MB", "GB"}, h.Pagesize[len(number):]) {
			return bad(field+".pageSize", "%q: want a size as 2MB, 1GB or 64KB", h.Pagesize)
		}
		base := "hugetlb." + h.Pagesize
		if !c.facts.has(base + ".max") {
			return unsupported(field+".pageSize", "the kernel has no huge pages of %s", h.Pagesize)
		}
		v := strconv.FormatUint(h.Limit, 10)
		c.add(field, base+".max", v)
		// Reservations are refused where they are made (mmap), faults only by
		// SIGBUS; the specification wants both where both exist.
		if c.facts.has(base + ".rsvd.max") {
			c.add(field, base+".rsvd.max", v)
		}
	}
	return nil
}

func (c *converter) rdma(r *specs.LinuxResources) error {
	for _, dev := range slices.Sorted(maps.Keys(r.Rdma)) {
		l := r.Rdma[dev]
		field := "rdma." + dev
		if dev == "" || strings.ContainsAny(dev, " \t\n") {
			return bad(field, "%q is no name of a device", dev)
		}
		v := dev
		if l.HcaHandles != nil {
			v += " hca_handle=" + strconv.FormatUint(uint64(*l.HcaHandles), 10)
		}
		if l.HcaObjects != nil {
			v += " hca_object=" + strconv.FormatUint(uint64(*l.HcaObjects), 10)
		}
		if v != dev {
			c.add(field, "rdma.max", v)
		}
	}
	return nil
}

func (c *converter) network(r *specs.LinuxResources) error {
	n := r.Network
	switch {
	case n == nil:
		return nil
	case n.ClassID != nil && *n.ClassID != 0:
		return unsupported("network.classID", "net_cls is a controller of cgroup v1; v2 has none")
	case len(n.Priorities) > 0:
		return unsupported("network.priorities", "net_prio is a controller of cgroup v1; v2 has none")
	}
	return nil
}

// unified are files of version 2 by their own names.
func (c *converter) unified(r *specs.LinuxResources) error {
	for _, name := range slices.Sorted(maps.Keys(r.Unified)) {
		field := fmt.Sprintf("unified[%q]", name)
		controller, rest, ok := strings.Cut(name, ".")
		if !ok || controller == "" || rest == "" || strings.ContainsAny(name, "/\x00") {
			return bad(field, "want CONTROLLER.FILE, as memory.high")
		}
		// The rest of cgroup.* moves processes and changes what the cgroup is.
		if controller == "cgroup" && !slices.Contains([]string{"max.depth", "max.descendants", "pressure"}, rest) {
			return unsupported(field, "the runtime writes this file itself")
		}
		for _, other := range c.files {
			if other.Name == name && other.Value != strings.TrimSpace(r.Unified[name]) && other.Field != resources+field {
				return bad(field, "%s asks for another value of the same file, %s", other.Field, other.Value)
			}
		}
		// The kernel takes one line a write where a file has several (io.max).
		for line := range strings.Lines(r.Unified[name]) {
			if v := strings.TrimSpace(line); v != "" {
				c.add(field, name, v)
			}
		}
	}
	return nil
}

// controllers are those that the files need, sorted.
func controllers(files []File) []string {
	var names []string
	for _, f := range files {
		if n := f.Controller(); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}
