package plainjson

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// types are the fields of structs, by their reflect.Type: found out once each.
var types sync.Map

// field is one of a struct that stands in its document.
type field struct {
	name      string
	index     []int
	omitEmpty bool
}

// fieldsOf lists the fields of a struct, those of an embedded one as its own unless it
// has one of that name itself.
func fieldsOf(t reflect.Type) []field {
	if f, ok := types.Load(t); ok {
		return f.([]field)
	}
	out := make([]field, 0, t.NumField())
	add := func(f field) {
		i := slices.IndexFunc(out, func(had field) bool { return had.name == f.name })
		switch {
		case i < 0:
			out = append(out, f)
		case len(f.index) < len(out[i].index):
			out[i] = f
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous:
			for _, sub := range fieldsOf(f.Type) {
				add(field{sub.name, append([]int{i}, sub.index...), sub.omitEmpty})
			}
		case name != "-" && f.IsExported():
			if name == "" {
				name = f.Name
			}
			add(field{name, f.Index, options == "omitempty"})
		}
	}
	types.Store(t, out)
	return out
}
