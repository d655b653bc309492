package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// plan is what `run --dry-run --format json` prints.
type plan struct {
	Namespaces []string            `json:"namespaces"`
	UIDMap     any                 `json:"uidMap"`
	GIDMap     any                 `json:"gidMap"`
	Cgroup     spec.ForeseenCgroup `json:"cgroup"`
	Network    plannedNetwork      `json:"network"`
	Steps      []string            `json:"steps"`
	Config     *specs.Spec         `json:"config"`
}

// print shows what a run would do, without making the container.
func (r *run) print(ctx context.Context) error {
	name := r.o.Name
	if name == "" {
		name = randomName(0)
	}
	if err := r.configure(name); err != nil {
		return err
	}
	prog, flags, err := spec.Compile(r.result.Spec, &r.extra)
	if err != nil {
		return err
	}
	p := plan{Namespaces: namespaceNames(flags), UIDMap: r.ids.Map.UIDs, GIDMap: r.ids.Map.GIDs, Config: r.result.Spec}
	if p.Cgroup, err = r.foreseeCgroup(); err != nil {
		return err
	}
	if p.Network, err = r.foreseeNetwork(); err != nil {
		return err
	}
	for _, l := range prog.Labels() {
		if l != "" && (len(p.Steps) == 0 || p.Steps[len(p.Steps)-1] != l) {
			p.Steps = append(p.Steps, l)
		}
	}
	if r.o.Format == "json" {
		enc := json.NewEncoder(r.o.Plan)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}
	return p.text(r.o.Plan)
}

// foreseeCgroup says which cgroup the container would have, and which limits. What
// cannot be had is an error here, too.
func (r *run) foreseeCgroup() (spec.ForeseenCgroup, error) {
	rt := r.e.runtime(r.e.ownRunDir(r.id))
	r.useCgroup(rt)
	l := r.result.Spec.Linux
	seen, err := rt.ForeseeCgroup(r.id, l.CgroupsPath, l.Resources, r.result.Implied, r.onlyLimits())
	return seen, explainLimit(r.o.Options, err)
}

func (p plan) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "namespaces: %v\nuid map:    %s\ngid map:    %s\n", p.Namespaces, mapText(p.UIDMap), mapText(p.GIDMap))
	if c := p.Cgroup; c.Path == "" {
		fmt.Fprintf(&b, "cgroup:     none: %s\n", c.None)
	} else {
		fmt.Fprintf(&b, "cgroup:     %s\n", c.Path)
	}
	for _, f := range p.Cgroup.Files {
		why := f.Field
		if f.Default {
			why = "default"
		}
		fmt.Fprintf(&b, "      %s = %s (%s)\n", f.Name, strings.ReplaceAll(f.Value, "\n", ", "), why)
	}
	for _, why := range p.Cgroup.Unlimited {
		fmt.Fprintf(&b, "      no default limit: %s\n", why)
	}
	p.Network.text(&b)
	b.WriteString("steps of the container's first process:\n")
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%4d  %s\n", i+1, s)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mapText(v any) string {
	s := ""
	for _, m := range v.([]specs.LinuxIDMapping) {
		s += fmt.Sprintf("%d:%d:%d ", m.ContainerID, m.HostID, m.Size)
	}
	return s
}

func namespaceNames(flags uintptr) []string {
	var out []string
	for _, n := range []struct {
		flag uintptr
		name string
	}{
		{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWNS, "mount"}, {unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWNET, "network"},
		{unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWCGROUP, "cgroup"},
	} {
		if flags&n.flag != 0 {
			out = append(out, n.name)
		}
	}
	return out
}
