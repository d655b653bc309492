package sandbox

import (
	"path"
	"slices"
	"strings"

	"coracle/internal/denial"
)

// Use is what a command has done with one path of the caller's home.
type Use struct {
	Path string
	// Looked, Read (a directory: listed), Execute, Write: all that was done.
	Looked, Read, Execute, Write bool
	// Host and Dir say what the host has there.
	Host, Dir bool
}

// Lesson is what a run under observation has shown.
type Lesson struct {
	Plan    *Plan
	Uses    []Use
	Further int      // paths that there was no room for
	Links   []string // in the home, by which something was named
	Denials []denial.Denial
	Allowed []string // rules for destinations that it has talked to
	Written bool     // something in the current directory
	Given   []Setting
}

// Setting is a line of a profile. Of a list, several have the same key.
type Setting struct {
	Key, Value string
	List       bool
	Note       string
	// Off: it is proposed as a comment, for somebody has to think about it first.
	Off bool
}

const (
	roTry   = "ro-try"
	overlay = "overlay"
	tmpfs   = "tmpfs"
	allow   = "allow-net"
)

// fewFiles of one directory are named one by one.
const fewFiles = 4

// Propose gives the smallest profile with which the command could do again what it
// did, as far as that could be seen. Credentials, sockets and what other programs
// execute are only named.
func (l Lesson) Propose() []Setting {
	p := proposal{Lesson: l, out: slices.Clone(l.Given)}
	if l.Plan.over(l.Plan.Cwd) != nil && !p.given("cwd") && !l.Written && l.Plan.Cwd != "/" && !slices.Contains(l.Plan.Homes, l.Plan.Cwd) {
		p.add(Setting{Key: "cwd", Value: RO, Note: "it changes nothing there"})
	}
	p.home()
	p.refused()
	for _, rule := range l.Allowed {
		p.add(Setting{Key: allow, Value: rule, List: true, Note: "it has talked to it"})
	}
	if !p.has(allow) && !p.given("network") && !p.given("allow-net-file") && !p.given("deny-net") {
		p.add(Setting{Key: "network", Value: NoNetwork, Note: "it has talked to nobody"})
	}
	return p.out
}

type proposal struct {
	Lesson
	out []Setting
}

func (p *proposal) add(s Setting) {
	for i, have := range p.out {
		if have.Key != s.Key || have.Off != s.Off {
			continue
		}
		if !s.List || have.Value == s.Value {
			p.out[i].Note = s.Note
			return
		}
	}
	p.out = append(p.out, s)
}

func (p *proposal) given(key string) bool {
	return slices.ContainsFunc(p.Given, func(s Setting) bool { return s.Key == key })
}

func (p *proposal) has(key string) bool {
	return slices.ContainsFunc(p.out, func(s Setting) bool { return s.Key == key && !s.Off })
}

// home proposes what of the home directory is to be seen, which is empty otherwise.
func (p *proposal) home() {
	if p.given("home") {
		return
	}
	if name, why := p.whole(); name != "" {
		p.add(Setting{Key: "home", Value: overlay, Note: why + " " + p.Plan.short(name) + "; credentials stay hidden, and what it writes is kept for review"})
		return
	}
	dirs := p.written()
	for _, d := range dirs {
		p.add(d)
	}
	names := p.read(dirs)
	for _, name := range names {
		p.add(Setting{Key: roTry, Value: name, List: true})
	}
	p.secrets(names, dirs)
}

// whole names what cannot be had with an empty home: a file in the home itself that it
// writes to, or a link there.
func (p *proposal) whole() (name, why string) {
	for _, link := range p.Links {
		if slices.Contains(p.Plan.Homes, path.Dir(link)) {
			return link, "a link cannot be shown by itself:"
		}
	}
	for _, u := range p.Uses {
		if u.Write && u.Host && !u.Dir && slices.Contains(p.Plan.Homes, path.Dir(u.Path)) && !p.Plan.Credential(u.Path) {
			return u.Path, "it writes to"
		}
	}
	return "", ""
}

