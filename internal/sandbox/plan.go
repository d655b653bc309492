package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// Kind says what is at a path inside.
type Kind string

// The kinds of places.
const (
	KindTmpfs   Kind = "tmpfs"   // empty, in memory, on the scratch
	KindRO      Kind = "ro"      // the host's, read-only
	KindRW      Kind = "rw"      // the host's
	KindOverlay Kind = "overlay" // the host's, with changes kept apart
	KindShield  Kind = "shield"  // the host's through an overlay without changes: sockets in it cannot be connected to
	KindFile    Kind = "file"    // contents of the caller's
)

// Place is one path of the view. Parents come before their children.
type Place struct {
	Path   string // inside
	Kind   Kind
	Source string // on the host; "" for tmpfs and file
	Mode   uint32 // of a tmpfs
	Flag   string // that asked for it; "" where nobody did
	Why    string // for --explain
	Data   []byte // of a file
	Layer  int    // of an overlay: its number
}

// Plan is the view and what else holds.
type Plan struct {
	Root          string  // host, none, or the image or directory as typed
	Places        []Place // sorted by path
	Masked        []Mask
	Layers        []string // host directories whose changes are kept apart
	Cwd           string   // where the command starts
	Home          string   // that it is told of
	Homes         []string // and all that are the caller's, without links
	Env           []string
	Watched       []string // files that other programs execute, and that are not there yet: see protect.go
	writable      []repositoriesOf
	Notes         []Note // said once
	Limits        Limits
	Network       Network
	Seccomp       string // as in Options
	Allow32       bool   // as in Options, and the next three
	FilterEscapes bool
	Hostname      string
	TimeOffsets   []string
	Command       []string
	UID           uint32
	GID           uint32
	facts         Facts
}

// Mask is a path that is there and not to be seen.
type Mask struct{ Path, Why string }

// Note is a line to be said once, and what to type.
type Note struct{ Text, Hint string }

type planner struct {
	Options
	Facts
	host   Host
	mounts fuse.HostMounts
	homes  []string // $HOME and that of the user database, without links
	plan   Plan
	places map[string]*Place
}

// New plans.
func New(o Options, f Facts, host Host) (Plan, error) {
	p := &planner{Options: o, Facts: f, host: host, places: map[string]*Place{}}
	p.plan = Plan{Command: o.Command, Limits: o.Limits, Network: o.Network, Seccomp: o.Seccomp, Allow32: o.Allow32, FilterEscapes: o.FilterEscapes, Hostname: o.Hostname, TimeOffsets: o.TimeOffsets, UID: f.UID, GID: f.GID, Root: o.Root, facts: f}
	if p.plan.Root == "" {
		p.plan.Root = HostRoot
	}
	var err error
	if p.mounts, err = host.Mounts(); err != nil {
		return Plan{}, fmt.Errorf("plan the sandbox: %w", err)
	}
	for _, step := range []func() error{p.root, p.base, p.asked, p.names, p.cwd, p.conceal, p.protect, p.check, p.layers, p.sockets} {
		if err := step(); err != nil {
			return Plan{}, err
		}
	}
	p.environment()
	p.plan.Homes = p.homes
	return p.plan, nil
}

// root looks at a directory that is to be the root: as a lower the kernel refuses one
// with a mount below it.
func (p *planner) root() error {
	if p.Tree == nil || p.Tree.Dir() == "" {
		return nil
	}
	dir := p.Tree.Dir()
	if ok, fstype := p.mounts.MayBeLower(dir); !ok {
		return &Error{Op: "--root " + p.plan.Root, Err: fmt.Errorf("it is on %s, which the kernel takes for no overlay", fstype), Help: "copy it to a local disk"}
	}
	if below := p.mounts.Below(dir); len(below) > 0 {
		return &Error{Op: "--root " + p.plan.Root, Err: fmt.Errorf("%s is mounted below it, and the kernel takes it for no overlay", below[0]), Help: "unmount that; this machine's own root is --root host"}
	}
	return nil
}

