package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cwd adds the current directory, unless something that was asked for holds it.
func (p *planner) cwd() error {
	dir, err := p.host.Real(p.Facts.Cwd)
	if err != nil {
		return &Error{Op: "enter the current directory", Err: err, Help: "cd to another one"}
	}
	p.plan.Cwd = dir
	mode := p.Options.Cwd
	kinds := map[string]Kind{"": KindOverlay, Overlay: KindOverlay, RW: KindRW, RO: KindRO}
	kind, known := kinds[mode]
	switch {
	case mode == None:
		p.plan.Cwd = p.plan.Home
		if p.hostPath(dir) != "" && p.within(dir) == nil {
			p.plan.Cwd = "/"
		}
		return nil
	case !known:
		return &Error{Op: "--cwd " + mode, Err: errors.New("there is no such choice"), Help: "overlay, rw, ro or none"}
	}
	held := p.within(dir)
	switch {
	case held != nil && held.Flag != "" && held.Flag != "--home real":
		if mode == "" {
			return nil // as that says
		}
	case mode == "" && (dir == "/" || p.places[dir] != nil && p.places[dir].Kind == KindTmpfs):
		if dir != "/" {
			p.note("cd to a directory in it, or say --cwd overlay", "the current directory %s is empty inside", dir)
		}
		return nil
	case dir == "/":
		return &Error{Op: "--cwd " + mode, Err: errors.New("the current directory is the root"), Help: "cd to another one"}
	}
	flag := ""
	if mode != "" {
		flag = "--cwd " + mode
	}
	at := Place{Path: dir, Kind: kind, Source: dir, Flag: flag, Why: "the current directory"}
	if flag == "" {
		p.add(at)
		return nil
	}
	return p.set(at)
}

// within is the place that a path is or is in.
func (p *planner) within(name string) *Place {
	if at := p.places[name]; at != nil {
		return at
	}
	return p.over(name)
}

// shieldable says whether a directory can be seen through an overlay, so that no
// socket in it can be connected to.
func (p *planner) shieldable(name string) bool {
	ok, _ := p.mounts.Lower(name)
	return ok && p.Facts.Empty != "" && !below(p.Facts.Empty, name) && p.isDir(name) && len(p.mounts.Below(name)) == 0
}

// most entries of a directory that is taken apart.
const splitMax = 512

// layers numbers the overlays. As a lower the kernel refuses a directory with a mount
// below it, whatever lies on that inside: such a directory is shown read-only, and those
// in it without mounts become overlays of their own.
func (p *planner) layers() error {
	for _, at := range p.sorted() {
		if at.Kind == KindRO && at.Flag != "" && p.shieldable(at.Source) {
			p.places[at.Path].Kind = KindShield
		}
		if at.Kind != KindOverlay {
			continue
		}
		if err := p.lower(at); err != nil {
			return err
		}
	}
	p.plan.Places = p.sorted()
	for i := range p.plan.Places {
		if at := &p.plan.Places[i]; at.Kind == KindOverlay {
			at.Layer = len(p.plan.Layers)
			p.plan.Layers = append(p.plan.Layers, at.Source)
		}
	}
	return nil
}

func (p *planner) lower(at Place) error {
	op := at.Flag
	if op == "" {
		op = "lay an overlay over the current directory"
	}
	if ok, fstype := p.mounts.MayBeLower(at.Source); !ok {
		help := "--cwd ro or --cwd rw, --ro or --rw"
		if nowhereElse(at.Source) != "" {
			help = "cd to another directory, or say --cwd none" // those are the sandbox's own
		}
		return &Error{Op: op, Err: fmt.Errorf("%s is on %s, which the kernel takes for no overlay", at.Source, fstype), Help: help}
	}
	p.noteGroup(at.Source)
	below := p.mounts.Below(at.Source)
	if len(below) == 0 {
		return nil
	}
	p.note("say --rw or --ro of what is to be written", "%s has mounts below it (%s): files in it are read-only, directories without mounts copy-on-write", at.Source, below[0])
	return p.split(at)
}

// noteGroup warns of a directory of the caller's that belongs to another group than the
// one that the sandbox has a number for: the kernel copies nothing of such a group up
// (ovl_copy_up: EOVERFLOW), and a user namespace made without privilege maps no other
// group than the effective one (user_namespaces(7)).
func (p *planner) noteGroup(dir string) {
	st, err := p.host.Stat(dir)
	if err != nil || st.UID != p.UID || st.GID == p.GID {
		return
	}
	name, hint := p.host.GroupName(st.GID), "--cwd rw or --rw lets the command change the files themselves"
	if name != "" && slices.Contains(p.Groups, st.GID) {
		hint = "sg " + name + " -c 'coracle sandbox …' runs it with that group; " + hint
	}
	p.note(hint, "%s belongs to the group %s and not to yours: what is in it and belongs to that group cannot be changed in copies (\"Value too large for defined data type\")", dir, cmp.Or(name, strconv.FormatUint(uint64(st.GID), 10)))
}

func (p *planner) split(at Place) error {
	entries, err := p.host.ReadDir(at.Source, splitMax+1)
	if err == nil && len(entries) > splitMax {
		err = fmt.Errorf("it has mounts below it and more than %d entries", splitMax)
	}
	if err != nil {
		return &Error{Op: at.Flag, Err: fmt.Errorf("take %s apart: %w", at.Source, err), Help: "--cwd ro or --cwd rw, --ro or --rw"}
	}
	p.add(Place{Path: at.Path, Kind: KindRO, Source: at.Source, Flag: at.Flag, Why: at.Why + ", with mounts below it"})
	for _, e := range entries {
		sub := Place{Path: path.Join(at.Path, e.Name), Kind: KindOverlay, Source: path.Join(at.Source, e.Name), Flag: at.Flag, Why: at.Why}
		if e.Type != unix.S_IFDIR || p.places[sub.Path] != nil {
			continue
		}
		if ok, _ := p.mounts.MayBeLower(sub.Source); !ok {
			continue
		}
		if len(p.mounts.Below(sub.Source)) > 0 {
			if err := p.split(sub); err != nil {
				return err
			}
			continue
		}
		p.add(sub)
	}
	return nil
}

// below says whether name is in dir.
func below(name, dir string) bool { return strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/") }