// written proposes the directories that are there already and that it writes in: with
// what the host has in them, if it used any of that, else empty ones. In those that it
// makes itself it needs nothing.
func (p *proposal) written() []Setting {
	host := map[string]bool{} // directories that the host has
	for _, u := range p.Uses {
		if u.Host && u.Dir {
			host[u.Path] = true
		}
	}
	var dirs []string
	for _, u := range p.Uses {
		if !u.Write {
			continue
		}
		at := u.Path
		if !(u.Host && u.Dir) {
			at = path.Dir(at)
		}
		for !host[at] && !slices.Contains(p.Plan.Homes, at) && at != "/" {
			at = path.Dir(at)
		}
		if at != "/" && !slices.Contains(p.Plan.Homes, at) && !p.Plan.Credential(at) {
			dirs = append(dirs, at)
		}
	}
	slices.Sort(dirs)
	var out []Setting
	for _, dir := range slices.Compact(dirs) {
		if n := len(out); n > 0 && out[n-1].Key == overlay && below(dir, out[n-1].Value) {
			continue
		}
		s := Setting{Key: tmpfs, Value: dir, List: true, Note: "it writes there, in memory; rw keeps it"}
		if p.usesOf(dir) && !p.Plan.HoldsCredentials(dir) {
			s = Setting{Key: overlay, Value: dir, List: true, Note: "it reads and writes there; what it writes is kept for review"}
		}
		out = append(out, s)
	}
	return out
}

// usesOf says whether it has used what the host has in a directory.
func (p *proposal) usesOf(dir string) bool {
	return slices.ContainsFunc(p.Uses, func(u Use) bool {
		return u.Host && (below(u.Path, dir) && !u.Dir || u.Path == dir && u.Read)
	})
}

// read gives the files and directories that it reads, without those that an overlay shows.
func (p *proposal) read(shown []Setting) []string {
	var names []string
	add := func(name string) {
		covered := slices.ContainsFunc(shown, func(s Setting) bool { return s.Key == overlay && (s.Value == name || below(name, s.Value)) })
		if !covered && !slices.Contains(p.Plan.Homes, name) && !p.Plan.Credential(name) {
			names = append(names, name)
		}
	}
	for _, u := range p.Uses {
		if u.Host && (u.Read || u.Execute || u.Looked && !u.Dir) && !Secretive(u.Path) {
			if u.Dir && p.Plan.HoldsCredentials(u.Path) {
				continue // its listing is not worth that
			}
			add(u.Path)
		}
	}
	for _, link := range p.Links {
		if dir := path.Dir(link); !p.Plan.HoldsCredentials(dir) {
			add(dir)
		}
	}
	return p.few(names)
}

// secrets names what it read and what may be a secret: it is not shown, unless it is in
// a directory that is.
func (p *proposal) secrets(names []string, dirs []Setting) {
	for _, u := range p.Uses {
		if !u.secret() {
			continue
		}
		s := Setting{Key: roTry, Value: u.Path, List: true, Off: true, Note: "it read this, whose name says that it may be a secret"}
		if slices.ContainsFunc(names, func(n string) bool { return below(u.Path, n) }) || slices.ContainsFunc(dirs, func(d Setting) bool { return d.Key == overlay && below(u.Path, d.Value) }) {
			s.Key, s.Note = "hide", "it read this, whose name says that it may be a secret: so it would not"
		}
		p.add(s)
	}
}

func (u Use) secret() bool { return u.Host && !u.Dir && (u.Read || u.Execute) && Secretive(u.Path) }

