package spec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// cgroup finds the cgroup that the process is born in. Where it cannot be had
// the process stays in the caller's, if the container has no limits that it
// would escape.
func (e *joining) cgroup() error {
	if e.c.rt.NoSystemd && e.c.Cgroup.Scope != "" {
		return &idError{e.c.ID, ErrSystemd} // who may have to let the process in
	}
	cg, err := e.c.cgroup()
	if err == nil && cg.FD() < 0 {
		cg.Close()
		return nil // the container has none either
	}
	if err == nil && e.o.Cgroup != "" {
		whole := cg
		cg, err = whole.Below(e.o.Cgroup)
		whole.Close()
	}
	if err == nil {
		if err = unix.Faccessat(cg.FD(), "cgroup.procs", unix.W_OK, unix.AT_EACCESS); err == nil {
			e.x.Cgroup = cg
			return nil
		}
		cg.Close()
		err = fmt.Errorf("cgroup.procs is not ours to write: %w", err)
	}
	if e.o.Cgroup != "" {
		return fmt.Errorf("join the cgroup %s of container %s: %w", e.o.Cgroup, e.c.ID, err)
	}
	return e.withoutCgroup(err)
}

// otherCgroup is for a process that could not be put into the container's
// cgroup. A cgroup that gives controllers to children takes no processes; then a
// payload that has divided its cgroup runs in one of them, and so shall this.
func (e *joining) otherCgroup(why error) error {
	if errors.Is(why, unix.EBUSY) && e.o.Cgroup == "" {
		if rel, ok := e.c.firstCgroup(); ok {
			cg, err := e.x.Cgroup.Below(rel)
			if err == nil {
				defer cg.Close()
				if err = cg.AddProcess(e.l.child.PID); err == nil {
					return nil
				}
			}
			why = err
		}
	}
	if e.o.Cgroup != "" {
		return why
	}
	return e.withoutCgroup(why)
}

// firstCgroup is where the container's first process is, below the container's
// cgroup.
func (c *Container) firstCgroup() (string, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(c.Pid) + "/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "0::"); ok {
			_, rel, ok := strings.Cut(path+"/", "/"+filepath.Base(c.Cgroup.Path)+"/")
			return rel, ok
		}
	}
	return "", false
}

func (e *joining) withoutCgroup(why error) error {
	if limited(e.s.Linux.Resources) && !e.o.IgnoreCgroup {
		return fmt.Errorf("join the cgroup of container %s, which has limits (--ignore-cgroup runs the process without them): %w", e.c.ID, why)
	}
	e.c.rt.warn("the process is not in the cgroup of container %s: %v", e.c.ID, why)
	return nil
}

// limited says whether there is anything in resources that a process outside
// the cgroup would escape.
func limited(r *specs.LinuxResources) bool {
	return r != nil && (r.Memory != nil || r.CPU != nil || r.Pids != nil || r.BlockIO != nil || len(r.HugepageLimits) > 0 ||
		r.Network != nil || len(r.Rdma) > 0 || len(r.Unified) > 0)
}
