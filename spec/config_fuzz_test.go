package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"coracle/spec/seccomp"
	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzConfigJSON holds the decoder against encoding/json: what the one takes the
// other takes too, and sees the same; and what the encoder writes of it says
// what encoding/json would write.
func FuzzConfigJSON(f *testing.F) {
	for _, data := range goodConfigs(f) {
		if len(data) < 3000 { // what is found is made small, byte by byte
			f.Add(data)
		}
	}
	for _, s := range []string{`{`, `[]`, `{"process":{"args":["\ud83d\ude00\u0000"]}}`, `{"mounts":[{},{"options":[null]}],"x":-1.5e+9}`, `{"linux":{"devices":[{"major":9223372036854775808}]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := LoadConfig(bytes.NewReader(data))
		if err != nil {
			var ce *ConfigError
			if !errors.As(err, &ce) || ce.Msg == "" || len(err.Error()) > 10000 {
				t.Errorf("%T %.200v", err, err)
			}
			return
		}
		var want specs.Spec
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("taken, and encoding/json says %v", err)
		}
		want.Windows, got.Windows = nil, nil // with the only part that is skipped
		if !reflect.DeepEqual(got, &want) {
			t.Errorf("got  %.2000v\nwant %.2000v", got, &want)
		}
		sameJSON(t, got)
	})
}

// mutation changes one place of a JSON tree.
type mutation struct {
	place, value uint16
}

// FuzzConfig changes a few places of good configurations at a time, by their
// structure. Nothing may make Validate panic, and what it takes is compiled or
// refused with an error.
func FuzzConfig(f *testing.F) {
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range goodConfigs(f) {
			if !yield(name) {
				return
			}
		}
	})
	bases := make([][]byte, len(names))
	for i, name := range names {
		bases[i] = goodConfigs(f)[name]
		f.Add(uint8(i), uint8(i), []byte{})
		for j := range 40 {
			f.Add(uint8(i), uint8(j), []byte{byte(j), byte(7 * j), byte(j / 3), byte(j), byte(91 * j), 0, byte(j), byte(5 * j)})
		}
	}
	stub, err := userns.OpenStub()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, base, host uint8, steps []byte) {
		doc := mutate(t, bases[int(base)%len(bases)], steps)
		s, err := LoadConfig(bytes.NewReader(doc))
		if err != nil {
			return
		}
		h := []HostFacts{rootless(), everything(), {Root: true}, {UserNamespace: true, UIDMap: idMaps(0, 1000, 1)}}[host%4]
		if _, err := Validate(s, h); err != nil {
			var ce *ConfigError
			var se *seccomp.FieldError
			if !errors.As(err, &ce) && !errors.As(err, &se) || len(err.Error()) > 1000 {
				t.Errorf("%T %.200v\n%.2000s", err, err, doc)
			}
			return
		}
		checkCompiles(t, s, stub, doc)
	})
}

func checkCompiles(t *testing.T, s *specs.Spec, stub *os.File, doc []byte) {
	t.Helper()
	joins := slices.ContainsFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Path != "" })
	if joins {
		return // Compile opens them
	}
	prog, err := seccomp.Compile(s.Linux.Seccomp, runtime.GOARCH)
	if err != nil && !errors.Is(err, seccomp.ErrTooLarge) {
		t.Errorf("Validate takes a profile, and Compile says %v", err)
	}
	p, _, err := Compile(s, &Extra{Stub: stub, Seccomp: prog.Filter, SeccompFlags: prog.Flags, Bundle: "/b"})
	switch {
	case err != nil && err.Error() == "":
		t.Errorf("an error without text: %.2000s", doc)
	case err == nil && p.Len() < 10:
		t.Errorf("a program of %d steps: %.2000s", p.Len(), doc)
	}
}

// nasty are the values that places get, besides those of other places.
func nasty() []any {
	var deep any = "x"
	for range 70 {
		deep = []any{deep}
	}
	return []any{
		nil, true, false, 0, 1, -1, -2, 255, 4096, 65536, json.Number("4294967295"), json.Number("4294967296"), json.Number("9223372036854775807"),
		json.Number("-9223372036854775808"), json.Number("18446744073709551615"), json.Number("1e9"), "", "/", ".", "..", "/../..", "a\x00b", "/proc/self/fd/9",
		"-1", "0-8191", "99999999999999999999", "SCMP_ACT_NOTIFY", "bind", "tmpcopyup", "idmap", "remount", "rshared", "user", "mount", "CAP_FOO", "RLIMIT_NOFILE",
		strings.Repeat("a", 5000), strings.Repeat("/a", 3000), "é\u2028", []any{}, map[string]any{}, deep, []any{nil}, []any{"a", "a"}, map[string]any{"": ""},
	}
}

// mutate takes four bytes of steps at a time: which place, and what becomes of it.
func mutate(t *testing.T, doc, steps []byte) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	values := nasty()
	for n := 0; len(steps) >= 4 && n < 8; n, steps = n+1, steps[4:] {
		m := mutation{uint16(steps[0])<<8 | uint16(steps[1]), uint16(steps[2])<<8 | uint16(steps[3])}
		places := placesOf(tree, nil)
		if len(places) == 0 {
			break
		}
		at := places[int(m.place)%len(places)]
		switch v := int(m.value) % (len(values) + 3); {
		case v < len(values):
			at.set(copyOf(values[v])) // one that is there twice could get into itself
		case v == len(values):
			at.remove()
		case v == len(values)+1: // what stands at another place
			at.set(places[int(m.value/7)%len(places)].get())
		default:
			at.double()
		}
	}
	out, err := json.Marshal(tree)
	if err != nil {
		return doc // a tree that has got into itself
	}
	return out
}

// jsonPlace is a member of an object or an element of an array.
type jsonPlace struct {
	object map[string]any
	key    string
	array  *[]any // of the parent, which is replaced when it grows
	index  int
	up     func(any)
}

func placesOf(v any, replace func(any)) (out []jsonPlace) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			out = append(out, jsonPlace{object: v, key: key})
			out = append(out, placesOf(v[key], func(x any) { v[key] = x })...)
		}
	case []any:
		for i := range v {
			out = append(out, jsonPlace{array: &v, index: i, up: replace})
			out = append(out, placesOf(v[i], func(x any) { v[i] = x })...)
		}
	}
	return out
}

func (p jsonPlace) get() any {
	if p.object != nil {
		return copyOf(p.object[p.key])
	}
	return copyOf((*p.array)[p.index])
}

func (p jsonPlace) set(v any) {
	if p.object != nil {
		p.object[p.key] = v
	} else {
		(*p.array)[p.index] = v
	}
}

func (p jsonPlace) remove() {
	if p.object != nil {
		delete(p.object, p.key)
	} else if p.up != nil {
		p.up(slices.Delete(slices.Clone(*p.array), p.index, p.index+1))
	}
}

func (p jsonPlace) double() {
	if p.object != nil {
		p.object[p.key+"2"] = copyOf(p.object[p.key])
	} else if p.up != nil {
		p.up(append(slices.Clone(*p.array), p.get()))
	}
}

func copyOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = copyOf(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = copyOf(x)
		}
		return out
	}
	return v
}

// The mutations reach into the configuration, and Validate still takes some of
// what comes out: else the fuzz target would look at nothing.
func TestMutate(t *testing.T) {
	doc := goodConfigs(t)["testdata/config/runc-1.1.5-rootless.json"]
	if got, want := string(mutate(t, doc, nil)), string(mutate(t, []byte(strings.ReplaceAll(string(doc), "\t", "")), nil)); got != want {
		t.Error("no mutation changes something")
	}
	taken, refused := 0, make(map[string]bool)
	for i := range 2000 {
		s, err := LoadConfig(bytes.NewReader(mutate(t, doc, []byte{byte(i >> 4), byte(i * 37), byte(i), byte(i * 11)})))
		if err == nil {
			_, err = Validate(s, everything())
		}
		if err == nil {
			taken++
			continue
		}
		field, _, _ := strings.Cut(err.Error(), ":")
		refused[field] = true
	}
	if taken < 100 || len(refused) < 30 {
		t.Errorf("%d taken, refused for %d fields: %v", taken, len(refused), fmt.Sprint(sortedKeys(refused)))
	}
}

func FuzzProcess(f *testing.F) {
	for _, s := range []string{
		`{"args":["sh"],"cwd":"/"}`, `{"user":{"uid":1,"gid":1,"additionalGids":[1,2],"umask":18},"args":["a"],"env":["A=b"],"cwd":"/x","terminal":true,"consoleSize":{"height":1,"width":70000}}`,
		`{"args":["a"],"cwd":"/","capabilities":{"bounding":["CAP_KILL","x"],"ambient":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]}`,
		`{"args":["a"],"cwd":"/","scheduler":{"policy":"SCHED_DEADLINE","runtime":5000,"deadline":6000,"flags":["SCHED_FLAG_RECLAIM"]},"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":7},"execCPUAffinity":{"initial":"0-3","final":"1"},"oomScoreAdj":-5}`,
	} {
		f.Add([]byte(s), true)
	}
	stub, err := userns.OpenStub()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, root bool) {
		p, err := LoadProcess(bytes.NewReader(data))
		if err != nil {
			return
		}
		h := rootless()
		if root {
			h = everything()
		}
		s := plain()
		if _, err := ValidateProcess(p, s, h); err != nil {
			if !strings.HasPrefix(err.Error(), "process") {
				t.Errorf("%v", err)
			}
			return
		}
		s.Process = p
		checkCompiles(t, s, stub, data)
	})
}

func FuzzResources(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":5,"swap":9},"cpu":{"shares":2,"cpus":"0-3,7"},"pids":{"limit":-1},"unified":{"memory.high":"max"},"rdma":{"a":{"hcaObjects":1}},"hugepageLimits":[{"pageSize":"2MB","limit":1}]}`))
	f.Add([]byte(`{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":-1,"minor":3,"access":"r"}],"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":10}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := LoadResources(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, err := ValidateResources(r); err != nil {
			var ce *ConfigError
			if !errors.As(err, &ce) || ce.Path == "" {
				t.Errorf("%v", err)
			}
		}
	})
}
