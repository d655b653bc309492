package spec

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

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
