package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"golang.org/x/sys/unix"
)

type profileListCmd struct{}

func (*profileListCmd) Help() string {
	return "Those of your own come first, then the system's, then those that are built in;\nthe first of a name counts. A project's own is .coracle.toml."
}

func (*profileListCmd) run(a *app) (int, error) {
	t := table{titles: []string{"NAME", "FROM", "WHAT"}}
	seen := map[string]bool{}
	add := func(name, from string) {
		if seen[name] {
			return
		}
		seen[name] = true
		what := ""
		if p, err := readProfile(name); err != nil {
			what = err.Error()
		} else {
			what = p.description
		}
		t.rows = append(t.rows, []string{name, from, what})
	}
	for _, dir := range profileDirs() {
		files, _ := filepath.Glob(filepath.Join(dir, "*.toml"))
		for _, f := range files {
			add(strings.TrimSuffix(filepath.Base(f), ".toml"), dir)
		}
	}
	for _, b := range builtinProfiles() {
		add(b.name, "built in")
	}
	if dir, err := unix.Getwd(); err == nil {
		if file := findProject(dir); file != "" {
			t.rows = append(t.rows, []string{file, "this project", ""})
		}
	}
	t.write(a.out, a.width())
	return 0, nil
}

type profileShowCmd struct {
	Name string `arg:"" name:"NAME|FILE"`
}

func (*profileShowCmd) Help() string {
	return "Prints it with what it extends, as one profile that can be edited."
}

func (c *profileShowCmd) run(a *app) (int, error) {
	p, err := readProfile(c.Name)
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprint(a.out, p.toml())
	return 0, nil
}

// toml is a profile in its own words.
func (p profile) toml() string {
	var b strings.Builder
	if p.description != "" {
		fmt.Fprintf(&b, "description = %s\n", tomlWord(p.description))
	}
	var flags []string
	values, kinds := map[string][]string{}, map[string]unstable.Kind{}
	for _, s := range p.settings {
		if !slices.Contains(flags, s.flag) {
			flags = append(flags, s.flag)
		}
		if kinds[s.flag] = s.kind; s.kind == unstable.Array {
			values[s.flag] = append(values[s.flag], s.values...)
		} else {
			values[s.flag] = s.values
		}
	}
	for _, flag := range flags {
		fmt.Fprintf(&b, "%s = %s\n", flag, tomlValues(kinds[flag], values[flag]))
	}
	return b.String()
}

func tomlValues(kind unstable.Kind, values []string) string {
	switch kind {
	case unstable.Array:
		words := make([]string, len(values))
		for i, v := range values {
			words[i] = tomlWord(v)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case unstable.String:
		return tomlWord(values[0])
	}
	return values[0]
}

// tomlWord is a basic string: quotes, backslashes and what is not printed are escaped.
func tomlWord(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

type profileCheckCmd struct {
	Names []string `arg:"" name:"NAME|FILE"`
}

func (*profileCheckCmd) Help() string {
	return "Says what is wrong with profiles, by line and column. A .coracle.toml is read as\nan untrusted project's."
}

func (c *profileCheckCmd) run(a *app) (int, error) {
	for _, name := range c.Names {
		var err error
		if filepath.Base(name) == projectProfile {
			_, err = checkProject(name)
		} else {
			_, err = readProfile(name)
		}
		if err != nil {
			return exitOurs, err
		}
		fmt.Fprintln(a.out, visible(name)+": good")
	}
	return 0, nil
}

// checkProject reads a project's profile and says what it would loosen.
func checkProject(name string) (data []byte, err error) {
	data, err = readProject(name)
	if err != nil {
		return nil, doing("read the project's profile", name, err)
	}
	p, _, err := parseProfile(name, data)
	if err != nil {
		return nil, err
	}
	for _, s := range p.settings {
		if !tightens(s) {
			return data, untrusted(name, s.line, s.flag)
		}
	}
	return data, nil
}

type profileTrustCmd struct {
	File string `arg:"" optional:"" name:"FILE"`
}

func (*profileTrustCmd) Help() string {
	return `FILE, .coracle.toml where none is named, may give more from then on than a
project's profile may: this content, at this place. Read it first. Any change
ends the trust.`
}

func (c *profileTrustCmd) run(a *app) (int, error) {
	name := c.File
	if name == "" {
		name = projectProfile
	}
	file, err := filepath.Abs(name)
	if err != nil {
		return exitOurs, err
	}
	data, err := readProject(file)
	if err != nil {
		return exitOurs, doing("read the project's profile", name, err)
	}
	if _, _, err := parseProfile(file, data); err != nil {
		return exitOurs, err
	}
	list := trustFile()
	if list == "" {
		return exitOurs, errors.New("trust a profile: neither XDG_CONFIG_HOME nor HOME is set")
	}
	if isTrusted(file, data) {
		return 0, nil
	}
	if err := os.MkdirAll(filepath.Dir(list), 0o700); err != nil {
		return exitOurs, doing("trust a profile", name, err)
	}
	f, err := os.OpenFile(list, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return exitOurs, doing("trust a profile", name, err)
	}
	_, err = f.WriteString(trustLine(file, data) + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return exitOurs, doing("trust a profile", name, err)
	}
	return 0, nil
}
