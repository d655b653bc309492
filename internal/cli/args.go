package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// flagKind is what the splitter must know of a flag.
type flagKind int

const (
	flagUnknown flagKind = iota
	flagBool
	flagValue
)

// flagTable answers which flags there are; refuse gives the error for a name
// it does not know, spelled as typed ("--memory", "-m"), and none where it is known
// elsewhere and not wanted (off, as in --details=false).
type flagTable struct {
	long   func(name string) flagKind
	short  func(letter string) (long string, kind flagKind)
	refuse func(flag string, off bool) error
}

// split is an argument list taken apart.
type split struct {
	flags []string // each --name=value, nothing else
	args  []string
	help  bool
}

// splitArgs takes args apart the way docker and podman do: -it, -eA=b, -e=A=b,
// --env A=b, --env=A=b, --rm, --rm=false, a first -- ends the flags. With
// trailing, the first argument ends them too, and all that follows belongs to
// it untouched. (kong alone would read flags after the image's name, and its
// passthrough mode keeps a --.)
func splitArgs(t flagTable, args []string, trailing bool) (split, error) {
	var s split
	for i := 0; i < len(args); i++ {
		arg := args[i]
		var used int
		var err error
		switch {
		case arg == "--":
			s.args = append(s.args, args[i+1:]...)
			return s, nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			if trailing {
				s.args = append(s.args, args[i:]...)
				return s, nil
			}
			s.args = append(s.args, arg)
		case strings.HasPrefix(arg, "--"):
			used, err = s.takeLong(t, arg, args[i+1:])
		default:
			used, err = s.takeShort(t, arg, args[i+1:])
		}
		if err != nil || s.help {
			return s, err
		}
		i += used
	}
	return s, nil
}

// takeLong takes --name or --name=value, and says how many words of next it
// used up.
func (s *split) takeLong(t flagTable, arg string, next []string) (int, error) {
	name, value, given := strings.Cut(arg[2:], "=")
	switch kind := t.long(name); {
	case kind == flagBool:
		if !given {
			value = "true"
		}
		return 0, s.addBool(name, "--"+name, value)
	case kind == flagValue && given:
		s.add(name, value)
		return 0, nil
	case kind == flagValue && len(next) > 0:
		s.add(name, next[0])
		return 1, nil
	case kind == flagValue:
		return 0, missingValue("--" + name)
	case name == "help":
		s.help = true
		return 0, nil
	}
	on, err := strconv.ParseBool(value)
	return 0, t.refuse("--"+name, given && err == nil && !on)
}

// takeShort takes a cluster of short flags, of which the last may have a
// value: -it, -eA=b, -e=A=b, -e A=b, -t=false.
func (s *split) takeShort(t flagTable, arg string, next []string) (int, error) {
	for rest := arg[1:]; rest != ""; {
		_, size := utf8.DecodeRuneInString(rest)
		letter := rest[:size]
		rest = rest[size:]
		name, kind := t.short(letter)
		switch {
		case kind == flagBool && strings.HasPrefix(rest, "="):
			return 0, s.addBool(name, "-"+letter, rest[1:])
		case kind == flagBool:
			s.add(name, "true")
		case kind == flagValue && rest != "":
			s.add(name, strings.TrimPrefix(rest, "="))
			return 0, nil
		case kind == flagValue && len(next) > 0:
			s.add(name, next[0])
			return 1, nil
		case kind == flagValue:
			return 0, missingValue("-" + letter)
		case letter == "h":
			s.help = true
			return 0, nil
		default:
			return 0, t.refuse("-"+letter, false)
		}
	}
	return 0, nil
}

func (s *split) add(name, value string) {
	s.flags = append(s.flags, "--"+name+"="+value)
}

func (s *split) addBool(name, typed, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return &usageError{msg: fmt.Sprintf("%s=%s: it is either true or false", typed, value)}
	}
	s.add(name, strconv.FormatBool(b))
	return nil
}

func missingValue(flag string) error {
	return &usageError{msg: flag + " needs a value"}
}

// lead is what stands before and at the command's name.
type lead struct {
	flags         []string // global ones, as --name=value
	verb          string
	rest          []string
	help, version bool
}

// splitVerb finds the command behind the global flags.
func splitVerb(args []string) (lead, error) {
	return splitLead(args, globalKind, globalNames())
}

// splitLead is splitVerb for any set of global flags; names are for hints.
func splitLead(args []string, kind func(name string) flagKind, names []string) (lead, error) {
	table := flagTable{
		long: kind,
		short: func(letter string) (string, flagKind) {
			if letter == "v" {
				return "version", flagBool
			}
			return "", flagUnknown
		},
		refuse: func(flag string, _ bool) error {
			e := &usageError{
				msg:  fmt.Sprintf("unknown flag %s before the command", flag),
				hint: `flags of a command come after its name; "coracle help" lists the global ones`,
			}
			if near := nearest(strings.TrimLeft(flag, "-"), names); near != "" {
				e.hint = "did you mean --" + near + "?"
			}
			return e
		},
	}
	s, err := splitArgs(table, args, true)
	l := lead{help: s.help}
	if err != nil || s.help {
		return l, err
	}
	for _, f := range s.flags {
		switch f {
		case "--version=true":
			l.version = true
		case "--version=false":
		default:
			l.flags = append(l.flags, f)
		}
	}
	if len(s.args) > 0 {
		l.verb, l.rest = s.args[0], s.args[1:]
	}
	return l, nil
}

// globalNames repeats the fields of globals, because asking kong for them
// would build a grammar before the command is known; a test compares.
func globalNames() []string {
	return []string{"root", "runroot", "additional-store", "layer-limit", "storage-driver", "cgroup-manager", "log", "log-format", "config", "debug", "version"}
}

func globalKind(name string) flagKind {
	switch name {
	case "debug", "version":
		return flagBool
	case "root", "runroot", "additional-store", "layer-limit", "storage-driver", "cgroup-manager", "log", "log-format", "config":
		return flagValue
	}
	return flagUnknown
}
