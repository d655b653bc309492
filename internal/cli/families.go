package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// family is the first word of commands that have two: `volume ls`. Each such
// command is an entry of its own in the table of contents.
type family struct {
	name    string
	summary string
}

// families are in the order of `coracle help`.
func families() []family {
	return []family{
		{"container", "containers, by docker's and podman's long names"},
		{"healthcheck", "whether containers are well"},
		{"image", "images, by docker's and podman's long names"},
		{"volume", "data that outlives containers"},
		{"network", "containers that reach each other"},
		{"profile", "flags of sandboxes, by a name"},
		{"secret", "what only a container is to know"},
		{"system", "this program and its machine, by docker's and podman's long names"},
	}
}

// verbAliases are other words for commands, as docker and podman have them,
// beside their long forms (alias.go).
func verbAliases() map[string]string {
	return map[string]string{
		"container list": "ps",
		"container ls":   "ps",
		"image list":     "images",
		"image ls":       "images",
		"network list":   "network ls",
		"network remove": "network rm",
		"resume":         "unpause",
		"umount":         "unmount",
		"image umount":   "unmount",
		"secret list":    "secret ls",
		"secret remove":  "secret rm",
		"volume list":    "volume ls",
		"volume remove":  "volume rm",
	}
}

func findFamily(name string) (family, bool) {
	all := families()
	i := slices.IndexFunc(all, func(f family) bool { return f.name == name })
	if i < 0 {
		return family{}, false
	}
	return all[i], true
}

// members are the family's commands, named by their second words; other words
// for the same command come after the first.
func (f family) members() []entry {
	var out []entry
	for _, e := range commands() {
		if second, ok := strings.CutPrefix(e.name, f.name+" "); ok {
			e.name = second
			out = append(out, e)
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(aliases(commands()))) {
		second, ok := strings.CutPrefix(alias, f.name+" ")
		if !ok {
			continue
		}
		if e, err := findCommand(alias); err == nil {
			e.name = second
			out = append(out, e)
		}
	}
	return out
}

// secondWord completes the command's name where its first word is a family:
// global flags may stand between the two.
func (l *lead) secondWord() error {
	if _, ok := findFamily(l.verb); !ok {
		return nil
	}
	next, err := splitVerb(l.rest)
	if err != nil {
		return err
	}
	l.flags = append(l.flags, next.flags...)
	l.version = l.version || next.version
	l.rest = next.rest
	switch {
	case next.help:
		l.help = true
	case next.verb == "help" && len(next.rest) > 0: // volume help ls
		l.verb, l.rest = l.verb+" "+next.rest[0], []string{"--help"}
	case next.verb == "help":
		l.help = true
	case next.verb != "":
		l.verb += " " + next.verb
	}
	return nil
}

// writeHelp is `coracle FAMILY --help`.
func (f family) writeHelp(w io.Writer) {
	fmt.Fprintf(w, "Usage: coracle %s COMMAND [flags] [arguments]\n\n%s%s.\n\nCommands:\n",
		f.name, strings.ToUpper(f.summary[:1]), f.summary[1:])
	for _, e := range f.members() {
		fmt.Fprintf(w, "  %-10s %s\n", e.name, e.summary)
	}
	fmt.Fprintf(w, "\n\"coracle %s COMMAND --help\" explains a command and its flags.\n", f.name)
}
