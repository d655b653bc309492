// Package plainjson reads and writes the documents of this program and of the
// runtime-spec: what encoding/json makes of the same types, in the time that a
// process has which reads one document and ends. encoding/json spends a millisecond at
// the first use of a large type, for it prepares for all that the type may ever hold;
// and it overlooks what matters in a file that decides what is locked up.
//
// Of types it knows structs, with their json tags (omitempty, "-"), pointers, maps with
// keys of text, lists, bytes, text, numbers, truth, and structs with methods for their
// text, as time.Time; not other methods for text and JSON.
package plainjson

import (
	"encoding"
	"encoding/base64"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Bounds of a document. The runtime-spec's own deepest property stands 8
// deep; a list of 65536 of its largest entries takes 10 MB.
const (
	maxDepth   = 64
	maxEntries = 1 << 16
)

// Decode reads one document into what into points to. It differs from
// encoding/json in this:
//
//   - Names of properties count in their exact case. A property that differs
//     from a known one by case only is refused, for other runtimes take it; what
//     is unknown is ignored (runtime-spec config.md#extensibility).
//   - Nothing may stand twice in one object: who reads the first and who reads
//     the last would see two containers.
//   - Text is UTF-8 without NUL, at which the kernel would cut it off.
//   - Errors, each an *Error, have the JSON path, with the indexes of arrays.
func Decode(data []byte, into any) error {
	d := decoder{data: data}
	if err := d.value(reflect.ValueOf(into).Elem()); err != nil {
		return err
	}
	if d.space(); d.pos < len(d.data) {
		return d.syntax("more follows after the document's end")
	}
	return nil
}

// decoder reads data from pos on; at is where that is in the document.
type decoder struct {
	data []byte
	pos  int
	at   []step
}

// step leads from a value to one inside it: a property, a key of a map or
// an index.
type step struct {
	name  string
	key   bool
	index int // where name is empty
}

func (d *decoder) space() {
	for d.pos < len(d.data) {
		switch d.data[d.pos] {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return
		}
	}
}

// next is the first byte after space, 0 at the end.
func (d *decoder) next() byte {
	d.space()
	if d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

// value reads what comes into v. null leaves v alone: Go programs write it for
// an empty list.
func (d *decoder) value(v reflect.Value) error {
	c := d.next()
	if c == 'n' {
		return d.word("null")
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(v.Elem())
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			return d.unmarshalText(c, v.Type(), t)
		}
		return d.object(c, func(key string) error { return d.property(v, key) })
	case reflect.Map:
		return d.mapping(c, v)
	case reflect.Slice:
		return d.list(c, v)
	case reflect.String:
		if c != '"' {
			return d.wrong("a string", c)
		}
		s, err := d.text()
		v.SetString(s)
		return err
	case reflect.Bool:
		switch c {
		case 't':
			v.SetBool(true)
			return d.word("true")
		case 'f':
			return d.word("false")
		}
		return d.wrong("true or false", c)
	case reflect.Interface: // the runtime-spec has them for Windows only
		return d.skip()
	case reflect.Float32, reflect.Float64:
		return d.float(c, v)
	default:
		return d.number(c, v)
	}
}

func (d *decoder) unmarshalText(c byte, typ reflect.Type, into encoding.TextUnmarshaler) error {
	want := "text for " + typ.String()
	if typ == reflect.TypeFor[time.Time]() {
		want = "a time"
	}
	if c != '"' {
		return d.wrong(want, c)
	}
	s, err := d.text()
	if err == nil && into.UnmarshalText([]byte(s)) != nil {
		err = d.fail("want %s, found %s", want, Quote(s))
	}
	return err
}

// wrong says that a value of another kind was wanted.
func (d *decoder) wrong(want string, c byte) error {
	found := ""
	switch {
	case d.pos >= len(d.data):
		return d.syntax("")
	case c == '"':
		found = "a string"
	case c == '{':
		found = "an object"
	case c == '[':
		found = "an array"
	case c == 't', c == 'f':
		found = "true or false"
	case c == '-', c >= '0' && c <= '9':
		found = "a number"
	default:
		return d.syntax("want " + want + ", found " + strconv.QuoteRune(rune(c)))
	}
	return d.fail("want %s, found %s", want, found)
}

// enter goes down one step.
func (d *decoder) enter(s step) error {
	if len(d.at) == maxDepth {
		return d.fail("nested more than %d deep", maxDepth)
	}
	d.at = append(d.at, s)
	return nil
}

func (d *decoder) leave() { d.at = d.at[:len(d.at)-1] }

// object reads the pairs of an object and hands each key over; member reads the
// value.
func (d *decoder) object(c byte, member func(key string) error) error {
	if c != '{' {
		return d.wrong("an object", c)
	}
	d.pos++
	if d.next() == '}' {
		d.pos++
		return nil
	}
	seen := make(map[string]bool, 8)
	for {
		if d.next() != '"' {
			return d.syntax("want the name of a property")
		}
		key, err := d.text()
		if err != nil {
			return err
		}
		if d.next() != ':' {
			return d.syntax("want a colon after " + Quote(key))
		}
		d.pos++
		if seen[key] {
			return d.fail("%s stands twice", Quote(key))
		}
		if len(seen) == maxEntries {
			return d.fail("more than %d entries", maxEntries)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.pos++
		case '}':
			d.pos++
			return nil
		default:
			return d.syntax("want a comma or }")
		}
	}
}

// property reads the value of one property of a struct.
func (d *decoder) property(v reflect.Value, key string) error {
	var near string
	for _, f := range fieldsOf(v.Type()) {
		if f.name == key {
			if err := d.enter(step{name: key}); err != nil {
				return err
			}
			defer d.leave()
			return d.value(v.FieldByIndex(f.index))
		}
		if len(f.name) == len(key) && strings.EqualFold(f.name, key) {
			near = f.name
		}
	}
	if near != "" {
		return d.fail("the property %s is spelled %s", Quote(key), near)
	}
	if err := d.enter(step{name: Quote(key)}); err != nil {
		return err
	}
	defer d.leave()
	return d.skip()
}

func (d *decoder) mapping(c byte, v reflect.Value) error {
	m := reflect.MakeMap(v.Type())
	err := d.object(c, func(key string) error {
		if err := d.enter(step{name: key, key: true}); err != nil {
			return err
		}
		defer d.leave()
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(elem); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), elem)
		return nil
	})
	v.Set(m)
	return err
}

