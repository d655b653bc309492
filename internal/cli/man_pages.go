package cli

import (
	"strings"

	"coracle/internal/oci"

	"github.com/pelletier/go-toml/v2/unstable"
)

// commandPage is the page of one command.
func commandPage(name string, e entry) string {
	p := newPage(name, "1", e.summary)
	p.section("SYNOPSIS")
	p.line(`\fBcoracle ` + manText(e.name) + `\fR ` + manText(e.usage))
	p.section("DESCRIPTION")
	cmd := e.make()
	if h, ok := cmd.(interface{ Help() string }); ok {
		p.prose(h.Help())
	} else {
		p.plain(strings.ToUpper(e.summary[:1]) + e.summary[1:] + ".")
	}
	if others := otherWords(e.name, commands()); len(others) > 0 {
		p.text("Other words for it: " + strings.Join(others, ", ") + ".")
	}
	p.section("OPTIONS")
	p.flagTerms(fieldsOf(e.make()))
	p.term([]string{"-h", "--help"}, "", "Explain the command.")
	p.text("The global flags of coracle(1) are taken here, too. Defaults of all flags can be changed: see coracle.toml(5).")
	p.exitStatus(e)
	p.seeAlso(append(siblings(e), "coracle", "coracle.toml.5"))
	return p.String()
}

func (p *page) exitStatus(e entry) {
	p.section("EXIT STATUS")
	switch e.name {
	case "run", "exec", "unshare":
		p.plain("The exit status of the command, or 128 and the number of the signal that ended it; 125 where coracle failed, " +
			"126 where the command could not be executed, 127 where it was not found.")
	default:
		p.plain("0, or 125 where something failed.")
	}
}

// siblings are the pages of the commands that stand under the same topic.
func siblings(e entry) []string {
	all := append(commands(), ociEntry())
	first, _, _ := strings.Cut(e.name, " ")
	var out []string
	for _, list := range byTopic(all) {
		mine := false
		var names []string
		for _, other := range list {
			mine = mine || other.name == first
			if _, family := findFamily(other.name); !family && other.name != e.name {
				names = append(names, pageName(other))
			}
		}
		if mine {
			out = append(out, names...)
		}
	}
	if _, family := findFamily(first); family {
		for _, other := range commands() {
			if strings.HasPrefix(other.name, first+" ") && other.name != e.name {
				out = append(out, pageName(other))
			}
		}
	}
	return out
}

func overviewPage() string {
	p := newPage("coracle", "1", "containers from OCI images, without root and for one user")
	p.section("SYNOPSIS")
	p.line(`\fBcoracle\fR [\fIflags\fR] \fICOMMAND\fR [\fIflags\fR] [\fIarguments\fR]`)
	p.section("DESCRIPTION")
	p.plain("coracle runs commands in containers, in a user namespace of the caller's own: no root, no daemon, nothing that is set-uid. " +
		"Flags carry the names and meanings that docker and podman give them; what coracle has not is refused by name.")
	p.text("The long forms of docker and podman (container run, image ls, system info) are understood, too. Where a link to the program is called " +
		"docker or podman, so are their global flags as far as they have a meaning without a daemon.")
	p.section("COMMANDS")
	all := append(commands(), ociEntry())
	for i, list := range byTopic(all) {
		if len(list) == 0 {
			continue
		}
		t := topic{title: "More"}
		if i < len(topics()) {
			t = topics()[i]
		}
		p.line(".SS " + manQuote(t.title))
		for _, e := range list {
			p.term([]string{"coracle " + e.name}, "", upperFirst(e.summary)+".")
		}
		var lines []string
		for _, line := range t.examples {
			if isExample(line, all) {
				lines = append(lines, line)
			}
		}
		if lines != nil {
			p.example(lines)
		}
	}
	p.section("GLOBAL FLAGS")
	p.plain("They stand before the command or among its flags.")
	p.flagTerms(fieldsOf(&globals{}))
	p.term([]string{"-v", "--version"}, "", "Show the version in one line.")
	p.term([]string{"-h", "--help"}, "", "Show an overview, or with a command, its flags.")
	p.section("ENVIRONMENT")
	p.term([]string{"XDG_DATA_HOME"}, "", "Images and containers are in coracle below it; where it is not set, in ~/.local/share.")
	p.term([]string{"XDG_RUNTIME_DIR"}, "", "The state of this boot is in coracle below it; where it is not set, in /tmp/coracle-UID.")
	p.term([]string{"XDG_CONFIG_HOME"}, "", "The configuration is coracle/config.toml below it; where it is not set, in ~/.config.")
	p.term([]string{"NO_COLOR"}, "", "Where it is set and not empty, nothing is coloured. Elsewhere colours are for terminals only.")
	p.term([]string{"DOCKER_CONFIG", "REGISTRY_AUTH_FILE"}, "", "Where credentials for registries are, as for docker and podman.")
	p.section("FILES")
	p.term([]string{"/etc/coracle/config.toml", "~/.config/coracle/config.toml"}, "", "Defaults of flags: coracle.toml(5).")
	p.term([]string{"/etc/subuid", "/etc/subgid"}, "", "The caller's subordinate ids: subuid(5).")
	p.section("EXIT STATUS")
	p.plain("That of the command in the container, or 128 and the number of the signal that ended it; 125 where coracle failed, " +
		"126 where the command could not be executed, 127 where it was not found.")
	also := []string{"coracle-oci", "coracle.toml.5"}
	for _, e := range commands() {
		also = append(also, pageName(e))
	}
	p.seeAlso(also)
	return p.String()
}

