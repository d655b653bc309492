package cli

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// parser reads the words of one command.
type parser struct {
	entry  entry
	cmd    command
	global any // the struct of global flags
	prog   string
	fields []field
	// hidden are global flags that the command has one of its own of the same name of:
	// they stand before its name, or at the top of a configuration file.
	hidden []field
	// defaults are flags that the configuration files set, if any.
	defaults func(p *parser, line split) ([]string, error)
}

func newParser(e entry, cmd command, g any) *parser {
	own, globals := fieldsOf(cmd), fieldsOf(g)
	return &parser{entry: e, cmd: cmd, global: g, prog: "coracle", fields: withGlobals(own, globals), hidden: hiddenBy(own, globals)}
}

// hiddenBy are the globals that a command's own flags hide.
func hiddenBy(own, globals []field) []field {
	return slices.DeleteFunc(slices.Clone(globals), func(g field) bool {
		return !slices.ContainsFunc(own, func(f field) bool { return f.isCalled(g.name) })
	})
}

// takeHidden sets those of hidden that stand before the command's name, and gives the rest.
func (p *parser) takeHidden(lead []string) []string {
	return slices.DeleteFunc(slices.Clone(lead), func(word string) bool {
		for _, f := range p.hidden {
			if value, ok := strings.CutPrefix(word, "--"+f.name+"="); ok && f.value.Kind() == reflect.String {
				f.value.SetString(value)
				return true
			}
		}
		return false
	})
}

// defaultHidden sets those that the line has not, as the files say at their top.
func (p *parser) defaultHidden(c *config) {
	for _, f := range p.hidden {
		if i := c.index("", f.name); i >= 0 && f.value.Kind() == reflect.String && f.value.IsZero() {
			f.value.SetString(c.settings[i].values[0])
		}
	}
}

// withGlobals adds the global flags; one of the command's own hides a global
// one of its name.
func withGlobals(own, globals []field) []field {
	all := own
	for _, g := range globals {
		if !slices.ContainsFunc(own, func(f field) bool { return f.isCalled(g.name) }) {
			all = append(all, g)
		}
	}
	return all
}

// parse fills the command's fields; help says that --help was asked for.
func (p *parser) parse(args []string) (help bool, err error) {
	s, err := splitArgs(p.table(), args, p.entry.trailing)
	if err != nil {
		return false, p.wrap(err)
	}
	if s.help {
		return true, nil
	}
	if s.flags, err = joinPlatform(s.flags); err != nil {
		return false, p.wrap(err)
	}
	if p.defaults != nil {
		words, err := p.defaults(p, s)
		if err != nil {
			return false, err
		}
		s.flags = append(words, s.flags...)
	}
	if err := p.choices(s); err != nil {
		return false, p.wrap(err)
	}
	if err := kongFields(p.prog+" "+p.entry.name, p.fields, s); err != nil {
		return false, p.wrap(err)
	}
	return false, nil
}

// wrap makes a usage error that names the command.
func (p *parser) wrap(err error) error {
	hint := hintOf(err)
	if hint == "" {
		hint = fmt.Sprintf(`see "%s %s --help"`, p.prog, p.entry.name)
	}
	return &usageError{msg: p.entry.name + ": " + err.Error(), hint: hint}
}

func (p *parser) table() flagTable {
	return flagTable{long: p.longKind, short: p.shortFlag, refuse: p.refuse}
}

func (p *parser) longKind(name string) flagKind {
	i := slices.IndexFunc(p.fields, func(f field) bool { return f.isCalled(name) })
	if i < 0 && isPlatformPart(name) && p.takesPlatformParts() {
		return flagValue
	}
	if i < 0 {
		return flagUnknown
	}
	return p.fields[i].kind()
}

func (p *parser) shortFlag(letter string) (string, flagKind) {
	i := slices.IndexFunc(p.fields, func(f field) bool { return f.short == letter })
	if i < 0 {
		return "", flagUnknown
	}
	return p.fields[i].name, p.fields[i].kind()
}

// refuser is a command that knows flags of docker and podman by name only.
type refuser interface {
	refused(name string) (refusal, bool)
}

// refuse says why there is no such flag; nothing of one that a command knows by name,
// where it is off.
func (p *parser) refuse(flag string, off bool) error {
	name := strings.TrimLeft(flag, "-")
	if r, ok := p.cmd.(refuser); ok {
		why, ok := r.refused(name)
		switch {
		case ok && off:
			return nil
		case ok:
			return why.err(flag)
		}
	}
	e := &usageError{msg: "unknown flag " + flag}
	var names []string
	for _, f := range p.fields {
		names = append(names, f.name)
	}
	if near := nearest(name, names); near != "" && strings.HasPrefix(flag, "--") {
		e.hint = "did you mean --" + near + "?"
	}
	return e
}
