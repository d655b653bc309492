package cli

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// completer finds what may stand in the place of the last word of a line.
type completer struct {
	app     *app
	current string // the word that is being typed
	answer  answer

	entry entry
	seen  scan     // what the command already has
	store []string // of these flags, those that name the store
}

// scan is a line as far as it goes; nothing in it is an error.
type scan struct {
	flags []string // each --name=value
	args  []string
	wants *field // the last word is this flag, without its value
	ended bool   // by -- or, for commands with trailing words, by the first of them
}

// complete fills the answer for the words behind the program's name.
func (c *completer) complete(words []string) {
	c.current = words[len(words)-1]
	words = words[:len(words)-1]
	lead := fieldsOf(&c.app.global)
	first := scanWords(lead, words, true)
	c.seen.flags = first.flags
	switch {
	case first.wants != nil:
		c.value(*first.wants, c.current)
	case len(first.args) == 0 && !first.ended && strings.HasPrefix(c.current, "-"):
		c.flag(append(lead, versionField()), first)
	case len(first.args) == 0:
		c.verbs()
	default:
		c.command(first.args[0], first.args[1:])
	}
	c.keep()
}

// command completes behind a command's first word.
func (c *completer) command(verb string, words []string) {
	switch verb {
	case "help":
		c.command(strings.Join(words, " "), nil)
		c.answer = answer{}
		if len(words) == 0 {
			c.verbs()
		} else if f, ok := findFamily(words[0]); ok && len(words) == 1 {
			c.family(f)
		}
		return
	case "oci":
		c.ociCommand(words)
		return
	}
	if f, ok := findFamily(verb); ok {
		globals := fieldsOf(&c.app.global)
		s := scanWords(globals, words, true)
		c.seen.flags = append(c.seen.flags, s.flags...)
		switch {
		case s.wants != nil:
			c.value(*s.wants, c.current)
			return
		case len(s.args) == 0 && strings.HasPrefix(c.current, "-"):
			c.flag(globals, s)
			return
		case len(s.args) == 0:
			c.family(f)
			return
		}
		verb, words = verb+" "+s.args[0], s.args[1:]
	}
	e, err := findCommand(verb)
	if err != nil {
		return
	}
	c.fields(e, withGlobals(fieldsOf(e.make()), fieldsOf(&c.app.global)), words)
}

// fields completes flags and arguments of a command.
func (c *completer) fields(e entry, fields []field, words []string) {
	c.entry = e
	s := scanWords(fields, words, e.trailing)
	c.store = slices.Clone(c.seen.flags)
	if p := newParser(e, e.make(), &globals{}); len(p.hidden) == 0 {
		c.store = append(c.store, s.flags...)
	}
	s.flags = append(c.seen.flags, s.flags...)
	c.seen = s
	switch {
	case s.wants != nil:
		c.value(*s.wants, c.current)
	case s.ended || !strings.HasPrefix(c.current, "-") || c.current == "-" && len(s.args) > 0 && e.trailing:
		c.argument(fields)
	default:
		c.flag(fields, s)
	}
}

// flag completes a flag's name, or its value behind =.
func (c *completer) flag(fields []field, s scan) {
	name, value, given := strings.Cut(c.current, "=")
	if !given {
		c.flags(fields, s)
		return
	}
	for _, f := range fields {
		if strings.HasPrefix(name, "--") && f.isCalled(name[2:]) {
			c.answer.skip = utf8.RuneCountInString(name) + 1
			c.value(f, value)
			return
		}
	}
}

// flags offers the flags that are not there yet; lists may be there again.
func (c *completer) flags(fields []field, s scan) {
	for _, f := range append(fields, helpField()) {
		if f.isArg || f.value.IsValid() && f.value.Kind() != reflect.Slice && (split{flags: s.flags}).names(f) {
			continue
		}
		c.reply(item{"--" + f.name, f.about()})
	}
}

func helpField() field    { return field{name: "help", help: `Explain the command."`} }
func versionField() field { return field{name: "version", help: `Show the version in one line."`} }

// about is the flag's help.
func (f field) about() string {
	text, err := strconv.Unquote(`"` + f.help)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(text, ".")
}

// verbs offers the commands, families by their first words.
func (c *completer) verbs() {
	for _, f := range families() {
		c.reply(item{f.name, f.summary})
	}
	for _, e := range append(commands(), ociEntry(), entry{name: "help", summary: "explain the commands"}) {
		if !strings.Contains(e.name, " ") {
			c.reply(item{e.name, e.summary})
		}
	}
}

func (c *completer) family(f family) {
	for _, e := range f.members() {
		c.reply(item{e.name, e.summary})
	}
}

// keep drops what does not begin as the word does: not every shell would.
func (c *completer) keep() {
	typed := string([]rune(c.current)[min(c.answer.skip, utf8.RuneCountInString(c.current)):])
	var out []item
	for _, i := range c.answer.items {
		again := slices.ContainsFunc(out, func(o item) bool { return o.word == i.word })
		if strings.HasPrefix(i.word, typed) && !again {
			out = append(out, i)
		}
	}
	c.answer.items = out
}

// scanWords is splitArgs for a line that is not finished.
func scanWords(fields []field, words []string, trailing bool) scan {
	var s scan
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case s.ended || word == "-" || !strings.HasPrefix(word, "-"):
			if trailing {
				s.args = append(s.args, words[i:]...)
				s.ended = true
				return s
			}
			s.args = append(s.args, word)
			continue
		case word == "--":
			s.ended = true
			continue
		}
		f, value, given := flagOf(fields, word)
		switch {
		case f == nil:
		case given:
			s.flags = append(s.flags, "--"+f.name+"="+value)
		case f.isBool:
			s.flags = append(s.flags, "--"+f.name+"=true")
		case i+1 < len(words):
			i++
			s.flags = append(s.flags, "--"+f.name+"="+words[i])
		default:
			s.wants = f
		}
	}
	return s
}

// flagOf is the flag of a word: --name, --name=value, or the last of a cluster of
// short ones with what follows it.
func flagOf(fields []field, word string) (f *field, value string, given bool) {
	if strings.HasPrefix(word, "--") {
		name, value, given := strings.Cut(word[2:], "=")
		for i := range fields {
			if fields[i].isCalled(name) {
				return &fields[i], value, given
			}
		}
		return nil, "", false
	}
	for rest := word[1:]; rest != ""; {
		i := slices.IndexFunc(fields, func(f field) bool { return f.short != "" && strings.HasPrefix(rest, f.short) })
		if i < 0 {
			return nil, "", false
		}
		f = &fields[i]
		rest = rest[len(f.short):]
		if !f.isBool && rest != "" {
			return f, strings.TrimPrefix(rest, "="), true
		}
	}
	return f, "", false
}
