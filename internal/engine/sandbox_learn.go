package engine

import (
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/internal/denial"
	"coracle/internal/sandbox"
	"coracle/netns/egress"

	"golang.org/x/sys/unix"
)

// lesson gathers what a run under observation does.
type lesson struct {
	uses    map[string]*sandbox.Use
	order   []*sandbox.Use
	further int
	named   map[string]bool // in the home, where a link may be on the way
	written bool
}

// mostUses bounds the paths that are kept apart.
const mostUses = 1 << 14

// learnt hears of each access.
func (l *lesson) learnt(plan *sandbox.Plan, a denial.Access, refused bool) {
	writes := a.Action == denial.Write || a.Action == denial.Remove
	if plan.InCwd(a.Path) {
		l.written = l.written || writes && !refused && (a.Exists || a.Parent)
		return
	}
	if a.Named != "" && a.Exists && plan.InHome(a.Named) && len(l.named) < mostUses {
		l.named[a.Named] = true
	}
	if refused || a.Reopened || !plan.InHome(a.Path) {
		return
	}
	u := l.uses[a.Path]
	if u == nil {
		if len(l.order) >= mostUses {
			l.further++
			return
		}
		u = &sandbox.Use{Path: a.Path}
		l.uses[a.Path] = u
		l.order = append(l.order, u)
	}
	switch a.Action {
	case denial.Read:
		u.Read = true
	case denial.Execute:
		u.Execute = true
	case denial.Write, denial.Remove:
		u.Write = true
	default:
		u.Looked = true
	}
}

// teach fills in what the run has shown.
func (s *boxed) teach(flows *egress.Summary, denials []denial.Denial) {
	to, l := s.o.Learned, s.witnessed.lesson
	if to == nil || l == nil {
		return
	}
	to.Plan, to.Denials, to.Written, to.Further = &s.plan, denials, l.written, l.further
	l.interpreters(&s.plan)
	l.parents(&s.plan)
	for _, u := range l.order {
		var st unix.Stat_t
		if unix.Lstat(u.Path, &st) == nil {
			u.Host, u.Dir = true, st.Mode&unix.S_IFMT == unix.S_IFDIR
		}
		to.Uses = append(to.Uses, *u)
	}
	to.Links = l.links(&s.plan)
	if flows == nil {
		return
	}
	for _, f := range flows.Flows {
		if rule := ruleOf(f); rule != "" && f.Verdict == "allowed" && !slices.Contains(to.Allowed, rule) {
			to.Allowed = append(to.Allowed, rule)
		}
	}
}

// interpreters adds those of scripts that were executed: the kernel opens them itself.
func (l *lesson) interpreters(plan *sandbox.Plan) {
	for _, u := range slices.Clone(l.order) {
		if name := interpreterOf(u.Path); u.Execute && name != "" {
			real, err := filepath.EvalSymlinks(name)
			if err != nil {
				continue
			}
			named := ""
			if real != name {
				named = name
			}
			l.learnt(plan, denial.Access{Action: denial.Execute, Path: real, Named: named, Exists: true}, false)
		}
	}
}

func interpreterOf(name string) string {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	var head [256]byte
	n, _ := f.Read(head[:])
	line, ok := strings.CutPrefix(string(head[:n]), "#!")
	if !ok {
		return ""
	}
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(line)
	if len(words) == 0 || !path.IsAbs(words[0]) {
		return ""
	}
	return words[0]
}

// parents adds the directories in which something was written, as far as the host has them.
func (l *lesson) parents(plan *sandbox.Plan) {
	for _, u := range slices.Clone(l.order) {
		for dir := path.Dir(u.Path); u.Write && plan.InHome(dir) && !slices.Contains(plan.Homes, dir); dir = path.Dir(dir) {
			l.learnt(plan, denial.Access{Action: denial.Look, Path: dir}, false)
		}
	}
}

// links are those of the host's home on the way to what was used.
func (l *lesson) links(plan *sandbox.Plan) []string {
	var out []string
	for name := range l.named {
		for at := name; plan.InHome(at) && !slices.Contains(plan.Homes, at); at = path.Dir(at) {
			var st unix.Stat_t
			if unix.Lstat(at, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && !slices.Contains(out, at) {
				out = append(out, at)
			}
		}
	}
	slices.Sort(out)
	return out
}

// ruleOf is a rule of --allow-net for a flow.
func ruleOf(f egress.Total) string {
	name := f.Name
	if name == "" {
		name = f.Address
	}
	switch {
	case name == "":
		return ""
	case f.Port == 0:
		return name
	}
	return net.JoinHostPort(name, strconv.Itoa(int(f.Port)))
}
