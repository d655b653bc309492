package cgroupv2

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Apply changes the limits of a container that runs. All or nothing: when a
// file is refused, those before it get their old values back. What a lower
// memory limit made the kernel kill stays dead (memory.checkBeforeUpdate
// refuses such a limit). devices are the container's linux.devices, for new
// rules of r.Devices (see Config).
func (c *Cgroup) Apply(r *specs.LinuxResources, devices ...specs.LinuxDevice) error {
	files, err := Files(r, c.wouldBe())
	if err != nil {
		return err
	}
	last := func() error { return c.devices(Config{Resources: r, Devices: devices}) }
	if len(files) == 0 {
		return last()
	}
	if c.dir == nil {
		return &FieldError{Field: files[0].Field, Reason: "cannot be enforced: " + c.reason, Err: ErrNone, kind: ErrUnsupported}
	}
	if c.tree.Mount == "" { // by Open
		if c.tree, err = Detect(); err != nil {
			return fmt.Errorf("look for cgroups: %w", err)
		}
	}
	if c.ref.Unit != "" {
		return c.applyUnit(files, last)
	}
	m := maker{tree: c.tree, sys: c.sys}
	if err := m.enable(filepath.Dir(c.ref.Path), files); err != nil {
		m.undo()
		return err
	}
	if files, err = Files(r, c.facts()); err == nil {
		err = c.setAll(files, last)
	}
	if err != nil {
		m.undo()
	}
	return err
}

// wouldBe are the facts with all controllers enabled, for what is there now.
func (c *Cgroup) wouldBe() Facts {
	if c.dir == nil {
		return Facts{}
	}
	f := c.facts()
	return Facts{NoSwap: f.NoSwap, Read: func(name string) (string, bool) {
		s, _ := f.Read(name)
		return s, true
	}}
}

// setAll writes files and does what comes last; when one of these fails, the
// files get the values that they had.
func (c *Cgroup) setAll(files []File, last func() error) error {
	old := make([]string, len(files))
	for i, f := range files {
		old[i], _ = readAt(c.dir, f.Name) // "" for what can only be written
	}
	for i, f := range files {
		if err := c.set(f); err != nil {
			return both(err, c.setBack(files[:i], old))
		}
	}
	if err := last(); err != nil {
		return both(err, c.setBack(files, old))
	}
	return nil
}

func (c *Cgroup) setBack(files []File, old []string) error {
	var errs error
	for i, f := range slices.Backward(files) {
		v, ok := before(f, old[i])
		if !ok {
			continue
		}
		if err := c.write(f.Name, v); err != nil {
			errs = both(errs, fmt.Errorf("put the old %s back: %w", f.Name, err))
		}
	}
	return errs
}

// before is the value to write so that a file is again as it was, false where
// nothing has to be, or can be, written.
func before(f File, old string) (string, bool) {
	old = strings.TrimSpace(old)
	key, _, keyed := strings.Cut(f.Value, " ")
	switch f.Name {
	case "io.max", "io.latency", "rdma.max":
	case "io.weight", "io.bfq.weight":
		if !keyed { // the default is the first line
			old, _, _ = strings.Cut(old, "\n")
			return old, old != ""
		}
	case "cpu.weight":
		// An idle cgroup reads 0, and cannot be given it.
		return old, old != "0" && old != ""
	case "cpuset.cpus", "cpuset.mems":
		return old, true // empty is a value
	default:
		return old, old != ""
	}
	for line := range strings.Lines(old) {
		if k, _, _ := strings.Cut(line, " "); k == key {
			return strings.TrimSpace(line), true
		}
	}
	unset := map[string]string{
		"io.max":        " rbps=max wbps=max riops=max wiops=max",
		"io.latency":    " target=0",
		"io.weight":     " default",
		"io.bfq.weight": " default",
		"rdma.max":      " hca_handle=max hca_object=max",
	}
	return key + unset[f.Name], true
}
