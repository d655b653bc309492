package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// plan is what `run --dry-run --format json` prints.
type plan struct {
	Namespaces []string    `json:"namespaces"`
	UIDMap     any         `json:"uidMap"`
	GIDMap     any         `json:"gidMap"`
	Steps      []string    `json:"steps"`
	Config     *specs.Spec `json:"config"`
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
	for _, l := range prog.Labels() {
		if l != "" && (len(p.Steps) == 0 || p.Steps[len(p.Steps)-1] != l) {
			p.Steps = append(p.Steps, l)
		}
	}
	if r.o.Format == "json" {
		enc := json.NewEncoder(r.o.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}
	return p.text(r.o.Stdout)
}

func (p plan) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "namespaces: %v\nuid map:    %s\ngid map:    %s\nsteps of the container's first process:\n", p.Namespaces, mapText(p.UIDMap), mapText(p.GIDMap))
	for i, s := range p.Steps {
		if err == nil {
			_, err = fmt.Fprintf(w, "%4d  %s\n", i+1, s)
		}
	}
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
