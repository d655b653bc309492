package cgroupv2

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Apply changes the limits of a container that runs. All or nothing: when a
// file is refused, those before it get their old values back. What a lower
// memory limit made the kernel kill stays dead (memory.checkBeforeUpdate
// refuses such a limit).
func (c *Cgroup) Apply(r *specs.LinuxResources) error {
	files, err := Files(r, c.wouldBe())
	if err != nil || len(files) == 0 {
		return err
	}
	if c.dir == nil {
		return &FieldError{Field: files[0].Field, Reason: "cannot be enforced: " + c.reason, Err: ErrNone, kind: ErrUnsupported}
	}
	if c.tree.Mount == "" { // by Open
		if c.tree, err = Detect(); err != nil {
			return fmt.Errorf("look for cgroups: %w", err)
		}
	}
	m := maker{tree: c.tree, sys: c.sys}
	if err := m.enable(filepath.Dir(c.ref.Path), files); err != nil {
		m.undo()
		return err
	}
	if files, err = Files(r, c.facts()); err == nil {
		err = c.setAll(files)
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

// setAll writes files, and the old values of those it wrote when one fails.
func (c *Cgroup) setAll(files []File) error {
	old := make([]string, len(files))
	for i, f := range files {
		old[i], _ = readAt(c.dir, f.Name) // "" for what can only be written
	}
	for i, f := range files {
		err := c.set(f)
		if err == nil {
			continue
		}
		for j, done := range slices.Backward(files[:i]) {
			v, ok := before(done, old[j])
			if !ok {
				continue
			}
			if e := c.write(done.Name, v); e != nil {
				err = errors.Join(err, fmt.Errorf("put the old %s back: %w", done.Name, e))
			}
		}
		return err
	}
	return nil
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
