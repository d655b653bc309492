package spec

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// encodeJSON is json.Marshal for what decodeJSON reads, and as fast: at its
// first use encoding/json prepares for all that a type might ever hold.
// Characters of HTML are not escaped.
func encodeJSON(v any) ([]byte, error) {
	e := jsonEncoder{types: make(jsonTypes, 32)}
	err := e.value(reflect.Indirect(reflect.ValueOf(v)))
	return e.out, err
}

type jsonEncoder struct {
	out   []byte
	types jsonTypes
}

func (e *jsonEncoder) value(v reflect.Value) (err error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			e.raw("null")
			return nil
		}
		return e.value(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			text, err := t.MarshalText()
			e.text(string(text))
			return err
		}
		return e.object(v)
	case reflect.Map:
		return e.mapping(v)
	case reflect.Slice:
		if v.IsNil() {
			e.raw("null")
			return nil
		}
		for i := range v.Len() {
			e.raw(separator("[", i == 0))
			if err := e.value(v.Index(i)); err != nil {
				return err
			}
		}
		e.end("[", v.Len() == 0, "]")
	case reflect.String:
		e.text(v.String())
	case reflect.Bool:
		e.out = strconv.AppendBool(e.out, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.out = strconv.AppendInt(e.out, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.out = strconv.AppendUint(e.out, v.Uint(), 10)
	default: // an interface, of Windows only
		var text []byte
		text, err = json.Marshal(v.Interface())
		e.out = append(e.out, text...)
	}
	return err
}

func (e *jsonEncoder) raw(s string) { e.out = append(e.out, s...) }

// separator is what stands before an element.
func separator(open string, first bool) string {
	if first {
		return open
	}
	return ","
}

func (e *jsonEncoder) end(open string, empty bool, closing string) {
	if empty {
		e.raw(open)
	}
	e.raw(closing)
}

func (e *jsonEncoder) object(v reflect.Value) error {
	empty := true
	for _, f := range e.types.fields(v.Type()) {
		field := v.FieldByIndex(f.index)
		if f.omitEmpty && isEmpty(field) {
			continue
		}
		e.raw(separator("{", empty))
		empty = false
		e.text(f.name)
		e.raw(":")
		if err := e.value(field); err != nil {
			return err
		}
	}
	e.end("{", empty, "}")
	return nil
}

// isEmpty is what json.Marshal means by omitempty.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

// mapping writes a map, whose keys are strings, in their order.
func (e *jsonEncoder) mapping(v reflect.Value) error {
	if v.IsNil() {
		e.raw("null")
		return nil
	}
	values := make(map[string]reflect.Value, v.Len())
	for pairs := v.MapRange(); pairs.Next(); {
		values[pairs.Key().String()] = pairs.Value()
	}
	for i, key := range slices.Sorted(maps.Keys(values)) {
		e.raw(separator("{", i == 0))
		e.text(key)
		e.raw(":")
		if err := e.value(values[key]); err != nil {
			return err
		}
	}
	e.end("{", len(values) == 0, "}")
	return nil
}

func (e *jsonEncoder) text(s string) {
	const hex = "0123456789abcdef"
	e.out = append(e.out, '"')
	for _, r := range s { // a byte that is not UTF-8 comes as U+FFFD
		switch {
		case r == '"' || r == '\\':
			e.out = append(e.out, '\\', byte(r))
		case r < ' ':
			e.out = append(e.out, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			e.out = utf8.AppendRune(e.out, r)
		}
	}
	e.out = append(e.out, '"')
}

// jsonTypes are the properties of structs, found out once each.
type jsonTypes map[reflect.Type][]jsonField

type jsonField struct {
	name      string
	index     []int
	omitEmpty bool
}

// fields lists the properties of a struct, those of an embedded one as its own.
func (types jsonTypes) fields(t reflect.Type) []jsonField {
	if f, ok := types[t]; ok {
		return f
	}
	out := make([]jsonField, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			for _, sub := range types.fields(f.Type) {
				out = append(out, jsonField{sub.name, append([]int{i}, sub.index...), sub.omitEmpty})
			}
		case name != "" && name != "-":
			out = append(out, jsonField{name, f.Index, options == "omitempty"})
		}
	}
	types[t] = out
	return out
}
