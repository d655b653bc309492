package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/internal/plainjson"
	"coracle/spec"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// blueprint is what a container is started from again, containers/ID/create.json,
// beside the record and config.json: all that was resolved when it was made.
type blueprint struct {
	Store   string // where the store was: it may have been moved since
	Options RunOptions
	IDs     userns.Resolved
	Root    rootPrint
	Result  spec.Result // without Spec, which is config.json
	Joined  spec.Joined
	Health  *HealthCheck `json:",omitempty"`
	Manager string       `json:",omitempty"` // of cgroups
}

// rootPrint is a rootSource.
type rootPrint struct {
	Config   ispec.ImageConfig
	ImageID  digest.Digest
	Lowers   []string
	Meta     string `json:",omitempty"`
	Lent     bool   `json:",omitempty"`
	Direct   string `json:",omitempty"`
	Host     bool   `json:",omitempty"`
	Outsider bool   `json:",omitempty"`
	Driver   string `json:",omitempty"` // of the storage, as it was chosen; "" where there is no choice
}

const blueprintFile = "create.json"

func (r *run) blueprint() blueprint {
	p := blueprint{Store: r.e.root, Options: r.o, IDs: r.ids, Result: r.result, Health: r.health, Manager: r.manager, Joined: r.joined, Root: rootPrint{
		Config: r.root.config, ImageID: r.root.imageID, Lowers: r.root.lowers, Meta: r.root.meta, Lent: r.root.lent,
		Direct: r.root.direct, Host: r.root.host, Outsider: r.root.outsider,
	}}
	p.IDs.Reservation = nil
	// What the container has changed lies where its driver keeps it: another one,
	// asked for or found by a later start, would not see it.
	if root, err := r.rootfs(); err == nil && !r.root.host && r.root.direct == "" {
		p.Root.Driver = root.Driver
	}
	return p
}

func (p blueprint) write(dir string) error {
	return writeJSON(filepath.Join(dir, blueprintFile), p, false)
}

// readBlueprint reads what a container was made from, its configuration included.
func (e *Engine) readBlueprint(id string) (blueprint, error) {
	var p blueprint
	dir := e.containerDir(id)
	file := blueprintFile
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err == nil {
		err = plainjson.Decode(data, &p)
	}
	if err == nil {
		file = "config.json"
		p.Result.Spec, err = spec.LoadBundle(dir)
	}
	if isNotFound(err) {
		return p, &Error{Op: fmt.Sprintf("read what container %.12s was made from", id), Err: err,
			Help: "an earlier version made it, or it was removed this moment: make it anew with coracle run"}
	}
	if err != nil {
		return p, fmt.Errorf("read what container %.12s was made from, %s: %w", id, file, err)
	}
	p.relocate(e.root)
	return p, nil
}

// relocate makes the paths right of a store that was moved to root.
func (p *blueprint) relocate(root string) {
	if p.Store == root {
		return
	}
	move := func(path *string) {
		if rest, ok := strings.CutPrefix(*path, p.Store+"/"); ok {
			*path = filepath.Join(root, rest)
		}
	}
	move(&p.Root.Meta)
	for i := range p.Root.Lowers {
		move(&p.Root.Lowers[i])
	}
	for i := range p.Result.Overlays {
		move(&p.Result.Overlays[i].Source)
		move(&p.Result.Overlays[i].Upper)
		move(&p.Result.Overlays[i].Work)
	}
	for i := range p.Result.Chowns {
		move(&p.Result.Chowns[i].Path)
	}
	for i := range p.Result.Mounted {
		move(&p.Result.Mounted[i].Source)
	}
	s := p.Result.Spec
	move(&s.Root.Path)
	for i := range s.Mounts {
		move(&s.Mounts[i].Source)
		p.moveOverlay(&s.Mounts[i], root)
	}
	p.Store = root
}

// moveOverlay is for volumes with copy-on-write, whose directories stand in the options.
func (p *blueprint) moveOverlay(m *specs.Mount, root string) {
	for i, o := range m.Options {
		for _, key := range []string{"upperdir=", "workdir=", "lowerdir="} {
			if rest, ok := strings.CutPrefix(o, key+p.Store+"/"); ok {
				m.Options[i] = key + filepath.Join(root, rest)
			}
		}
	}
}

// rebuild is a run of a container that is there already.
func (e *Engine) rebuild(b *box, p blueprint) *run {
	return &run{
		e: e, o: p.Options, id: b.ID, ids: p.IDs, box: b, result: p.Result, health: p.Health, manager: p.Manager, joined: p.Joined,
		root: &rootSource{e: e, config: p.Root.Config, imageID: p.Root.ImageID, lowers: p.Root.Lowers, meta: p.Root.Meta, lent: p.Root.Lent,
			direct: p.Root.Direct, host: p.Root.Host, outsider: p.Root.Outsider, driver: p.Root.Driver},
	}
}
