package cli

import (
	"strings"
	"testing"
)

// TestTopicsHaveEveryCommand: `coracle help` names each command once.
func TestTopicsHaveEveryCommand(t *testing.T) {
	count := map[string]int{}
	all := append(commands(), ociEntry())
	for _, list := range byTopic(all) {
		for _, e := range list {
			count[e.name]++
		}
	}
	for _, e := range all {
		name, _, _ := strings.Cut(e.name, " ")
		if count[name] != 1 {
			t.Errorf("%s stands %d times in coracle help", name, count[name])
		}
	}
	if got := byTopic(all); len(got[len(got)-1]) > 0 {
		t.Errorf("no topic takes %v", got[len(got)-1])
	}
}

// TestExamplesParse: every example of the help is a line that the command takes.
func TestExamplesParse(t *testing.T) {
	lines := 0
	check := func(line string) {
		lines++
		line, _, _ = strings.Cut(line, "#")
		words := splitShell(strings.TrimSpace(line)).words[1:]
		if words[0] == "oci" {
			return
		}
		a := newTestApp(t)
		out := &strings.Builder{}
		a.err = out
		lead, err := splitVerb(words)
		if err == nil {
			err = lead.secondWord()
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		e, err := findCommand(lead.verb)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			return
		}
		if _, err := newParser(e, e.make(), &globals{}).parse(lead.rest); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	all := commands()
	for _, topic := range topics() {
		for _, line := range topic.examples {
			if isExample(line, all) {
				check(line)
			}
		}
	}
	for _, e := range all {
		for _, line := range examplesOf(e) {
			check(line)
		}
	}
	if lines < 30 {
		t.Errorf("only %d examples", lines)
	}
}

// examplesOf are the indented lines of a command's help, those of coracle itself.
func examplesOf(e entry) []string {
	h, ok := e.make().(interface{ Help() string })
	if !ok {
		return nil
	}
	var out []string
	for line := range strings.Lines(h.Help()) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "  coracle ") && !strings.ContainsAny(line, "|><") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// TestEveryCommandHasAnExample: each word of its own; the commands of a family
// explain each other.
func TestEveryCommandHasAnExample(t *testing.T) {
	for _, e := range commands() {
		if strings.Contains(e.name, " ") {
			continue
		}
		text := ""
		if h, ok := e.make().(interface{ Help() string }); ok {
			text = h.Help()
		}
		if !strings.Contains(text, "  coracle ") && !strings.Contains(text, "coracle "+e.name) {
			t.Errorf("coracle help %s has no example", e.name)
		}
	}
}

func TestUnescapeText(t *testing.T) {
	for in, want := range map[string]string{
		`{{.A}}\t{{.B}}\n`: "{{.A}}\t{{.B}}\n", `{{"\n"}}`: `{{"\n"}}`, `\n{{`: "\n{{", "": "", `a}}\t{{"\t"}}\t`: "a}}\t{{\"\\t\"}}\t",
	} {
		if got := unescapeText(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}
