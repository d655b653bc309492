package oci

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// The grammar of a command is its struct, by tags in kong's language; the command
// line's own parser, and kong behind it, read any words by it and say what is wrong
// with them. Here are read, by the same tags, the words that need neither: most of
// what callers type. A test holds what comes out against what the others make of it.

// field is a flag or an argument: a field of a struct.
type field struct {
	name, short string
	arg, given  bool
	tag         reflect.StructTag
	value       reflect.Value
}

// fieldsOf lists the fields of a struct, those of embedded ones included.
func fieldsOf(v reflect.Value) []field {
	var out []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.Anonymous {
			out = append(out, fieldsOf(v.Field(i))...)
			continue
		}
		// The help is the last and longest part.
		head, _, _ := strings.Cut(string(sf.Tag), `help:"`)
		f := field{tag: reflect.StructTag(head), value: v.Field(i)}
		if _, f.arg = f.tag.Lookup("arg"); !f.arg {
			f.name, f.short = f.tag.Get("name"), f.tag.Get("short")
			if f.name == "" {
				f.name = strings.ToLower(sf.Name)
			}
		}
		out = append(out, f)
	}
	return out
}

// reader puts words into fields. Its methods return false for words that are not
// for it.
type reader struct{ fields []field }

// flags reads flags up to the first argument, or with more behind that one too, and
// returns the arguments.
func (r *reader) flags(words []string, more bool) (args []string, ok bool) {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "--":
			return append(args, words...), true
		case word == "-" || !strings.HasPrefix(word, "-"):
			if args = append(args, word); !more {
				return append(args, words...), true
			}
			continue
		}
		f, value, given := r.find(word)
		if f == nil {
			return nil, false
		}
		isBool := f.value.Kind() == reflect.Bool || f.value.Kind() == reflect.Pointer
		switch {
		case given:
		case isBool:
			value = "true"
		case len(words) == 0:
			return nil, false
		default:
			value, words = words[0], words[1:]
		}
		if !f.set(value) {
			return nil, false
		}
	}
	return args, true
}

// find is the flag that a word names: --name, --name=value or -x.
func (r *reader) find(word string) (f *field, value string, given bool) {
	name, isLong := strings.CutPrefix(word, "--")
	if isLong {
		name, value, given = strings.Cut(name, "=")
	}
	i := slices.IndexFunc(r.fields, func(f field) bool {
		return !f.arg && (isLong && f.name == name || !isLong && f.short != "" && word == "-"+f.short)
	})
	if i < 0 {
		return nil, "", false
	}
	return &r.fields[i], value, given
}

// arguments puts args where they belong.
func (r *reader) arguments(args []string) bool {
	for i := range r.fields {
		f := &r.fields[i]
		if !f.arg {
			continue
		}
		count := min(1, len(args))
		if f.value.Kind() == reflect.Slice {
			count = len(args)
		}
		if _, optional := f.tag.Lookup("optional"); count == 0 && !optional {
			return false
		}
		for _, word := range args[:count] {
			if !f.set(word) {
				return false
			}
		}
		args = args[count:]
	}
	return len(args) == 0
}

// defaults fills in what was not given.
func (r *reader) defaults() bool {
	for i := range r.fields {
		f := &r.fields[i]
		if word := f.tag.Get("default"); word != "" && !f.given && !f.set(word) {
			return false
		}
	}
	return true
}

// set takes strings, switches and lists of words.
func (f *field) set(word string) bool {
	again := f.given
	f.given = true
	switch to := f.value.Addr().Interface().(type) {
	case *string:
		choices, limited := f.tag.Lookup("enum")
		*to = word
		return !again && (!limited || slices.Contains(strings.Split(choices, ","), word))
	case *bool:
		*to = word == "true"
		return !again && (word == "true" || word == "false")
	case **bool:
		yes := word == "true"
		*to = &yes
		return !again && (yes || word == "false")
	case *[]string:
		*to = append(*to, word)
		// Elsewhere a comma separates, and a backslash keeps it from that.
		return f.arg || f.tag.Get("sep") == "none" || word != "" && utf8.ValidString(word) && !strings.ContainsAny(word, `,\`)
	}
	return false
}
