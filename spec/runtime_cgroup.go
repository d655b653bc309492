package spec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/cgroupv2"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// LimitedCgroup is a container's cgroup, with its limits.
type LimitedCgroup struct {
	*cgroupv2.Cgroup          // nil where no limit needs one
	Unlimited        []string // the implied limits that could not be had, and why
}

// NewCgroup makes the cgroup of a container that is yet to be made, so that its
// first process can be born there while little else is known (BeginNamespaces):
// for CreateOptions.Cgroup. There is none in it where no limit needs one and only
// limits do. before is told its path before it is made; the caller removes it,
// whatever becomes of the container.
func (r *Runtime) NewCgroup(id string, asked, implied *specs.LinuxResources, only bool, before func(path string) error) (*LimitedCgroup, error) {
	if r.NoCgroup {
		return &LimitedCgroup{}, nil
	}
	return r.limitedCgroup(cgroupv2.Config{ID: id, Resources: asked, UserNamespace: true, Before: before}, implied, only)
}

// limitedCgroup is the cgroup with the limits that can be had, see withLimits. Where
// only limits need a cgroup, there may be none.
func (r *Runtime) limitedCgroup(cfg cgroupv2.Config, implied *specs.LinuxResources, only bool) (*LimitedCgroup, error) {
	var made *cgroupv2.Cgroup
	var tree *cgroupv2.Tree // the same, however many are tried
	unlimited, err := r.withLimits(cfg, implied, only, func(cfg cgroupv2.Config) (err error) {
		if tree == nil {
			if t, err := cgroupv2.Detect(); err == nil {
				tree = &t
			}
		}
		cfg.Tree = tree
		made, err = cgroupv2.New(cfg)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &LimitedCgroup{made, unlimited}, nil
}

// withLimits tries the implied limits on top of those that were asked for, and
// leaves out those of them that cannot be had here: why, it returns. Where only
// limits need a cgroup, and there are none, try is not called.
func (r *Runtime) withLimits(cfg cgroupv2.Config, implied *specs.LinuxResources, only bool, try func(cgroupv2.Config) error) (unlimited []string, err error) {
	asked := cfg.Resources
	cfg.Systemd, cfg.Rootless, cfg.Auto, cfg.Lasting = r.Systemd, !HostRoot(), r.AutoCgroup, r.Lasting
	cfg.NoBus = r.NoSystemd
	cfg.Unasked = asked == nil && cfg.Path == "" && !cfg.Required
	for {
		cfg.Resources = WithImplied(asked, implied)
		if only && cfg.Resources == nil && cfg.Path == "" {
			return unlimited, nil
		}
		err := try(cfg)
		if err == nil {
			return unlimited, nil
		}
		var field *cgroupv2.FieldError
		if !errors.As(err, &field) || !errors.Is(err, cgroupv2.ErrUnsupported) {
			return nil, err
		}
		left, ok := withoutField(implied, field.Field)
		if !ok && (asked == nil || implied == nil) {
			return nil, err
		}
		if !ok { // once more: the reason is to name what was asked for, and nothing else
			implied = nil
			continue
		}
		unlimited = append(unlimited, err.Error())
		implied = left
	}
}

// makeCgroup makes the container's cgroup, unless it was made before.
func (m *making) makeCgroup() (err error) {
	made := m.o.Cgroup
	m.c.Unlimited = m.o.Unlimited
	if made == nil && m.rt.NoCgroup {
		return nil
	}
	if made == nil {
		made, err = m.rt.limitedCgroup(cgroupv2.Config{ID: m.c.ID, Required: m.o.WritableCgroup, Path: m.s.Linux.CgroupsPath, Resources: m.s.Linux.Resources,
			Devices: m.s.Linux.Devices, UserNamespace: inUserNamespace(m.s) || !HostRoot(), Annotations: m.s.Annotations}, m.o.Implied, m.o.OnlyLimits)
		if err != nil {
			return err
		}
	}
	if made.Unlimited != nil {
		m.c.Unlimited = made.Unlimited
	}
	if made.Cgroup == nil {
		return nil
	}
	m.cgroup = made.Cgroup
	if err := m.liftable(); err != nil {
		return err
	}
	if why := m.cgroup.Notice(); why != nil {
		m.rt.warn("the container may end when you log out: %v", why)
	}
	m.rt.warnAbove(m.cgroup, m.s.Linux.Resources)
	m.c.Cgroup = m.cgroup.Ref()
	m.o.Extra.Cgroup = m.cgroup
	if m.cgroup.Path() != "" && m.lock != nil {
		// At once: a maker that is killed leaves a cgroup that can be deleted.
		if err := m.c.save(); err != nil {
			return err
		}
	}
	return m.giveCgroup()
}

// warnAbove tells of limits that have no effect, for those above are tighter. Such
// are no error: they hold what they promise, which is no more than that.
func (r *Runtime) warnAbove(cg *cgroupv2.Cgroup, asked *specs.LinuxResources) {
	for _, a := range cg.Above(asked) {
		if r.FlagOf != nil {
			a.Field = cmp.Or(r.FlagOf(a.Field), a.Field)
		}
		r.warn("%s", a)
	}
}

// ForeseenCgroup is what a container's cgroup would be.
type ForeseenCgroup struct {
	Path      string          `json:"path"`  // its directory, or its scope in a slice of systemd's; "" for none
	None      string          `json:"none"`  // why there would be none
	Files     []ForeseenLimit `json:"files"` // what would be written there, in this order
	Unlimited []string        `json:"unlimited"`
}

// ForeseenLimit is a file of a cgroup.
type ForeseenLimit struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Field   string `json:"field"`   // of config.json, that asks for it
	Default bool   `json:"default"` // nobody asked for it
}

// ForeseeCgroup says what Create would make of these limits, and makes nothing; only
// is CreateOptions.OnlyLimits.
func (r *Runtime) ForeseeCgroup(id, path string, asked, implied *specs.LinuxResources, only bool) (ForeseenCgroup, error) {
	out := ForeseenCgroup{Files: []ForeseenLimit{}, Unlimited: []string{}}
	if r.NoCgroup {
		out.None = "there is to be none"
		return out, nil
	}
	seen := cgroupv2.Outlook{None: "only limits would need one"}
	unlimited, err := r.withLimits(cgroupv2.Config{ID: id, Path: path, Resources: asked, UserNamespace: true}, implied, only, func(cfg cgroupv2.Config) error {
		o, err := cgroupv2.Foresee(cfg)
		if err == nil {
			seen = o
		}
		return err
	})
	if err != nil {
		return out, err
	}
	own, err := cgroupv2.Files(asked, cgroupv2.Facts{})
	if err != nil {
		return out, err
	}
	out.Path, out.None = seen.Path, seen.None
	out.Unlimited = append(out.Unlimited, unlimited...)
	for _, f := range seen.Files {
		out.Files = append(out.Files, ForeseenLimit{f.Name, f.Value, f.Field, !slices.ContainsFunc(own, func(o cgroupv2.File) bool { return o.Name == f.Name && o.Value == f.Value })})
	}
	return out, nil
}

// WithImplied are the limits of r and those of implied, which has fields of
// memory and pids that r has not.
func WithImplied(r, implied *specs.LinuxResources) *specs.LinuxResources {
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

// ErrLiftable is that a limit would be the container's own to lift.
const ErrLiftable = sentinel("the container could lift its own limits: it may write to its cgroup, and the cgroup tree is mounted without nsdelegate")

// liftable refuses limits that the payload could take away. The kernel keeps the
// files of a namespace's topmost cgroup from those inside with nsdelegate only,
// which systemd mounts the tree with.
func (m *making) liftable() error {
	r := m.s.Linux.Resources
	if !m.o.Final || !limited(r) || m.cgroup.Path() == "" || m.cgroup.Bounded() {
		return nil
	}
	if _, writable := cgroupOwner(m.s); !writable {
		return nil
	}
	return ErrLiftable
}

// Had are those of the implied limits that the container could get.
func (c *Container) Had(implied *specs.LinuxResources) *specs.LinuxResources {
	for _, why := range c.Unlimited {
		field, _, _ := strings.Cut(why, ":")
		implied, _ = withoutField(implied, field)
	}
	return implied
}
