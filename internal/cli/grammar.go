package cli

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// field is a flag or an argument of a command: a field of its struct.
type field struct {
	name    string
	short   string
	aliases []string
	isBool  bool
	isArg   bool
	// always: kong must see it even when it was not given, because it is an
	// argument or has a default.
	always bool
	tag    reflect.StructTag // without the help
	value  reflect.Value
	group  string // the heading of the struct that it is in
	help   string // what stands in the tag behind help:"
}

// fieldsOf lists the fields of the structs that ptrs point to, those of
// embedded ones included. It reads no more of the tags than finding a flag
// needs, so it takes microseconds where kong takes a millisecond.
func fieldsOf(ptrs ...any) []field {
	var out []field
	for _, p := range ptrs {
		out = appendFields(out, reflect.ValueOf(p).Elem(), "")
	}
	return out
}

func appendFields(out []field, v reflect.Value, group string) []field {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.Type.Kind() == reflect.Struct { // embedded
			out = appendFields(out, v.Field(i), sf.Tag.Get("group"))
			continue
		}
		f := newField(sf, v.Field(i))
		f.group = group
		out = append(out, f)
	}
	return out
}

// newField reads the tag up to the help, which is the last and longest part.
func newField(sf reflect.StructField, v reflect.Value) field {
	head, help, _ := strings.Cut(string(sf.Tag), `help:"`)
	tag := reflect.StructTag(head)
	f := field{name: tag.Get("name"), short: tag.Get("short"), isBool: isBool(sf.Type), tag: tag, value: v, help: help}
	if f.name == "" {
		f.name = strings.ToLower(sf.Name)
		f.tag = reflect.StructTag(`name:"` + f.name + `" ` + head)
	}
	if aliases := tag.Get("aliases"); aliases != "" {
		f.aliases = strings.Split(aliases, ",")
	}
	if _, f.isArg = tag.Lookup("arg"); f.isArg {
		f.name = ""
	}
	f.always = f.isArg || tag.Get("default") != ""
	return f
}

func isBool(t reflect.Type) bool {
	return t.Kind() == reflect.Bool || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Bool
}

func (f field) kind() flagKind {
	if f.isBool {
		return flagBool
	}
	return flagValue
}

// kongFields reads words into the fields that they name, as kong does. Where it
// takes kong itself, that is given a struct of those only: building the grammar of all 75 flags of run would
// be a tenth of the time that a container takes to start.
func kongFields(name string, fields []field, s split) error {
	if plainFields(fields, s) {
		return nil
	}
	return readByKong(name, fields, s)
}

func readByKong(name string, fields []field, s split) error {
	var used []field
	var types []reflect.StructField
	for _, f := range fields {
		if !f.always && !s.names(f) {
			continue
		}
		used = append(used, f)
		types = append(types, reflect.StructField{Name: "F" + strconv.Itoa(len(types)), Type: f.value.Type(), Tag: f.tag})
	}
	grammar := reflect.New(reflect.StructOf(types))
	k, err := kong.New(grammar.Interface(), kong.Name(name), kong.NoDefaultHelp(), plainStrings())
	if err != nil {
		return fmt.Errorf("build the grammar: %w", err)
	}
	// Every flag stands alone here and -- ends them, so kong cannot take an
	// argument for a flag.
	args, rest, list := splitList(used, s.args)
	words := append(append([]string{}, s.flags...), "--")
	if _, err := k.Parse(append(words, args...)); err != nil {
		return err
	}
	for i, f := range used {
		f.value.Set(grammar.Elem().Field(i))
	}
	if list != nil {
		list.value.Set(reflect.AppendSlice(list.value, reflect.ValueOf(rest)))
	}
	return nil
}

// splitList keeps all but the first word of a list of arguments, which is
// list, from kong: it takes time by the square of their number, seconds for
// what xargs may hand over.
func splitList(fields []field, args []string) (some, rest []string, list *field) {
	count := 0
	for i := range fields {
		if !fields[i].isArg {
			continue
		}
		count++
		if fields[i].value.Kind() == reflect.Slice {
			list = &fields[i] // the last argument, or kong refuses the grammar
		}
	}
	if list == nil || len(args) <= count {
		return args, nil, nil
	}
	return args[:count], args[count:], list
}

// names says whether one of the flags is f.
func (s split) names(f field) bool {
	for _, word := range s.flags {
		name, _, _ := strings.Cut(word[2:], "=")
		if f.isCalled(name) {
			return true
		}
	}
	return false
}

func (f field) isCalled(name string) bool {
	if name == "" {
		return false
	}
	if f.name == name {
		return true
	}
	for _, alias := range f.aliases {
		if alias == name {
			return true
		}
	}
	return false
}

// plainStrings takes strings as they are: kong sends them through JSON, which
// spoils file names that are not UTF-8.
func plainStrings() kong.Option {
	return kong.KindMapper(reflect.String, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue("string")
		if err != nil {
			return err
		}
		word, ok := token.Value.(string)
		if !ok {
			return fmt.Errorf("expected a word, not %v", token.Value)
		}
		target.SetString(word)
		return nil
	}))
}
