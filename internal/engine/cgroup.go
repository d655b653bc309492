package engine

import (
	"errors"

	"coracle/spec"
)

// The cgroup managers, --cgroup-manager; "" is auto.
const (
	managerAuto     = "auto"     // a place that is ours, else the scope that the user's containers share
	managerSystemd  = "systemd"  // a scope of systemd's for each container
	managerCgroupfs = "cgroupfs" // a place that is ours
	managerDisabled = "disabled"
)

// useCgroup says how rt makes the container's cgroup. One in the foreground has a
// cgroup only where something needs it: it is a part of the time that a start
// takes, and who waits for the container can end it without.
func (r *run) useCgroup(rt *spec.Runtime) {
	wanted := r.o.Detached() || r.result.Systemd || r.result.WritableCgroup || r.limited() || r.result.Implied != nil && !r.tried || r.manager == managerSystemd || r.manager == managerCgroupfs
	rt.FlagOf = r.o.Limits.Flag
	rt.NoCgroup = !wanted || r.result.NoCgroup || r.manager == managerDisabled
	r.cgroupsBy(rt)
}

// onlyLimits says that nothing but limits makes a cgroup of the container.
func (r *run) onlyLimits() bool {
	return !r.o.Detached() && !r.result.Systemd && !r.result.WritableCgroup && r.manager != managerSystemd && r.manager != managerCgroupfs
}

// cgroupsBy says who makes cgroups.
func (r *run) cgroupsBy(rt *spec.Runtime) {
	rt.Systemd = r.manager == managerSystemd || spec.InSlice(cgroupsPath(r.result))
	rt.AutoCgroup = r.manager == "" || r.manager == managerAuto
	rt.Lasting = r.o.Detached()
}

// checkManager refuses what the manager cannot do.
func (r *run) checkManager() error {
	const op = "make the container's cgroup"
	switch {
	case r.manager == managerDisabled && (r.limited() || r.result.WritableCgroup):
		return &Error{Op: op, Err: errors.New("limits and --cgroup-parent need one, and the cgroup manager is disabled"), Help: "leave --cgroup-manager disabled out, or the limits"}
	case r.manager == managerCgroupfs && spec.InSlice(r.result.Spec.Linux.CgroupsPath):
		return &Error{Op: op, Err: errors.New("a slice is systemd's, and the cgroup manager is cgroupfs"), Help: "--cgroup-manager systemd, or a path for --cgroup-parent"}
	}
	return nil
}

func cgroupsPath(r spec.Result) string {
	if r.Spec == nil { // not known yet
		return ""
	}
	return r.Spec.Linux.CgroupsPath
}
