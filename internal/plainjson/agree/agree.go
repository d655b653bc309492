// Package agree holds plainjson against encoding/json, for the tests of packages that
// have documents.
package agree

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"coracle/internal/plainjson"
)

// Check fails unless plainjson writes of v's type, with something in each of its
// fields and with nothing in them, what encoding/json reads as the same, and reads what that writes.
func Check(t testing.TB, v any) {
	t.Helper()
	typ := reflect.TypeOf(v)
	full := reflect.New(typ)
	fill(full.Elem(), new(int), 0)
	for _, want := range []reflect.Value{full, reflect.New(typ), reflect.ValueOf(&v).Elem().Elem()} {
		want = reflect.Indirect(want)
		data, err := plainjson.Encode(want.Interface())
		if err != nil {
			t.Fatal(err)
		}
		plain, err := json.Marshal(want.Interface())
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string]struct {
			by   string
			read func([]byte, any) error
			data []byte
		}{
			"what we write, read by encoding/json": {"json", json.Unmarshal, data},
			"what we write, read by us":            {"plainjson", plainjson.Decode, data},
			"what encoding/json writes":            {"plainjson", plainjson.Decode, plain},
		} {
			back, standard := reflect.New(typ), reflect.New(typ)
			if err := got.read(got.data, back.Interface()); err != nil {
				t.Errorf("%v, %s: %v\n%.1000s", typ, name, err, got.data)
				continue
			}
			if err := json.Unmarshal(plain, standard.Interface()); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back.Interface(), standard.Interface()) {
				t.Errorf("%v, %s:\ngot  %+v\nwant %+v", typ, name, back.Elem(), standard.Elem())
			}
		}
	}
}

// fill puts something into all of v, each time something else.
func fill(v reflect.Value, n *int, depth int) {
	*n++
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, depth+1)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(*n), 123456789).UTC()))
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				fill(v.Field(i), n, depth+1)
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n, depth+1)
		fill(elem, n, depth+1)
		v.SetMapIndex(key, elem)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n, depth+1)
		}
	case reflect.String:
		v.SetString("<é\"\\\n😀&" + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(*n) + 0.125)
	default:
		if v.CanInt() {
			v.SetInt(int64(*n % 100))
		} else if v.CanUint() {
			v.SetUint(uint64(*n % 100))
		}
	}
}