// few puts a directory in the place of many files in it, where that shows no credentials.
func (p *proposal) few(names []string) []string {
	for range 64 { // directories above one another
		slices.Sort(names)
		names = slices.Compact(names)
		var kept []string
		for _, n := range names {
			if k := len(kept); k == 0 || !below(n, kept[k-1]) {
				kept = append(kept, n)
			}
		}
		count := map[string]int{}
		for _, n := range kept {
			count[path.Dir(n)]++
		}
		changed := false
		for i, n := range kept {
			dir := path.Dir(n)
			secret := slices.ContainsFunc(p.Uses, func(u Use) bool { return u.secret() && below(u.Path, dir) })
			if count[dir] > fewFiles && !secret && !slices.Contains(p.Plan.Homes, dir) && !p.Plan.HoldsCredentials(dir) {
				kept[i], changed = dir, true
			}
		}
		if names = kept; !changed {
			break
		}
	}
	return names
}

// refused proposes what would allow what was refused.
func (p *proposal) refused() {
	for _, d := range p.Denials {
		flag, value, ok := strings.Cut(strings.TrimPrefix(d.Flag, "--"), " ")
		if !ok || flag == "seccomp" {
			continue
		}
		s := Setting{Key: flag, Value: value, List: true, Note: tookFor(d)}
		if flag == "ro" || flag == "rw" {
			s.Value = d.What // not as a shell takes it
		}
		switch {
		case flag == "cwd", flag == "loopback":
			s.List = false
			p.out = slices.DeleteFunc(p.out, func(have Setting) bool { return have.Key == flag })
		case flag == "allow-net":
			if value == "NAME" || p.portOf(value) {
				continue
			}
			if d.Danger != "" {
				s.Note = "mind: " + d.Danger
			}
		case d.Wall == denial.Hidden && flag == "ro" && d.Danger == "":
			s.Key = roTry
		case d.Wall == denial.ReadOnly && !p.Plan.HoldsCredentials(p.dirOf(d)) && p.dirOf(d) != "/":
			s.Key, s.Value = overlay, p.dirOf(d)
			s.Note = "it was to be written there, and failed; what it writes is kept for review"
		default:
			s.Off, s.Note = true, d.Danger
			if flag == "allow-unix" {
				s.Value = d.What
			}
		}
		p.add(s)
	}
}

// portOf says whether there is a flag for a port of a name that was only asked for.
func (p *proposal) portOf(name string) bool {
	return slices.ContainsFunc(p.Denials, func(d denial.Denial) bool { return strings.HasPrefix(d.Flag, "--allow-net "+name+":") }) ||
		slices.ContainsFunc(p.Allowed, func(rule string) bool { return strings.HasPrefix(rule, name+":") })
}

// dirOf is the directory in which something was to be written.
func (p *proposal) dirOf(d denial.Denial) string {
	return path.Dir(d.What)
}

func tookFor(d denial.Denial) string {
	switch d.Action {
	case denial.Look:
		return "it was looked for"
	case denial.Execute:
		return "it was to be executed"
	case denial.Write, denial.Remove:
		return "it was to be changed"
	case denial.Connect, denial.Resolve:
		return "it was to be talked to"
	case denial.Listen:
		return "it was to listen"
	}
	return "it was to be read"
}

// InHome says whether a path is of the home as such: not of the current directory, nor
// of anything that was asked for.
func (pl *Plan) InHome(name string) bool {
	at := pl.over(name)
	return at != nil && slices.Contains(pl.Homes, at.Path)
}

// InCwd says whether a path is of the current directory.
func (pl *Plan) InCwd(name string) bool {
	return !slices.Contains(pl.Homes, pl.Cwd) && (name == pl.Cwd || below(name, pl.Cwd))
}

// short is a path with ~ in the place of the home.
func (pl *Plan) short(name string) string {
	if rest, ok := strings.CutPrefix(name, pl.Home+"/"); ok && pl.Home != "/tmp" {
		return "~/" + rest
	}
	return name
}

// Short is short, for those who write a profile.
func (l Lesson) Short(name string) string { return l.Plan.short(name) }
