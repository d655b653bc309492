package spec

import (
	"path"
	"runtime"
	"slices"
	"strings"

	"coracle/internal/plainjson"
	"coracle/spec/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// linux checks what has no file of its own.
func (v *validator) linux() error {
	l := v.s.Linux
	for _, step := range []func() error{v.devices, v.netDevices, v.sysctls, v.paths, v.intelRdt} {
		if err := step(); err != nil {
			return err
		}
	}
	// The specification has four words; runc takes the recursive ones as well.
	if how, _ := propagationFlag(l.RootfsPropagation); how == 0 && l.RootfsPropagation != "" {
		p := l.RootfsPropagation
		return wrong("linux.rootfsPropagation", "there is no propagation %s; shared, slave, private and unbindable are", plainjson.Quote(p))
	}
	if err := noNul("linux.mountLabel", l.MountLabel); err != nil {
		return err
	}
	if l.MountLabel != "" && !v.h.SELinux {
		return wrong("linux.mountLabel", "this kernel has no SELinux, or it is not enabled")
	}
	if err := checkPersonality(l.Personality); err != nil {
		return err
	}
	if err := checkMemoryPolicy(l.MemoryPolicy); err != nil {
		return err
	}
	return seccomp.Check(l.Seccomp, runtime.GOARCH)
}

// paths are those of files and of the cgroup.
func (v *validator) paths() error {
	l := v.s.Linux
	for _, list := range []struct {
		field string
		paths []string
	}{{"linux.maskedPaths", l.MaskedPaths}, {"linux.readonlyPaths", l.ReadonlyPaths}} {
		if err := notOver(list.field, len(list.paths), maxPaths); err != nil {
			return err
		}
		for i, p := range list.paths {
			if !path.IsAbs(p) || strings.IndexByte(p, 0) >= 0 {
				return absolute(at(list.field, i), p)
			}
		}
	}
	return checkCgroupsPath(l.CgroupsPath)
}

// checkCgroupsPath keeps a path below where it begins: what it names is
// created, limited and removed.
func checkCgroupsPath(p string) error {
	const field = "linux.cgroupsPath"
	if err := noNul(field, p); err != nil {
		return err
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return wrong(field, "%s leads out of where it begins", plainjson.Quote(p))
		}
		if len(part) > 255 {
			return wrong(field, "a name of %d bytes, and a directory's has 255 at most", len(part))
		}
	}
	if len(p) >= 4096 {
		return wrong(field, "%d bytes, and a path has 4095 at most", len(p))
	}
	return nil
}

func checkPersonality(p *specs.LinuxPersonality) error {
	const field = "linux.personality"
	switch {
	case p == nil:
		return nil
	case p.Domain == "":
		return wrong(field+".domain", "missing")
	case p.Domain != specs.PerLinux && p.Domain != specs.PerLinux32:
		return wrong(field+".domain", "there is no domain %s; LINUX and LINUX32 are", plainjson.Quote(string(p.Domain)))
	case len(p.Flags) > 0:
		return wrong(field+".flags", "the specification has none, and %s is one", plainjson.Quote(string(p.Flags[0])))
	}
	return nil
}

// intelRdt follows config-linux.md#intelrdt.
func (v *validator) intelRdt() error {
	const field = "linux.intelRdt"
	r := v.s.Linux.IntelRdt
	if r == nil {
		return nil
	}
	if id := r.ClosID; id == "." || id == ".." || id != "/" && strings.ContainsAny(id, "/\x00\n") {
		return wrong(field+".closID", "%s is not the name of a directory", plainjson.Quote(id))
	}
	for _, s := range []struct{ name, value, prefix string }{
		{"l3CacheSchema", r.L3CacheSchema, "L3"}, {"memBwSchema", r.MemBwSchema, "MB:"},
	} {
		if s.value != "" && !strings.HasPrefix(s.value, s.prefix) {
			return wrong(field+"."+s.name, "%s does not begin with %s", plainjson.Quote(s.value), s.prefix)
		}
		if strings.ContainsAny(s.value, "\n\x00") {
			return wrong(field+"."+s.name, "more than one line")
		}
	}
	for i, s := range r.Schemata {
		if s == "" || strings.ContainsAny(s, "\n\x00") {
			return wrong(at(field+".schemata", i), "not one line")
		}
	}
	return wrong(field, "this runtime assigns no classes of service: that takes root on the host, a processor with RDT and resctrl mounted")
}

func checkMemoryPolicy(p *specs.LinuxMemoryPolicy) error {
	const field = "linux.memoryPolicy"
	if p == nil {
		return nil
	}
	if p.Mode == "" {
		return wrong(field+".mode", "missing")
	}
	if !slices.Contains(memoryPolicyModes(), p.Mode) {
		return wrong(field+".mode", "there is no mode %s", plainjson.Quote(string(p.Mode)))
	}
	if err := checkList(field+".nodes", p.Nodes, mostNodes); err != nil {
		return err
	}
	for i, f := range p.Flags {
		if !slices.Contains(memoryPolicyFlags(), f) {
			return wrong(at(field+".flags", i), "there is no flag %s", plainjson.Quote(string(f)))
		}
	}
	has := func(f specs.MemoryPolicyFlagType) bool { return slices.Contains(p.Flags, f) }
	static, relative := has(specs.MpolFStaticNodes), has(specs.MpolFRelativeNodes)
	without := p.Mode == specs.MpolDefault || p.Mode == specs.MpolLocal
	switch {
	case without && p.Nodes != "":
		return wrong(field+".nodes", "%s has no nodes", p.Mode)
	case !without && p.Mode != specs.MpolPreferred && p.Nodes == "":
		return wrong(field+".nodes", "missing: %s needs one at least", p.Mode)
	case static && relative:
		return wrong(field+".flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES contradict each other")
	case p.Nodes == "" && (static || relative):
		return wrong(field+".flags", "%s is about nodes, and there are none", p.Flags[0])
	case has(specs.MpolFNumaBalancing) && p.Mode != specs.MpolBind && p.Mode != specs.MpolPreferredMany:
		return wrong(field+".flags", "MPOL_F_NUMA_BALANCING goes with MPOL_BIND and MPOL_PREFERRED_MANY")
	}
	return nil
}
