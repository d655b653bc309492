package plainjson

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Encode writes v as Decode and encoding/json read it, in one line. Characters of HTML
// are not escaped.
func Encode(v any) ([]byte, error) {
	e := encoder{}
	err := e.value(reflect.Indirect(reflect.ValueOf(v)))
	return e.out, err
}

type encoder struct {
	out []byte
}

func (e *encoder) value(v reflect.Value) (err error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			e.raw("null")
			return nil
		}
		return e.value(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(encoding.TextMarshaler); ok {
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
		if v.Type().Elem().Kind() == reflect.Uint8 {
			e.text(base64.StdEncoding.EncodeToString(v.Bytes()))
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
	default: // a fraction, or an interface, which the runtime-spec has for Windows only
		var text []byte
		text, err = json.Marshal(v.Interface())
		e.out = append(e.out, text...)
	}
	return err
}

func (e *encoder) raw(s string) { e.out = append(e.out, s...) }

// separator is what stands before an element.
func separator(open string, first bool) string {
	if first {
		return open
	}
	return ","
}

func (e *encoder) end(open string, empty bool, closing string) {
	if empty {
		e.raw(open)
	}
	e.raw(closing)
}

func (e *encoder) object(v reflect.Value) error {
	empty := true
	for _, f := range fieldsOf(v.Type()) {
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
func (e *encoder) mapping(v reflect.Value) error {
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

func (e *encoder) text(s string) {
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
