// Package begin is what a container's start begins with, while little of the
// container is known: its cgroup, and its first process in its namespaces. It needs no
// package but the runtime's, so that a monitor can do it while it is still being
// initialised (internal/hire).
package begin

import (
	"context"

	"coracle/cgroupv2"
	"coracle/spec"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Plan says what there is to begin.
type Plan struct {
	ID string
	// Cgroup makes one with Asked and those of Implied that can be had; for
	// OnlyLimits where one of these needs it. The rest is spec.Runtime's.
	Cgroup         bool                  `json:",omitempty"`
	OnlyLimits     bool                  `json:",omitempty"`
	Asked, Implied *specs.LinuxResources `json:",omitempty"`
	Auto, Lasting  bool                  `json:",omitempty"`
	// Namespaces begins the first process in those that most have.
	Namespaces bool        `json:",omitempty"`
	Map        *userns.Map `json:",omitempty"` // nil: it follows
	// NoSystemd is for a caller without cgroupv2.UseBus: cgroupv2.ErrNoBus says that
	// systemd is needed, and that nothing was begun.
	NoSystemd bool `json:",omitempty"`
}

// Begun is what a Plan has made.
type Begun struct {
	Cgroup    *spec.LimitedCgroup // nil: it comes later; its Path is "" where there can be none
	Unlimited []string            // see spec.LimitedCgroup
	Newborn   *spec.Newborn
}

// Begin does it. note is told the path of a cgroup before that is made; who has
// begun removes it, whatever becomes of the container.
func (p Plan) Begin(ctx context.Context, note func(path string) error) (b Begun, err error) {
	var cg *cgroupv2.Cgroup
	if p.Cgroup {
		rt := spec.Runtime{AutoCgroup: p.Auto, Lasting: p.Lasting, NoSystemd: p.NoSystemd}
		made, err := rt.NewCgroup(p.ID, p.Asked, p.Implied, p.OnlyLimits, note)
		if err != nil {
			return b, err
		}
		b.Unlimited = made.Unlimited
		if made.Cgroup != nil && !made.Pending() {
			b.Cgroup = made
			if made.Path() != "" {
				cg = made.Cgroup
			}
		}
	}
	if p.Namespaces {
		b.Newborn = spec.BeginNamespaces(cg, specs.UserNamespace, specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace,
			specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace)
	}
	if p.Map != nil {
		b.Newborn.Map(ctx, *p.Map)
	}
	return b, nil
}
