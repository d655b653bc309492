package plainjson

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// No two names of properties differ by case only, in any struct: then which one
// is meant would be a matter of taste.
func TestPropertyNames(t *testing.T) {
	var walk func(t reflect.Type)
	seen := make(map[reflect.Type]bool)
	count := 0
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			if seen[typ] {
				return
			}
			seen[typ] = true
			names := make(map[string]bool)
			for _, f := range fieldsOf(typ) {
				count++
				if l := strings.ToLower(f.name); names[l] {
					t.Errorf("%v: %s", typ, f.name)
				} else {
					names[l] = true
				}
				walk(typ.FieldByIndex(f.index).Type)
			}
		case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Interface:
		default:
			t.Errorf("the decoder does not know a %v", typ)
		}
	}
	walk(reflect.TypeFor[specs.Spec]())
	if count < 200 {
		t.Errorf("only %d properties", count)
	}
}

// As encoding/json has it: what a struct has itself counts before what one in it has.
func TestEmbedded(t *testing.T) {
	type Inner struct{ A, B, C string }
	type outer struct {
		Inner
		B string
		C string `json:"-"`
		d string
	}
	data, err := Encode(outer{Inner{"1", "2", "3"}, "4", "5", "6"})
	if got, want := string(data), `{"A":"1","B":"4","C":"3"}`; err != nil || got != want {
		t.Errorf("got %s, want %s, %v", got, want, err)
	}
	var back outer
	if err := Decode(data, &back); err != nil || back.A != "1" || back.B != "4" || back.Inner.B != "" {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestBytes(t *testing.T) {
	for doc, want := range map[string]string{`"AAEC"`: "", `"AAE"`: `want bytes in base64, found "AAE"`, `[1]`: "want bytes in base64, found an array", `"AA`: "not JSON: the file ends in the middle of it: it is cut off"} {
		var b []byte
		err := Decode([]byte(doc), &b)
		if want == "" && (err != nil || string(b) != "\x00\x01\x02") {
			t.Errorf("%s: %q, %v", doc, b, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "not JSON: "))) {
			t.Errorf("%s: %v, want %s", doc, err, want)
		}
	}
	var f float64
	if err := Decode([]byte(`-1.5e3`), &f); err != nil || f != -1500 {
		t.Errorf("%v, %v", f, err)
	}
	if err := Decode([]byte(`1e999`), &f); err == nil {
		t.Error("1e999 is a number")
	}
}
