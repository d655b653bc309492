package spec

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What runc 1.1.5 wrote differs by the version, the host name, ambient
// capabilities (newer ones leave them out: not inheritable, they had no effect)
// and the paths that were found worth masking since.
func TestExample(t *testing.T) {
	for name, o := range map[string]ExampleOptions{
		"runc-1.1.5":          {},
		"runc-1.1.5-rootless": {Rootless: true},
	} {
		data, err := os.ReadFile("testdata/config/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		want, err := LoadConfig(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		got := Example(o)
		for _, p := range want.Linux.MaskedPaths {
			if !slices.Contains(got.Linux.MaskedPaths, p) {
				t.Errorf("%s: %s is not masked", name, p)
			}
		}
		want.Version, want.Hostname, want.Process.Capabilities.Ambient, want.Linux.MaskedPaths = got.Version, "coracle", nil, got.Linux.MaskedPaths
		// Compared as JSON: empty and missing are the same there.
		if g, w := jsonOf(t, got), jsonOf(t, want); g != w {
			t.Errorf("%s:\n got  %s\n want %s", name, g, w)
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// An example is well wherever it is for, and without a word of warning.
func TestExampleValidates(t *testing.T) {
	for _, o := range []ExampleOptions{{}, {CgroupV2: true}, {Rootless: true, UID: 1000, GID: 100}, {Rootless: true, CgroupV2: true}} {
		h := HostFacts{Root: true}
		if o.Rootless {
			h = HostFacts{UserNamespace: true}
		}
		s := Example(o)
		if w, err := Validate(s, h); err != nil || len(w) > 0 {
			t.Errorf("%+v: %q, %v", o, w, err)
		}
		back, err := LoadConfig(bytes.NewReader([]byte(jsonOf(t, s))))
		if err != nil || !reflect.DeepEqual(jsonOf(t, back), jsonOf(t, s)) {
			t.Errorf("%+v: %v", o, err)
		}
		if own := slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace}); own != o.CgroupV2 {
			t.Errorf("%+v: a cgroup namespace: %v", o, own)
		}
	}
	here := ExampleHere(true)
	if m := here.Linux.UIDMappings; len(m) != 1 || m[0].HostID != uint32(os.Geteuid()) {
		t.Errorf("%+v", m)
	}
}
