package sandbox

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// over is the place that a path is in, the path's own left out; nil: the root's.
func (p *planner) over(name string) *Place {
	for at := name; at != "/"; {
		at = path.Dir(at)
		if found := p.places[at]; found != nil {
			return found
		}
	}
	return nil
}

// hostPath is where on the host a path of the view comes from; "" where it comes
// from nowhere.
func (p *planner) hostPath(name string) string {
	at := p.places[name]
	if at == nil {
		at = p.over(name)
	}
	switch {
	case at == nil && p.plan.Root == HostRoot:
		return name
	case at == nil:
		return ""
	case at.Source == "":
		return ""
	}
	return path.Join(at.Source, strings.TrimPrefix(name, at.Path))
}

// views are where a path of the host's is seen inside.
func (p *planner) views(name string) []string {
	var out []string
	if p.plan.Root == HostRoot && p.within(name) == nil {
		out = append(out, name)
	}
	for _, at := range p.places {
		if at.Source == "" || name != at.Source && !below(name, at.Source) {
			continue
		}
		if inside := path.Join(at.Path, strings.TrimPrefix(name, at.Source)); p.within(inside) == at {
			out = append(out, inside)
		}
	}
	slices.Sort(out)
	return out
}

// check makes sure that nothing has to be made on the host to mount on.
func (p *planner) check() error {
	for _, at := range p.sorted() {
		over := p.over(at.Path)
		if over == nil && p.plan.Root == NoRoot || over != nil && over.Kind == KindTmpfs {
			continue // it is made there, in memory
		}
		name, look := at.Path, p.host.Stat
		switch {
		case over != nil && over.Kind == KindFile:
			return &Error{Op: at.Flag, Err: fmt.Errorf("%s is a file", over.Path)}
		case over != nil:
			name = path.Join(over.Source, strings.TrimPrefix(at.Path, over.Path))
		case p.Tree != nil:
			look = p.Tree.Lstat
		}
		st, err := look(name)
		if err == nil {
			isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
			if isDir != p.wantsDir(at) && at.Flag == "" {
				delete(p.places, at.Path)
				continue
			}
			if isDir != p.wantsDir(at) {
				return &Error{Op: at.Flag, Err: fmt.Errorf("%s is there, and one is a file and the other a directory", name), Help: "name another place"}
			}
			continue
		}
		if over == nil && p.Tree != nil {
			continue // it is made there, in memory
		}
		if at.Flag == "" {
			delete(p.places, at.Path) // nothing to hide
			continue
		}
		return &Error{Op: at.Flag, Err: fmt.Errorf("%s is not there to mount on, and is not made: it is the host's", name), Help: "make it, or name a place below " + p.plan.Home + " or /tmp"}
	}
	return nil
}

func (p *planner) wantsDir(at Place) bool {
	switch at.Kind {
	case KindTmpfs, KindOverlay, KindShield:
		return true
	case KindFile:
		return false
	}
	return p.isDir(at.Source)
}

// sorted gives the places, parents first.
func (p *planner) sorted() []Place {
	out := make([]Place, 0, len(p.places))
	for _, at := range p.places {
		out = append(out, *at)
	}
	slices.SortFunc(out, func(a, b Place) int { return strings.Compare(a.Path, b.Path) })
	return out
}
