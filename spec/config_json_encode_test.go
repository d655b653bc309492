package spec

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"coracle/cgroupv2"
	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// sameJSON holds plainjson.Encode against encoding/json: both say the same of v.
func sameJSON(t *testing.T, v any) {
	t.Helper()
	data, err := plainjson.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v: %.2000s", err, data)
	}
	if err := json.Unmarshal(plain, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %.2000s\nwant %.2000s", data, plain)
	}
}

func TestEncodeJSON(t *testing.T) {
	for name, data := range goodConfigs(t) {
		var s specs.Spec
		if err := json.Unmarshal(data, &s); err != nil { // with the parts of Windows
			t.Fatalf("%s: %v", name, err)
		}
		sameJSON(t, &s)
	}
	no := false
	for _, v := range []any{
		&specs.Spec{},
		&specs.Process{Args: []string{}, Env: nil, Cwd: "\x00\x1f\"\\/\u2028<é😀\xff", Rlimits: []specs.POSIXRlimit{{Hard: 1<<64 - 1}}},
		&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{}, {Allow: true}}, Memory: &specs.LinuxMemory{DisableOOMKiller: &no}},
		&specs.Spec{Annotations: map[string]string{}, Linux: &specs.Linux{Sysctl: map[string]string{"b": "", "a": "\t", "": "x"}, TimeOffsets: map[string]specs.LinuxTimeOffset{"boottime": {Secs: -1}}}},
		&specs.Windows{CredentialSpec: map[string]any{"a": []any{1.5, nil}}},
		&record{},
		&record{State: specs.State{ID: "a", Annotations: map[string]string{"k": "v"}}, Created: time.Date(2024, 2, 29, 1, 2, 3, 456789, time.FixedZone("", 3600)),
			Namespaces: map[string]uint64{"mnt": 1<<64 - 1}, Cgroup: cgroupv2.Ref{Path: "/a", ID: 7, User: true}},
	} {
		sameJSON(t, v)
	}
}

// What a state file says comes back as it was.
func TestRecordJSON(t *testing.T) {
	want := record{
		State:  specs.State{Version: "1.3.0", ID: "a", Status: StatePaused, Pid: 3, Bundle: "/b\n", Annotations: map[string]string{"k": "v"}},
		Rootfs: "/r", Created: time.Now().UTC(), Owner: 1000, StartTime: 1 << 60, Boot: "x",
		Namespaces: map[string]uint64{"mnt": 4026531840, "user": 1}, Cgroup: cgroupv2.Ref{Path: "/a", ID: 7, Made: 2}, RootMount: 9, Poststopped: true,
	}
	data, err := plainjson.Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func([]byte, any) error{"ours": plainjson.Decode, "encoding/json": json.Unmarshal} {
		var got record
		if err := read(data, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, want)
		}
	}
	for doc, msg := range map[string]string{`{"created": 1}`: "created: want a time, found a number", `{"created": "now"}`: `created: want a time, found "now"`} {
		if err := plainjson.Decode([]byte(doc), new(record)); err == nil || err.Error() != msg {
			t.Errorf("%s: got %v, want %s", doc, err, msg)
		}
	}
}
