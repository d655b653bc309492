package spec

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"coracle/internal/nofile"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// limits sets the resource limits, and the one that Go has raised back to what
// it was. A hard limit is raised by the host's root alone, see fromOutside.
func (c *child) limits() {
	limits := c.s.Process.Rlimits
	if !slices.ContainsFunc(limits, func(r specs.POSIXRlimit) bool { return r.Type == "RLIMIT_NOFILE" }) {
		c.p.RestoreNofile(nofile.Original())
	}
	for _, r := range limits {
		c.rlimit(r)
	}
}

// fromOutside does for the first process what only the launcher's privileges
// allow: in a user namespace of its own that process can neither raise a hard
// limit nor lower its OOM score. Where the launcher cannot either, the step
// that comes later names the field.
func fromOutside(s *specs.Spec, pid int) {
	if !inUserNamespace(s) {
		return
	}
	for _, r := range s.Process.Rlimits {
		var own unix.Rlimit
		n, ok := RlimitNumber(r.Type)
		if ok && unix.Prlimit(0, n, nil, &own) == nil && r.Hard > own.Max {
			_ = unix.Prlimit(pid, n, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}, nil)
		}
	}
	if v := s.Process.OOMScoreAdj; v != nil && *v < 0 {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), fmt.Append(nil, *v), 0)
	}
}

func (c *child) rlimit(r specs.POSIXRlimit) {
	n, ok := RlimitNumber(r.Type)
	if !ok {
		c.fail(fmt.Errorf("process.rlimits: %q is unknown", r.Type))
		return
	}
	lim := make([]byte, 16)
	binary.NativeEndian.PutUint64(lim, r.Soft)
	binary.NativeEndian.PutUint64(lim[8:], r.Hard)
	// EPERM: above the caller's own hard limit.
	c.p.Call(fmt.Sprintf("process.rlimits: set %s to %d:%d", r.Type, r.Soft, r.Hard), unix.SYS_PRLIMIT64, 0, n, lim, 0)
}

// RlimitNumber is the resource number of a limit by its OCI name.
func RlimitNumber(name string) (int, bool) {
	switch name {
	case "RLIMIT_CPU":
		return unix.RLIMIT_CPU, true
	case "RLIMIT_FSIZE":
		return unix.RLIMIT_FSIZE, true
	case "RLIMIT_DATA":
		return unix.RLIMIT_DATA, true
	case "RLIMIT_STACK":
		return unix.RLIMIT_STACK, true
	case "RLIMIT_CORE":
		return unix.RLIMIT_CORE, true
	case "RLIMIT_RSS":
		return unix.RLIMIT_RSS, true
	case "RLIMIT_NPROC":
		return unix.RLIMIT_NPROC, true
	case "RLIMIT_NOFILE":
		return unix.RLIMIT_NOFILE, true
	case "RLIMIT_MEMLOCK":
		return unix.RLIMIT_MEMLOCK, true
	case "RLIMIT_AS":
		return unix.RLIMIT_AS, true
	case "RLIMIT_LOCKS":
		return unix.RLIMIT_LOCKS, true
	case "RLIMIT_SIGPENDING":
		return unix.RLIMIT_SIGPENDING, true
	case "RLIMIT_MSGQUEUE":
		return unix.RLIMIT_MSGQUEUE, true
	case "RLIMIT_NICE":
		return unix.RLIMIT_NICE, true
	case "RLIMIT_RTPRIO":
		return unix.RLIMIT_RTPRIO, true
	case "RLIMIT_RTTIME":
		return unix.RLIMIT_RTTIME, true
	}
	return 0, false
}
