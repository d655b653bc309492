package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// asked adds what flags name.
func (p *planner) asked() error {
	for _, list := range []struct {
		flag  string
		kind  Kind
		words []string
		try   bool
	}{
		{"--ro", KindRO, p.ReadOnly, false}, {"--rw", KindRW, p.ReadWrite, false},
		{"--ro-try", KindRO, p.TryReadOnly, true}, {"--rw-try", KindRW, p.TryReadWrite, true},
		{"--overlay", KindOverlay, p.Options.Overlay, false},
		{"--hide", KindTmpfs, p.Hide, false},
		{"--tmpfs", KindTmpfs, p.Tmpfs, false},
	} {
		for _, word := range list.words {
			err := p.askedFor(list.flag, list.kind, word)
			if list.try && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
		}
	}
	for _, word := range p.AllowUnix {
		if err := p.allowUnix(word); err != nil {
			return err
		}
	}
	for _, f := range p.Files {
		if err := p.set(Place{Path: p.abs(f.Dest), Kind: KindFile, Data: f.Data, Flag: "--file " + f.Dest, Why: "as given"}); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) askedFor(flag string, kind Kind, word string) error {
	at := Place{Kind: kind, Flag: flag + " " + word, Why: "as asked for"}
	switch flag {
	case "--tmpfs":
		at.Path, at.Mode = p.landing(p.abs(word)), 0o755
		return p.set(at)
	case "--hide":
		if p.Tree != nil {
			return p.hideInTree(at, word)
		}
		real, err := p.real(flag, word)
		if err != nil {
			return err
		}
		if !p.isDir(real) {
			p.plan.Masked = append(p.plan.Masked, Mask{real, at.Flag})
			return nil
		}
		at.Path, at.Mode = real, 0o755
		return p.set(at)
	}
	source, dest := splitDest(word)
	real, err := p.real(flag, source)
	if err != nil {
		return err
	}
	if kind == KindOverlay && !p.isDir(real) {
		return &Error{Op: at.Flag, Err: unix.ENOTDIR, Help: "--rw or --ro take files"}
	}
	at.Source = real
	switch {
	case dest != "":
		if why := nowhereElse(real); why != "" {
			return &Error{Op: at.Flag, Err: errors.New(why), Help: "name what is in it"}
		}
		at.Path = p.landing(dest)
	case p.plan.Root == HostRoot:
		at.Path = real
	default:
		at.Path = p.landing(p.abs(source)) // the links that lead there are not
	}
	return p.set(at)
}

// splitDest takes PATH:DEST apart. DEST begins with /; a path may have other colons.
func splitDest(word string) (source, dest string) {
	i := strings.LastIndex(word, ":/")
	if i <= 0 {
		return word, ""
	}
	return word[:i], path.Clean(word[i+1:])
}

// nowhereElse says why a directory cannot be shown at another place.
func nowhereElse(source string) string {
	for _, own := range []string{"/proc", "/dev", "/sys"} {
		if source == "/" || source == own || below(source, own) {
			return own + " of the host's would be shown, with its processes and devices"
		}
	}
	return ""
}

// landing is where a path is inside once the links on the way are followed; the end of
// it need not be there.
func (p *planner) landing(name string) string {
	switch {
	case p.Tree != nil:
		return p.Tree.Resolve(name)
	case p.plan.Root == NoRoot:
		return name
	}
	for at := name; at != "/"; at = path.Dir(at) {
		if real, err := p.host.Real(at); err == nil {
			return path.Join(real, strings.TrimPrefix(name, at))
		}
	}
	return name
}

// hideInTree is --hide for what the root has, or else the caller has shown.
func (p *planner) hideInTree(at Place, word string) error {
	at.Path, at.Mode = p.Tree.Resolve(p.abs(word)), 0o755
	st, err := p.Tree.Lstat(at.Path)
	if source := p.hostPath(at.Path); err != nil && source != "" {
		st, err = p.host.Stat(source)
	}
	switch {
	case err != nil:
		return &Error{Op: at.Flag, Err: err, Help: "name a path that is there"}
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return p.set(at)
	}
	p.plan.Masked = append(p.plan.Masked, Mask{at.Path, at.Flag})
	return nil
}

// allowUnix lets a socket be connected to.
func (p *planner) allowUnix(word string) error {
	flag := "--allow-unix " + word
	real, err := p.real("--allow-unix", word)
	if err != nil {
		return err
	}
	st, err := p.host.Stat(real)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		err = errors.New("it is no socket")
	}
	if err != nil {
		return &Error{Op: flag, Err: err, Help: "name a socket: ss -xl lists them"}
	}
	return p.set(Place{Path: real, Kind: KindRO, Source: real, Flag: flag, Why: "may be connected to"})
}

// set adds a place that was asked for: it wins over what nobody asked for.
func (p *planner) set(at Place) error {
	if at.Path == "/" {
		return &Error{Op: at.Flag, Err: errors.New("the root itself"), Help: "name what is in it, or use coracle run host, whose root takes writes"}
	}
	if other := p.places[at.Path]; other != nil && other.Flag != "" && (other.Kind != at.Kind || other.Source != at.Source) {
		return &Error{Op: at.Flag, Err: fmt.Errorf("%s asks for something else at the same place", other.Flag), Help: "leave one of them out"}
	}
	for _, own := range []string{"/proc", "/dev", "/sys"} {
		if at.Path == nodesDir && at.Source == nodesDir {
			break // see there
		}
		if at.Path == own || strings.HasPrefix(at.Path, own+"/") && !strings.HasPrefix(at.Path, "/dev/") {
			return &Error{Op: at.Flag, Err: fmt.Errorf("%s is the sandbox's own", own), Help: "leave it out"}
		}
	}
	p.add(at)
	return nil
}
