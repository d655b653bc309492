package spec

import (
	"os"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hostFor is what Validate must know of this host for s, once s has all the
// namespaces that it will have.
func hostFor(s *specs.Spec) (HostFacts, error) {
	h, err := ReadHost(s)
	if err != nil {
		return h, err
	}
	if s.Linux != nil && s.Linux.Resources != nil {
		tree, err := cgroupv2.Detect()
		if err != nil {
			return h, err
		}
		h.Controllers, h.DeviceRules = tree.Controllers, tree.Mount != ""
	}
	return h, nil
}

// HostRoot says whether the caller is the machine's root, and not that of a
// user namespace.
func HostRoot() bool {
	var st unix.Stat_t
	return os.Geteuid() == 0 && unix.Stat("/proc/self/ns/user", &st) == nil && st.Ino == initUserNS
}
