package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// topic is a heading of `coracle help`: what somebody wants to do.
type topic struct {
	title    string
	commands string // in this order; a family by its first word
	// group takes the commands of that group that no topic names.
	group    string
	examples []string
}

func topics() []topic {
	return []topic{
		{title: "Run a command", commands: "run exec create attach", examples: []string{
			"coracle run -it --rm debian bash",
			`coracle run --rm -v "$PWD":/src -w /src alpine ls -l`,
			"coracle run host -- make test",
			"coracle exec -it web sh",
		}},
		{title: "Start and stop containers", commands: "start stop restart kill pause unpause wait", examples: []string{
			"coracle stop --time 5 web",
			"coracle start -a web",
		}},
		{title: "Look at containers", commands: "ps logs inspect top stats port diff events healthcheck", examples: []string{
			"coracle ps -a",
			"coracle logs -f --tail 20 web",
			"coracle inspect --format '{{.Config.Env}}' debian",
		}},
		{title: "Change and remove containers", commands: "rename update cp commit export rm container", group: "Containers", examples: []string{
			"coracle cp web:/etc/nginx/nginx.conf .",
			"coracle rm -f web",
		}},
		{title: "Images", commands: "pull images import rmi", group: "Images", examples: []string{
			"coracle pull debian:12 alpine",
			"coracle images --filter reference='deb*'",
		}},
		{title: "Data", commands: "volume secret", group: "Data", examples: []string{
			"coracle volume create pgdata",
			"coracle run -v pgdata:/var/lib/postgresql postgres",
		}},
		{title: "A command of the host's that is not trusted", commands: "sandbox review apply discard why learn", group: "Sandbox", examples: []string{
			"coracle sandbox -- make test",
			"coracle sandbox --on-exit discard --timeout 60 -- ./configure",
			"coracle review --diff",
		}},
		{title: "This machine and account", commands: "doctor info unshare system version completion oci", group: "System", examples: []string{
			"coracle doctor",
			"coracle unshare rm -r ./files-of-a-container",
		}},
	}
}

// writeContents prints the table of contents by tasks.
func writeContents(w io.Writer, all []entry) {
	done := map[string]bool{}
	for i, list := range byTopic(all) {
		if len(list) == 0 {
			continue
		}
		t := topics()[min(i, len(topics())-1)]
		if i == len(topics()) {
			t = topic{title: "More"}
		}
		fmt.Fprintf(w, "\n%s:\n", t.title)
		for _, e := range list {
			if !done[e.name] {
				writeContent(w, e)
			}
			done[e.name] = true
		}
		for _, line := range t.examples {
			if isExample(line, all) {
				fmt.Fprintf(w, "    $ %s\n", line)
			}
		}
	}
}

// byTopic sorts the commands under the topics; what none of them takes comes
// last. A family is one entry.
func byTopic(all []entry) [][]entry {
	list := topics()
	out := make([][]entry, len(list)+1)
	named := map[string]bool{}
	for i, t := range list {
		for name := range strings.FieldsSeq(t.commands) {
			named[name] = true
			if e, ok := content(name, all); ok {
				out[i] = append(out[i], e)
			}
		}
	}
	for _, e := range all {
		name, _, _ := strings.Cut(e.name, " ")
		if named[name] {
			continue
		}
		named[name] = true
		i := slices.IndexFunc(list, func(t topic) bool { return t.group == e.group })
		if i < 0 {
			i = len(list)
		}
		if c, ok := content(name, all); ok {
			out[i] = append(out[i], c)
		}
	}
	return out
}

// content is the line for a command, or for a family that has commands of its own.
func content(name string, all []entry) (entry, bool) {
	for _, e := range all {
		if e.name == name {
			return e, true
		}
	}
	f, ok := findFamily(name)
	if !ok {
		return entry{}, false
	}
	var words []string
	for _, e := range all {
		if second, ok := strings.CutPrefix(e.name, name+" "); ok {
			words = append(words, second)
		}
	}
	if words == nil {
		return entry{}, false
	}
	return entry{name: name, summary: f.summary + ": " + strings.Join(words, ", ")}, true
}

func writeContent(w io.Writer, e entry) {
	name := e.name
	for _, line := range wrap(e.summary, helpWidth-14) {
		fmt.Fprintf(w, "  %-11s %s\n", name, line)
		name = ""
	}
}

// isExample says whether this version has the command of an example.
func isExample(line string, all []entry) bool {
	words := strings.Fields(line)
	return slices.ContainsFunc(all, func(e entry) bool {
		return e.name == words[1] || len(words) > 2 && e.name == words[1]+" "+words[2]
	})
}

// otherWords are names of the command besides its long form.
func otherWords(name string, all []entry) []string {
	long := longForms(all)
	var out []string
	for other, command := range aliases(all) {
		if command == name && (long[other] != name || !strings.HasSuffix(other, " "+name)) {
			out = append(out, other)
		}
	}
	slices.Sort(out)
	return out
}
