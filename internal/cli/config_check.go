package cli

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// sharedKeys may stand at the top of a file although they are flags of
// commands: they are then the default of every command that has them. Others
// may not, since --force or --all means something else to each command.
func sharedKeys() []string {
	return []string{"detach-keys", "log-driver", "log-opt", "stop-timeout", "subgidname", "subuidname", "tls-verify", "userns"}
}

// checkTable refuses a table that is no command's.
func (r *configReader) checkTable(key []string, line int) error {
	name := strings.Join(key, " ")
	if slices.ContainsFunc(r.all, func(e entry) bool { return e.name == name || strings.HasPrefix(e.name, name+" ") }) {
		return nil
	}
	var names []string
	for _, e := range r.all {
		names = append(names, strings.ReplaceAll(e.name, " ", "."))
	}
	hint := "a table is named after a command, as in [run]; global flags stand above the first table"
	if near := nearest(strings.Join(key, "."), names); near != "" {
		hint = fmt.Sprintf("did you mean [%s]?", near)
	}
	return r.fail(line, key, "no command of this version is called so", hint)
}

// check finds the flag that the key names, and looks whether it can have the
// value.
func (r *configReader) check(s *configSetting, key []string, v tomlValue) error {
	last := len(key) - 1
	s.command = strings.Join(key[:last], " ")
	fields, err := r.fieldsOfKey(key, s.line)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(fields, func(f field) bool { return !f.isArg && f.isCalled(key[last]) })
	if i < 0 {
		return r.unknown(s, key, fields)
	}
	f := fields[i]
	s.flag, s.kind, s.values = f.name, v.kind, v.values
	if why, hint := f.refuses(v); why != "" {
		return r.fail(s.line, key, why, hint)
	}
	return nil
}

// fieldsOfKey are the flags among which the key is.
func (r *configReader) fieldsOfKey(key []string, line int) ([]field, error) {
	if len(key) == 1 && slices.Contains(sharedKeys(), key[0]) {
		return sharedFields(r.all, key[0]), nil
	}
	if len(key) == 1 {
		// Which file is read cannot stand in it.
		return slices.DeleteFunc(fieldsOf(&globals{}), func(f field) bool { return f.name == "config" }), nil
	}
	table := key[:len(key)-1]
	name := strings.Join(table, " ")
	if found, ok := r.flags[name]; ok {
		return found, nil
	}
	if err := r.checkTable(table, line); err != nil {
		return nil, err
	}
	r.flags[name] = nil // the first word of two
	for _, e := range r.all {
		if e.name == name {
			r.flags[name] = fieldsOf(e.make())
		}
	}
	return r.flags[name], nil
}

// sharedFields are the flags of these names, each as the first command has it.
func sharedFields(all []entry, names ...string) []field {
	var out []field
	for _, e := range all {
		if len(out) == len(names) {
			break
		}
		for _, f := range fieldsOf(e.make()) {
			if slices.Contains(names, f.name) && !slices.ContainsFunc(out, func(o field) bool { return o.name == f.name }) {
				out = append(out, f)
			}
		}
	}
	return out
}

func (r *configReader) unknown(s *configSetting, key []string, fields []field) error {
	name := key[len(key)-1]
	if s.command != "" {
		e, err := findCommand(s.command)
		if c, ok := e.makeSafe(err).(refuser); ok {
			if why, ok := c.refused(name); ok {
				return r.fail(s.line, key, why.err("--"+name).Error(), why.hint)
			}
		}
		if err == nil && e.make != nil && slices.ContainsFunc(fieldsOf(e.make()), func(f field) bool { return f.name == name }) {
			return r.fail(s.line, key, "that is a matter of one run", "say --"+name+" on the command line")
		}
	}
	var names []string
	for _, f := range fields {
		if !f.isArg {
			names = append(names, f.name)
		}
	}
	if s.command == "" {
		names = append(names, sharedKeys()...)
	}
	if near := nearest(name, names); near != "" {
		return r.fail(s.line, key, "there is no such key", fmt.Sprintf("did you mean %q?", near))
	}
	if s.command == "" {
		return r.fail(s.line, key, "there is no such key outside tables", fmt.Sprintf("here stand %s; flags of a command stand in its table, as in [run]", strings.Join(names, ", ")))
	}
	return r.fail(s.line, key, fmt.Sprintf("%q has no flag of that name", "coracle "+s.command), fmt.Sprintf(`"coracle help %s" lists them`, s.command))
}

// makeSafe is nil where no such command was found.
func (e entry) makeSafe(err error) command {
	if err != nil || e.make == nil {
		return nil
	}
	return e.make()
}

// refuses says why the flag cannot have the value.
func (f field) refuses(v tomlValue) (why, hint string) {
	if want, hint := f.wants(v.kind); want != "" {
		return want + " is wanted, and it is " + article(v.kind), hint
	}
	if _, ok := v.kind, f.tag.Get("enum"); ok != "" {
		choices := strings.Split(ok, ",")
		for _, value := range v.values {
			if !slices.Contains(choices, value) {
				return notOneOf(value, choices)
			}
		}
	}
	t := f.value.Type()
	if text, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok {
		for _, value := range v.values {
			if err := text.UnmarshalText([]byte(value)); err != nil {
				return err.Error(), ""
			}
		}
	}
	if number(t) {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if !fits(t, v.values[0]) {
			return v.values[0] + " is out of its range", ""
		}
	}
	return "", ""
}

// wants is what the flag's type needs where kind is something else.
func (f field) wants(kind unstable.Kind) (want, hint string) {
	t := f.value.Type()
	_, own := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	switch {
	case own && (kind == unstable.String || kind == unstable.Integer):
	case own:
		return "a word or a number", ""
	case f.isBool && kind != unstable.Bool:
		return "true or false", "without quotes"
	case f.isBool:
	case t.Kind() == reflect.Slice && kind == unstable.String && f.isSingle():
	case t.Kind() == reflect.Slice && kind != unstable.Array:
		return "a list of words", `as in ["one", "two"]`
	case t.Kind() == reflect.Slice:
	case number(t) && kind != unstable.Integer:
		return "a number", "without quotes"
	case number(t):
	case kind != unstable.String && kind != unstable.Integer: // as in pids-limit = 100, which is a word since "max" is one
		return "a word", "write it in quotes"
	}
	return "", ""
}

// isSingle says whether a word will do for a list: mostly it has one.
func (f field) isSingle() bool { _, ok := f.tag.Lookup("single"); return ok }

func number(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// fits says whether the number has room in the type.
func fits(t reflect.Type, word string) bool {
	var n int64
	if _, err := fmt.Sscan(word, &n); err != nil {
		return false
	}
	v := reflect.New(t).Elem()
	switch {
	case v.CanInt():
		return !v.OverflowInt(n)
	case v.CanUint():
		return n >= 0 && !v.OverflowUint(uint64(n))
	}
	return true
}

// notOneOf says which values there are, and which of them was likely meant.
func notOneOf(value string, choices []string) (why, hint string) {
	named := slices.DeleteFunc(slices.Clone(choices), func(c string) bool { return c == "" })
	why = fmt.Sprintf("%q is not one of %s", value, strings.Join(named, ", "))
	if near := nearest(value, named); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return why, hint
}

// escaped is the word as kong takes it apart at commas where the flag is a list.
func (f field) escaped(word string) string {
	if f.value.Kind() != reflect.Slice || f.tag.Get("sep") == "none" {
		return word
	}
	return strings.ReplaceAll(word, ",", `\,`)
}
