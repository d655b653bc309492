package cgroupv2

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Above is a limit that has no effect, or less, for one above it is tighter. The
// kernel takes it, and so do runc and crun, without a word.
type Above struct {
	Field string // of config.json
	Asked string // what it asks for: "1000"
	Dir   string // the cgroup whose limit holds
	File  string // of that cgroup
	Holds string // what it says: "6"
}

func (a Above) String() string {
	return fmt.Sprintf("%s: %s is more than the cgroup above has: %s of %s is %s, which holds", a.Field, a.Asked, a.File, a.Dir, a.Holds)
}

// Above are the limits of r that a cgroup above the container's is tighter than; the
// tightest counts.
func (c *Cgroup) Above(r *specs.LinuxResources) []Above {
	if c.ref.Path == "" || r == nil {
		return nil
	}
	files, err := Files(r, c.facts())
	if err != nil {
		return nil // said by whoever writes them
	}
	mount := c.tree.Mount
	if mount == "" {
		tree, err := Detect()
		if err != nil {
			return nil
		}
		mount = tree.Mount
	}
	return above(files, c.ref.Path, mount, readIn)
}

func above(files []File, path, mount string, read func(dir, name string) string) []Above {
	var out []Above
	for _, f := range files {
		exceeds := exceeding(f.Name)
		if exceeds == nil {
			continue
		}
		name, found := f.Name, Above{}
		if strings.HasPrefix(name, "cpuset.") {
			name += ".effective" // of the parent: it has those above in it
		}
		value := f.Value
		for dir := filepath.Dir(path); len(dir) > len(mount) && strings.HasPrefix(dir, mount); dir = filepath.Dir(dir) {
			if holds, ok := exceeds(value, read(dir, name)); ok {
				found = Above{f.Field, f.Value, dir, name, holds}
				value = holds
			}
		}
		if found.Dir != "" {
			out = append(out, found)
		}
	}
	return out
}

// exceeding compares what is asked for with what a file of a cgroup above says, and
// gives the part of the latter that is tighter; nil for what is no limit.
func exceeding(name string) func(asked, file string) (string, bool) {
	switch name {
	case "cpu.max":
		return exceedsQuota
	case "io.max":
		return exceedsRate
	case "cpuset.cpus", "cpuset.mems":
		return exceedsSet
	case "rdma.max":
		return nil
	}
	if strings.HasSuffix(name, ".max") || name == "memory.high" {
		return exceedsNumber
	}
	return nil
}

// exceedsNumber: "max", which lifts a limit, asks for none, and so exceeds none.
func exceedsNumber(asked, file string) (string, bool) {
	n, ok := bytesOf(asked)
	most, is := bytesOf(file)
	return file, ok && is && asked != "max" && n > most
}

func exceedsQuota(asked, file string) (string, bool) {
	quota, period := parseMax(asked)
	most, per := parseMax(file)
	return file, file != "" && quota > 0 && most > 0 && float64(quota)/float64(period) > float64(most)/float64(per)
}

// exceedsRate: "254:0 wbps=1048576", and a line like it for each device.
func exceedsRate(asked, file string) (string, bool) {
	device, rates, _ := strings.Cut(asked, " ")
	for line := range strings.Lines(file) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != device {
			continue
		}
		for rate := range strings.FieldsSeq(rates) {
			key, value, _ := strings.Cut(rate, "=")
			i := slices.IndexFunc(f, func(s string) bool { return strings.HasPrefix(s, key+"=") })
			if i < 0 {
				continue
			}
			if _, ok := exceedsNumber(value, strings.TrimPrefix(f[i], key+"=")); ok {
				return device + " " + f[i], true
			}
		}
	}
	return "", false
}

// exceedsSet: a processor that those above do not have is not had either.
func exceedsSet(asked, file string) (string, bool) {
	has := expand(file)
	return file, len(has) > 0 && slices.ContainsFunc(expand(asked), func(n uint16) bool { return !slices.Contains(has, n) })
}