func ociPage() string {
	p := newPage("coracle-oci", "1", "run OCI bundles, with the command line of runc")
	p.section("SYNOPSIS")
	p.line(`\fBcoracle oci\fR [\fIflags\fR] \fICOMMAND\fR [\fIflags\fR] [\fIarguments\fR]`)
	p.line(".br")
	p.line(`\fBcoracle\-oci\fR [\fIflags\fR] \fICOMMAND\fR [\fIflags\fR] [\fIarguments\fR]`)
	p.section("DESCRIPTION")
	p.plain("The OCI runtime of coracle, for podman, containerd, Slurm and whoever else calls one. A link to the program of the name coracle-oci is " +
		"nothing else. It reads no configuration file.")
	p.section("GLOBAL FLAGS")
	p.flagTerms(fieldsOf(&oci.Globals{}))
	p.section("COMMANDS")
	for _, e := range ociCommands() {
		p.line(".SS " + manQuote(strings.TrimSpace(e.name+" "+e.usage)))
		p.plain(upperFirst(e.summary) + ".")
		if h, ok := e.make().(interface{ Help() string }); ok {
			p.prose(h.Help())
		}
		p.flagTerms(fieldsOf(e.make()))
	}
	p.section("EXIT STATUS")
	p.plain("0, or 1 where something failed; run and exec give that of the command.")
	p.seeAlso([]string{"coracle", "coracle-run"})
	return p.String()
}

// configPage is coracle.toml(5): what can stand in a file.
func configPage() string {
	p := newPage("coracle.toml", "5", "defaults of coracle's flags")
	p.section("SYNOPSIS")
	p.line("/etc/coracle/config.toml\n.br\n$XDG_CONFIG_HOME/coracle/config.toml")
	p.section("DESCRIPTION")
	p.plain("Both files are TOML, and neither need be there. What the command line says goes before the user's file, that before the system's, that " +
		"before what is built in; a list stands in the place of the whole list. \"coracle info\" shows where each value comes from.")
	p.text("Where XDG_CONFIG_HOME is not set, the user's file is in ~/.config/coracle. With --config FILE only that file is read, with --config none none.")
	p.text("Keys at the top are global flags, or flags that several commands share. A table is named after a command, and its keys are the command's " +
		"flags by their long names: [run], [images]. A command of two words is [volume.create].")
	p.text("A switch is true or false, a flag that can be given several times is a list of words, a number is a number, everything else is a word in quotes. " +
		"A key that there is not, or a value that the flag cannot have, is an error with its line.")
	p.section("SAFETY")
	p.plain("What stands there decides what containers may do. A file is refused unless it belongs to the caller or to root, and nobody else can write " +
		"to it or, where that is not sticky, to its directory.")
	p.section("KEYS AT THE TOP")
	var own []field
	for _, f := range fieldsOf(&globals{}) {
		if f.name != "config" {
			own = append(own, f)
		}
	}
	p.keys(append(own, sharedFields(commands(), sharedKeys()...)...))
	p.section("TABLES")
	for _, e := range commands() {
		var flags []field
		for _, f := range fieldsOf(e.make()) {
			if !f.isArg {
				flags = append(flags, f)
			}
		}
		if flags == nil {
			continue
		}
		p.line(".SS " + manQuote("["+strings.ReplaceAll(e.name, " ", ".")+"]"))
		p.keyNames(flags)
	}
	p.section("EXAMPLE")
	p.example(strings.Split(`root = "/scratch/ann/coracle"
userns = "keep-id"

[run]
pull = "newer"
env = ["LANG=C.UTF-8", "TERM"]
stop-timeout = 5

[images]
no-trunc = true`, "\n"))
	p.seeAlso([]string{"coracle", "coracle-info", "coracle-run"})
	return p.String()
}

func (p *page) keys(fields []field) {
	for _, f := range fields {
		p.term([]string{f.name}, f.kindName(), f.about()+".")
	}
}

// keyNames lists the keys of a table by their types: what they do is on the
// command's page.
func (p *page) keyNames(fields []field) {
	kinds := []string{"switch", "number", "list of words", "word"}
	for _, kind := range kinds {
		var names []string
		for _, f := range fields {
			if f.kindName() == kind {
				names = append(names, `\fB`+manText(f.name)+`\fR`)
			}
		}
		if names != nil {
			p.line(".TP")
			p.line(`\fI` + manText(kind) + `\fR`)
			p.line(strings.Join(names, ",\n"))
		}
	}
}

// kindName is the type of the flag's value in a file.
func (f field) kindName() string {
	switch {
	case f.isBool:
		return "switch"
	case f.value.Kind().String() == "slice":
		return "list of words"
	case number(f.value.Type()) && f.refusesWord():
		return "number"
	}
	return "word"
}

func (f field) refusesWord() bool {
	want, _ := f.wants(unstable.String)
	return want != ""
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
