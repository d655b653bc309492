package cli

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// plainFields does what kongFields does where nothing in it takes kong: words,
// switches, lists of words, their defaults and their choices. Most command lines
// are of such only, and kong's machinery takes a millisecond and 200 page faults
// to look at one. It says whether it could; if not, it has changed nothing, and
// kong reads the line or says what is wrong with it.
func plainFields(fields []field, s split) bool {
	var sets []setting
	for _, word := range s.flags {
		name, value, _ := strings.Cut(word[2:], "=")
		i := slices.IndexFunc(fields, func(f field) bool { return f.isCalled(name) })
		if i < 0 {
			return false
		}
		sets = append(sets, setting{fields[i], value})
	}
	sets, ok := plainArgs(sets, fields, s.args)
	if !ok {
		return false
	}
	for i, a := range sets {
		again := slices.ContainsFunc(sets[:i], func(b setting) bool { return a.field.value == b.field.value })
		if !a.plain(again) {
			return false
		}
	}
	for _, f := range fields {
		given := slices.ContainsFunc(sets, func(a setting) bool { return a.field.value == f.value })
		if word := f.tag.Get("default"); word != "" && !given {
			a := setting{f, word}
			if f.isArg || !a.plain(false) {
				return false
			}
			sets = append(sets, a)
		}
	}
	for _, a := range sets {
		a.set()
	}
	return true
}

// plainArgs adds the arguments, where there are as many as there must be.
func plainArgs(sets []setting, fields []field, args []string) ([]setting, bool) {
	for _, f := range fields {
		if !f.isArg {
			continue
		}
		_, optional := f.tag.Lookup("optional")
		list := f.value.Kind() == reflect.Slice
		switch {
		case len(args) == 0 && !optional:
			return nil, false
		case list:
			for _, word := range args {
				sets = append(sets, setting{f, word})
			}
			args = nil
		case len(args) > 0:
			sets, args = append(sets, setting{f, args[0]}), args[1:]
		}
	}
	return sets, len(args) == 0
}

// setting is a word for a field.
type setting struct {
	field field
	word  string
}

// plain says whether set does what kong would do.
func (a setting) plain(again bool) bool {
	t := a.field.value.Type()
	if t.Kind() == reflect.Slice {
		// Elsewhere a comma separates, and a backslash keeps it from that.
		whole := a.field.isArg || a.field.tag.Get("sep") == "none" ||
			a.word != "" && utf8.ValidString(a.word) && !strings.ContainsAny(a.word, `,\`)
		return t == reflect.TypeFor[[]string]() && whole && a.field.tag.Get("enum") == ""
	}
	if again {
		return false
	}
	if choices, limited := a.field.tag.Lookup("enum"); limited && !slices.Contains(strings.Split(choices, ","), a.word) {
		return false
	}
	switch t {
	case reflect.TypeFor[bool](), reflect.TypeFor[*bool]():
		return a.word == "true" || a.word == "false"
	case reflect.TypeFor[string](), reflect.TypeFor[*string]():
		return true
	}
	return false
}

func (a setting) set() {
	word, yes := a.word, a.word == "true"
	switch to := a.field.value.Addr().Interface().(type) {
	case *bool:
		*to = yes
	case **bool:
		*to = &yes
	case *string:
		*to = word
	case **string:
		*to = &word
	case *[]string:
		*to = append(*to, word)
	}
}
