package sandbox

import (
	"fmt"
	"strings"
	"time"

	"coracle/internal/say"
)

// Rule is one thing that is enforced, and by which mechanism.
type Rule struct {
	What string `json:"what"`
	How  string `json:"how"`
}

// Document is the plan for programs.
type Document struct {
	Command []string   `json:"command"`
	Cwd     string     `json:"cwd"`
	Root    string     `json:"root"`
	Env     []string   `json:"env"`
	View    []ViewLine `json:"view"`
	Hidden  []ViewLine `json:"hidden"`
	Rules   []Rule     `json:"rules"`
	Notes   []string   `json:"notes"`
}

// ViewLine is a path inside.
type ViewLine struct {
	Path   string `json:"path"`
	As     string `json:"as,omitempty"`
	Source string `json:"source,omitempty"`
	Why    string `json:"why"`
	Flag   string `json:"flag,omitempty"`
}

// Document tells all of the plan.
func (pl *Plan) Document() Document {
	d := Document{Command: pl.Command, Cwd: pl.Cwd, Root: pl.Root, Env: pl.Env, View: []ViewLine{}, Hidden: []ViewLine{}, Rules: pl.rules(), Notes: []string{}}
	for _, at := range pl.Places {
		d.View = append(d.View, ViewLine{at.Path, at.Kind.words(), at.Source, at.Why, at.Flag})
	}
	for _, m := range pl.Masked {
		d.Hidden = append(d.Hidden, ViewLine{Path: m.Path, Why: m.Why})
	}
	for _, n := range pl.Notes {
		d.Notes = append(d.Notes, n.Text)
	}
	return d
}

func (pl *Plan) rules() []Rule {
	out := []Rule{
		{"the host's files cannot be changed", "read-only bind with all mounts below (mount_setattr), own mount namespace"},
		{"no capability, no set-id program, no other user", "user namespace with one id, no_new_privs, nosuid"},
		{"processes of the host cannot be seen or signalled", "pid namespace, own /proc"},
		pl.networkRule(),
		{"no shared memory, semaphores or names of the host's", "ipc and uts namespaces"},
		{"no kernel keys of the caller's", "session keyring of its own"},
		{"no device but null, zero, full, random, urandom, tty and its own terminals", "own /dev"},
		pl.filterRule(),
		pl.landlockRule(),
		{"nothing can be typed into the caller's terminal", "own session, own terminal or pipes, seccomp filter"},
		{"no descriptor of the caller's but 0, 1 and 2", "closed on exec"},
		{"nothing outlives the command", "pid namespace; a guard when the launcher is killed"},
	}
	out = append(out, pl.portRules()...)
	if pl.FilterEscapes {
		out = append(out, Rule{"the caller's terminal gets text, colours, moves of the cursor and erasing, no other sequences", "read and made anew by the launcher"})
	}
	if len(pl.TimeOffsets) > 0 {
		out = append(out, Rule{"its clocks are the host's and " + strings.Join(pl.TimeOffsets, ", "), "time namespace"})
	}
	l := pl.Limits
	add := func(on bool, what, how string) {
		if on {
			out = append(out, Rule{what, how})
		}
	}
	add(l.Timeout > 0, "ends after "+l.Timeout.String(), "timer: TERM, and KILL after "+time.Duration(l.Grace).String())
	add(l.CPUTime > 0, "at most "+l.CPUTime.String()+" of processor time", "cgroup or the sum over all processes; RLIMIT_CPU")
	add(l.Processes > 0, fmt.Sprintf("at most %d processes and threads", l.Processes), "RLIMIT_NPROC in its own user namespace")
	add(l.MaxFileSize > 0, fmt.Sprintf("no file larger than %d bytes", l.MaxFileSize), "RLIMIT_FSIZE")
	add(l.MaxFiles > 0, fmt.Sprintf("at most %d open files in a process", l.MaxFiles), "RLIMIT_NOFILE")
	add(l.Disk > 0, fmt.Sprintf("at most %d bytes of files", l.Disk), "size of the one tmpfs that all writes go to")
	add(l.Inodes > 0, fmt.Sprintf("at most %d files", l.Inodes), "inodes of that tmpfs")
	add(l.MaxOutput > 0, fmt.Sprintf("at most %d bytes of output", l.MaxOutput), "counted by the launcher")
	return out
}

func (pl *Plan) filterRule() Rule {
	if pl.Seccomp != "" {
		return Rule{"the system calls that " + pl.Seccomp + " allows", "seccomp filter"}
	}
	if pl.Allow32 {
		return Rule{"no nested namespaces, mounts, tracing of the kernel, io_uring, bpf, x32 calls", "seccomp filter, the same for i386's calls"}
	}
	return Rule{"no nested namespaces, mounts, tracing of the kernel, io_uring, bpf, 32-bit calls", "seccomp filter"}
}

func (pl *Plan) networkRule() Rule {
	switch n := pl.Network; {
	case n.Mode == HostNetwork:
		return Rule{"the network is the host's: nothing is refused", "nothing"}
	case n.Mode == PrivateNetwork && len(n.Rules) > 0:
		return Rule{"it talks to whom it may: " + strings.Join(n.Rules, ", "), "network namespace; all packets pass through coracle, which answers names, too"}
	case n.Mode == PrivateNetwork:
		return Rule{"it talks to all but the host's loopback", "network namespace; all packets pass through coracle"}
	}
	if pl.Network.Loopback == DenyLoopback {
		return Rule{"no network", "network namespace in which no interface is up"}
	}
	return Rule{"no network", "network namespace with a loopback only"}
}

// Explain is the plan for people: names in it are whoever's who made the files, and are
// shown without control characters.
func (pl *Plan) Explain() string {
	var b strings.Builder
	d := pl.Document()
	fmt.Fprintf(&b, "command: %s\nstarts in: %s\nroot: %s\n", strings.Join(quoted(d.Command), " "), say.Visible(d.Cwd), say.Visible(rootWords(d.Root)))
	b.WriteString("files:\n")
	width := 0
	for i := range d.View {
		d.View[i].Path = say.Visible(d.View[i].Path)
		width = max(width, len(d.View[i].Path))
	}
	for _, v := range d.View {
		why := v.Why
		if v.Flag != "" {
			why += " (" + v.Flag + ")"
		}
		fmt.Fprintf(&b, "  %-*s  %-26s %s\n", width, v.Path, v.As, say.Visible(why))
	}
	if len(d.Hidden) > 0 {
		b.WriteString("hidden:\n")
	}
	for _, v := range d.Hidden {
		fmt.Fprintf(&b, "  %s  (%s)\n", say.Visible(v.Path), say.Visible(v.Why))
	}
	b.WriteString("environment:\n")
	for _, e := range d.Env {
		fmt.Fprintf(&b, "  %q\n", e)
	}
	b.WriteString("enforced:\n")
	for _, r := range d.Rules {
		fmt.Fprintf(&b, "  %s\n      by: %s\n", say.Visible(r.What), say.Visible(r.How))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&b, "note: %s\n", say.Visible(n))
	}
	return b.String()
}

func rootWords(root string) string {
	switch root {
	case HostRoot:
		return "the host's, read-only"
	case NoRoot:
		return "empty, in memory"
	}
	return root + ", its changes in memory"
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; w == "" || say.Visible(w) != w || strings.ContainsAny(w, " \t\n'\"\\$`*?[]{}()<>|&;#~!\x1b") {
			out[i] = fmt.Sprintf("%q", w)
		}
	}
	return out
}
