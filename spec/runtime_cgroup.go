package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// makeCgroup makes the container's cgroup, with its limits.
func (m *making) makeCgroup() (err error) {
	if m.rt.NoCgroup {
		return nil
	}
	if m.cgroup, err = m.newCgroup(); err != nil || m.cgroup == nil {
		return err
	}
	if why := m.cgroup.Notice(); why != nil {
		m.rt.warn("the container may end when you log out: %v", why)
	}
	m.c.Cgroup = m.cgroup.Ref()
	m.o.Extra.Cgroup = m.cgroup
	if m.cgroup.Path() != "" {
		// At once: a maker that is killed leaves a cgroup that can be deleted.
		if err := m.c.save(); err != nil {
			return err
		}
	}
	return m.giveCgroup()
}

// newCgroup tries the implied limits on top of those that were asked for, and
// leaves out those of them that cannot be had here.
func (m *making) newCgroup() (*cgroupv2.Cgroup, error) {
	implied := m.o.Implied
	for {
		r := withImplied(m.s.Linux.Resources, implied)
		if m.o.OnlyLimits && r == nil && m.s.Linux.CgroupsPath == "" {
			return nil, nil
		}
		cg, err := cgroupv2.New(cgroupv2.Config{ID: m.c.ID, Path: m.s.Linux.CgroupsPath, Resources: r,
			Devices: m.s.Linux.Devices, UserNamespace: inUserNamespace(m.s) || !HostRoot(),
			Systemd: m.rt.Systemd, Rootless: !HostRoot(), Annotations: m.s.Annotations,
			Auto: m.rt.AutoCgroup, Lasting: m.rt.Lasting, Unasked: m.s.Linux.Resources == nil && m.s.Linux.CgroupsPath == ""})
		var field *cgroupv2.FieldError
		if err == nil || !errors.As(err, &field) || !errors.Is(err, cgroupv2.ErrUnsupported) {
			return cg, err
		}
		left, ok := withoutField(implied, field.Field)
		if !ok {
			return nil, err
		}
		m.c.Unlimited = append(m.c.Unlimited, err.Error())
		implied = left
	}
}

// withImplied are the limits of r and those of implied, which has fields of
// memory and pids that r has not.
func withImplied(r, implied *specs.LinuxResources) *specs.LinuxResources {
	if implied == nil {
		return r
	}
	var out specs.LinuxResources
	if r != nil {
		out = *r
	}
	if out.Pids == nil {
		out.Pids = implied.Pids
	}
	if implied.Memory != nil && out.Memory != nil {
		m := *out.Memory
		m.Swap = implied.Memory.Swap
		out.Memory = &m
	}
	return orNil(&out)
}

// withoutField takes the implied limit away that a field of config.json names.
func withoutField(implied *specs.LinuxResources, field string) (*specs.LinuxResources, bool) {
	if implied == nil {
		return nil, false
	}
	out := *implied
	switch {
	case out.Memory != nil && strings.HasSuffix(field, ".memory.swap"):
		out.Memory = nil
	case out.Pids != nil && strings.HasSuffix(field, ".pids.limit"):
		out.Pids = nil
	default:
		return implied, false
	}
	return orNil(&out), true
}

// cgroupOwner is the host's uid that gets the container's cgroup, as the
// specification's "Cgroup ownership" has it: of the user that the process runs
// as, when it sees its cgroup as the root (a namespace of its own) and may write
// there (a cgroup mount at /sys/fs/cgroup that is not read-only).
func cgroupOwner(s *specs.Spec) (uid int, ok bool) {
	fresh := slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.CgroupNamespace && n.Path == ""
	})
	writable := slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
		return m.Source == "cgroup" && m.Destination == "/sys/fs/cgroup" && !slices.Contains(m.Options, "ro")
	})
	if !fresh || !writable || s.Process == nil {
		return 0, false
	}
	id := s.Process.User.UID
	if len(s.Linux.UIDMappings) == 0 {
		return int(id), true
	}
	for _, m := range s.Linux.UIDMappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return int(m.HostID + id - m.ContainerID), true
		}
	}
	return 0, false
}

// giveCgroup does so, as real root; other callers own what they made, and can
// give nothing away.
func (m *making) giveCgroup() error {
	uid, ok := cgroupOwner(m.s)
	if !ok || m.cgroup == nil || m.cgroup.FD() < 0 || !HostRoot() {
		return nil
	}
	return m.cgroup.Chown(uid, -1)
}

// forWantOfMemory says so of a start that the kernel ended.
func (m *making) forWantOfMemory(err error) error {
	if m.cgroup == nil {
		return err
	}
	if kills, unknown := m.cgroup.OOMKills(); unknown != nil || kills == 0 {
		return err
	}
	return fmt.Errorf("%w: the kernel killed it for want of memory, linux.resources.memory.limit is less than a start takes", err)
}