func (d *decoder) list(c byte, v reflect.Value) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return d.bytes(c, v)
	}
	if c != '[' {
		return d.wrong("an array", c)
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 4))
	return d.elements(func(i int) error {
		if i == v.Cap() {
			v.Grow(i)
		}
		v.SetLen(i + 1)
		return d.value(v.Index(i))
	})
}

// bytes reads a list of them, which stands in base64.
func (d *decoder) bytes(c byte, v reflect.Value) error {
	if c != '"' {
		return d.wrong("bytes in base64", c)
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return d.fail("want bytes in base64, found %s", Quote(s))
	}
	v.SetBytes(b)
	return nil
}

// elements reads an array, whose [ is at pos.
func (d *decoder) elements(element func(i int) error) error {
	d.pos++
	if d.next() == ']' {
		d.pos++
		return nil
	}
	for i := 0; ; i++ {
		if i == maxEntries {
			return d.fail("more than %d entries", maxEntries)
		}
		if err := d.enter(step{index: i}); err != nil {
			return err
		}
		if err := element(i); err != nil {
			return err
		}
		d.leave()
		switch d.next() {
		case ',':
			d.pos++
		case ']':
			d.pos++
			return nil
		default:
			return d.syntax("want a comma or ]")
		}
	}
}

// skip reads a value that nobody asked for.
func (d *decoder) skip() error {
	switch c := d.next(); c {
	case '{':
		return d.object(c, func(key string) error {
			if err := d.enter(step{name: key, key: true}); err != nil {
				return err
			}
			defer d.leave()
			return d.skip()
		})
	case '[':
		return d.elements(func(int) error { return d.skip() })
	case '"':
		_, err := d.text()
		return err
	case 't':
		return d.word("true")
	case 'f':
		return d.word("false")
	case 'n':
		return d.word("null")
	default:
		_, err := d.digits("a value", c)
		return err
	}
}

func (d *decoder) word(w string) error {
	if !strings.HasPrefix(string(d.data[d.pos:min(len(d.data), d.pos+len(w))]), w) {
		if d.pos+len(w) > len(d.data) {
			d.pos = len(d.data)
		}
		return d.syntax("want " + w)
	}
	d.pos += len(w)
	return nil
}