// real is a path as typed, absolute and without links.
func (p *planner) real(flag, name string) (string, error) {
	full := p.abs(name)
	got, err := p.host.Real(full)
	if err == nil {
		return got, nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	help := "name a path that is there"
	if errors.Is(err, unix.EACCES) {
		help = "a directory on the way is closed to you, and so to the command: it can be left out"
	}
	return "", &Error{Op: flag + " " + name, Err: err, Help: help}
}

func (p *planner) abs(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(p.Facts.Cwd, name)
}

func (p *planner) note(hint, format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, Note{fmt.Sprintf(format, args...), hint})
}

func (p *planner) add(at Place) {
	p.places[at.Path] = &at
}

// isDir says whether the host has a directory of that very name.
func (p *planner) isDir(name string) bool {
	st, err := p.host.Stat(name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// look says what the root has at a path, which may be a link.
func (p *planner) look(name string) (fuse.Stat, error) {
	if p.Tree != nil {
		return p.Tree.Lstat(name)
	}
	return p.host.Stat(name)
}

// resolve is a path of the root without links.
func (p *planner) resolve(name string) (string, error) {
	switch {
	case p.Tree != nil:
		return p.Tree.Resolve(name), nil
	case p.plan.Root == NoRoot:
		return name, nil
	}
	return p.host.Real(name)
}

// base is what every sandbox has.
func (p *planner) base() error {
	empty := func(name string, mode uint32, why string) {
		if st, err := p.look(name); p.plan.Root != NoRoot && (p.Tree == nil || err == nil) && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return // a link, which leads somewhere else, or nothing
		}
		p.add(Place{Path: name, Kind: KindTmpfs, Mode: mode, Why: why})
	}
	empty("/tmp", 0o1777, "temporary files, in memory")
	empty("/var/tmp", 0o1777, "temporary files, in memory")
	empty("/run", 0o755, "sockets and states of the host's services")
	if p.plan.Root == HostRoot {
		empty("/var/run", 0o755, "sockets and states of the host's services")
	}
	p.findHomes()
	p.shields()
	for _, home := range p.homes {
		switch p.Options.Home {
		case "", Empty:
			p.add(Place{Path: home, Kind: KindTmpfs, Mode: 0o755, Why: "the home directory, empty"})
		case Overlay:
			p.add(Place{Path: home, Kind: KindOverlay, Source: home, Flag: "--home overlay", Why: "the home directory"})
		case Real:
			if over := p.over(home); p.plan.Root != HostRoot || over != nil && over.Kind == KindTmpfs {
				p.add(Place{Path: home, Kind: KindRO, Source: home, Flag: "--home real", Why: "the home directory"})
			}
		default:
			return &Error{Op: "--home " + p.Options.Home, Err: errors.New("there is no such choice"), Help: "empty, real or overlay"}
		}
	}
	return nil
}

// findHomes finds the directories that hold the caller's own things: a HOME that
// was set to something else does not bring the other one into sight.
func (p *planner) findHomes() {
	for _, dir := range []string{p.Facts.home(), p.Facts.Home} {
		if !path.IsAbs(dir) {
			continue
		}
		real, err := p.host.Real(path.Clean(dir))
		if err != nil || real == "/" || !p.isDir(real) {
			continue
		}
		if p.plan.Home == "" && (dir == p.Facts.home() || p.Facts.home() == "") {
			p.plan.Home = real
		}
		if !slices.Contains(p.homes, real) && p.places[real] == nil {
			p.homes = append(p.homes, real)
		}
	}
	if p.plan.Home == "" {
		p.plan.Home = "/tmp"
	}
}

// names sees to it that names can be looked up. What /etc/resolv.conf leads to is
// often in /run.
func (p *planner) names() error {
	if p.Network.Mode != PrivateNetwork && p.Network.Mode != HostNetwork {
		return nil
	}
	real, err := p.resolve("/etc/resolv.conf")
	if err != nil {
		p.note("make one on the host", "there is no /etc/resolv.conf: no name can be looked up")
		return nil
	}
	if p.places[real] != nil {
		return nil // as that says
	}
	if p.Network.Mode == PrivateNetwork {
		p.add(Place{Path: real, Kind: KindFile, Data: []byte(p.Network.ResolvConf), Why: "the network's name server"})
		return nil
	}
	source, err := p.host.Real("/etc/resolv.conf")
	if err == nil && p.hostPath(real) != source {
		p.add(Place{Path: real, Kind: KindRO, Source: source, Why: "the host's name servers"})
	}
	return nil
}
