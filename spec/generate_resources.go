package spec

import (
	"path"
	"strings"
)

// cgroupns is --cgroupns, and what goes with a cgroup that can be written to.
func (g *generator) cgroupns() error {
	switch g.opt.Cgroupns {
	case "", "private":
		g.ownCgroup = true
	case "host":
		if g.opt.Systemd == "always" {
			return refuse("--cgroupns", "host", "systemd needs cgroups of its own").hint("leave it out")
		}
	default:
		return refuse("--cgroupns", g.opt.Cgroupns, "unknown mode").choose(g.opt.Cgroupns, []string{"private", "host"})
	}
	if !g.profile.cgroups {
		return nil
	}
	const flag, value = "--security-opt", "writable-cgroups"
	switch {
	case !g.ownCgroup:
		return refuse(flag, value, "with --cgroupns host these are the host's").hint("leave --cgroupns out")
	case g.opt.Cgroups == "disabled":
		return refuse(flag, value, "with --cgroups disabled the container has none").hint("leave --cgroups out")
	case !g.in.Host.CgroupV2():
		return refuse(flag, value, "only cgroup v2 can be delegated, and /sys/fs/cgroup is not that").hint("boot with systemd.unified_cgroup_hierarchy=1")
	}
	g.res.WritableCgroup = true
	return nil
}

// limits decides what the container may use of the machine, and where in the
// tree of cgroups it is.
func (g *generator) limits() (err error) {
	l := g.spec.Linux
	if l.Resources, g.res.Implied, err = g.opt.Limits.Resources(g.in.Host); err != nil {
		return err
	}
	switch g.opt.Cgroups {
	case "", "enabled", "no-conmon": // the monitor is never in the container's
	case "disabled":
		if l.Resources != nil || g.opt.CgroupParent != "" {
			return refuse("--cgroups", "disabled", "limits are the cgroup's").hint("leave it out, or the limits")
		}
		g.res.Implied, g.res.NoCgroup = nil, true
		return nil
	case "split":
		return refuse("--cgroups", "split", "the launcher's cgroup cannot be divided while it is in there").hint("--cgroup-parent says where the container's cgroup goes")
	default:
		return refuse("--cgroups", g.opt.Cgroups, "unknown value").choose(g.opt.Cgroups, []string{"enabled", "disabled", "no-conmon"})
	}
	l.CgroupsPath, err = cgroupsPath(g.opt.CgroupParent, g.in.ID)
	return err
}

// cgroupsPath is linux.cgroupsPath below a parent, which is a directory of the
// tree, or a slice of systemd's: SLICE:coracle:ID, as runc has it.
func cgroupsPath(parent, id string) (string, error) {
	const flag = "--cgroup-parent"
	switch {
	case parent == "":
		return "", nil
	case strings.HasSuffix(parent, ".slice") && !strings.Contains(parent, "/"):
		return parent + ":coracle:" + id, nil
	case strings.ContainsAny(parent, "\n\x00"):
		return "", refuse(flag, parent, "not the name of a directory")
	}
	for name := range strings.SplitSeq(parent, "/") {
		if name == ".." {
			return "", refuse(flag, parent, ".. leads out of where a cgroup may be").hint("an absolute path begins at the tree's mount")
		}
	}
	return path.Join(parent, "coracle-"+id), nil
}

// InSlice says whether linux.cgroupsPath is a unit of systemd's.
func InSlice(cgroupsPath string) bool { return strings.Contains(cgroupsPath, ".slice:") }
