package seccomp

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func specWith(caps []string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
}

// TestDefaultIsMobys: on this machine moby's own resolution says the same, but
// for the one rule that is replaced.
func TestDefaultIsMobys(t *testing.T) {
	for name, caps := range capabilitySets {
		want, err := moby.GetDefaultProfile(specWith(caps))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(want.Syscalls, isSocketAbove)
		if i < 0 {
			t.Fatal("moby has no such rule any more: is socketAbove still needed?")
		}
		want.Syscalls = slices.Replace(want.Syscalls, i, i+1, socketAbove()...)
		got, err := Default(caps, runtime.GOARCH)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
}

// TestLoadIsMobys loads moby's own files, the default in JSON among them.
func TestLoadIsMobys(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/profiles/seccomp").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(dir))
	files, _ := filepath.Glob(filepath.Join(root, "fixtures", "*.json"))
	for _, file := range append(files, filepath.Join(root, "default.json")) {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, caps := range capabilitySets {
			want, err := moby.LoadProfile(string(body), specWith(caps))
			if err != nil {
				t.Fatal(err)
			}
			got, err := LoadProfile(body, caps, runtime.GOARCH)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			// They differ in empty and missing lists.
			if x, y := asJSON(t, got), asJSON(t, want); x != y {
				t.Errorf("%s, %s: got %s\nwant %s", filepath.Base(file), name, x, y)
			}
		}
	}
	if len(files) < 3 {
		t.Errorf("only %d fixtures", len(files))
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestConditions(t *testing.T) {
	sc := func(cond string) string {
		return `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",` + cond + `}]}`
	}
	at := target{[]string{"CAP_A", "CAP_B"}, "arm64", kernelVersion{5, 10}}
	for cond, want := range map[string]bool{
		`"comment":""`:                                                true,
		`"includes":{}`:                                               true,
		`"includes":null`:                                             true,
		`"includes":{"caps":["CAP_A","CAP_B"]}`:                       true,
		`"includes":{"caps":["CAP_A","CAP_C"]}`:                       false,
		`"includes":{"arches":["amd64","arm64"]}`:                     true,
		`"includes":{"arches":["amd64"]}`:                             false,
		`"includes":{"minKernel":"5.10"}`:                             true,
		`"includes":{"minKernel":"5.11"}`:                             false,
		`"includes":{"minKernel":"4.19"}`:                             true,
		`"includes":{"minKernel":"6.0"}`:                              false,
		`"includes":{"caps":["CAP_A"],"arches":["x86"]}`:              false,
		`"excludes":{}`:                                               true,
		`"excludes":{"caps":["CAP_C","CAP_B"]}`:                       false,
		`"excludes":{"caps":["CAP_C"]}`:                               true,
		`"excludes":{"arches":["arm64"]}`:                             false,
		`"excludes":{"arches":["arm"]}`:                               true,
		`"excludes":{"minKernel":"5.10"}`:                             false,
		`"excludes":{"minKernel":"5.11"}`:                             true,
		`"includes":{"caps":["CAP_A"]},"excludes":{"caps":["CAP_B"]}`: false,
	} {
		p, err := at.load([]byte(sc(cond)))
		if err != nil {
			t.Errorf("%s: %v", cond, err)
			continue
		}
		if got := len(p.Syscalls) == 1; got != want {
			t.Errorf("%s: included %v, want %v", cond, got, want)
		}
	}
}

func TestLoadForms(t *testing.T) {
	for body, want := range map[string]string{
		// The runtime-spec's own form.
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"flags":["SCMP"],"syscalls":[]}`: `linux`,
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"flags":[]}`:                     `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"]}`,
		// docker before 1.11: one name an entry.
		`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":null}]}`: `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`,
		// podman: errno names, which count more than the numbers.
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"defaultErrno":"ENOSYS","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":22,"errno":"EPERM"}]}`: `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}`,
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EWOULDBLOCK"}`: `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":11}`,
		// archMap: only this machine's line.
		`{"defaultAction":"SCMP_ACT_KILL","archMap":[{"architecture":"SCMP_ARCH_S390X","subArchitectures":["SCMP_ARCH_S390"]},{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]}`: `{"defaultAction":"SCMP_ACT_KILL","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]}`,
		`{"defaultAction":"SCMP_ACT_KILL","archMap":[{"architecture":"SCMP_ARCH_S390X"}]}`:                                                                                                                `{"defaultAction":"SCMP_ACT_KILL"}`,
	} {
		p, err := LoadProfile([]byte(body), nil, "amd64")
		if want == "linux" {
			if err == nil || err.Error() != `flags[0]: unknown flag "SCMP"` {
				t.Errorf("%s: %v", body, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got := asJSON(t, p); got != want {
			t.Errorf("%s: got %s", body, got)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	in := func(sc string) string {
		return `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},` + sc + `]}`
	}
	for body, want := range map[string]string{
		``:                          "invalid seccomp profile: profile: unexpected end of JSON input",
		`{`:                         "invalid seccomp profile: profile: unexpected end of JSON input",
		`{} x`:                      "invalid seccomp profile: profile: invalid character 'x' after top-level value",
		`null`:                      "profile: null",
		`[]`:                        "profile: is a JSON array, wanted an object",
		`{}`:                        "defaultAction: missing",
		`{"defaultAction":1}`:       "defaultAction: is a JSON number, wanted a string",
		`{"defaultAction":"ALLOW"}`: `defaultAction: unknown action "ALLOW"`,
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":-1}`:                                                              "defaultErrnoRet: is a JSON number -1, wanted a number that is not negative",
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":"1"}`:                                                             "defaultErrnoRet: is a JSON string, wanted a number that is not negative",
		`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EFLOP"}`:                                                            `defaultErrno: unknown errno "EFLOP"`,
		`{"defaultAction":"SCMP_ACT_ERRNO","architectures":"SCMP_ARCH_X86"}`:                                                   "architectures: is a JSON string, wanted an array",
		`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_VAX"]}`:                                                 `architectures[0]: unknown architecture "SCMP_ARCH_VAX"`,
		`{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`: "archMap: given together with architectures",
		`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":5}]}`:                                                    "archMap.architecture: is a JSON number, wanted a string",
		`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":{}}`:                                                                     "syscalls: is a JSON object, wanted an array",
		in(`5`):                "syscalls[1]: is a JSON number, wanted an object",
		in(`null`):             "syscalls[1]: null",
		in(`{"names":"read"}`): "syscalls[1].names: is a JSON string, wanted an array",
		in(`{"names":["read"],"name":"read","action":"SCMP_ACT_ALLOW"}`):                          "syscalls[1].names: given together with name",
		in(`{"action":"SCMP_ACT_ALLOW"}`):                                                         "syscalls[1].names: missing",
		in(`{"names":["a"]}`):                                                                     "syscalls[1].action: missing",
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","errnoRet":1}`):                              `syscalls[1].errnoRet: action "SCMP_ACT_ALLOW" has no errno`,
		in(`{"names":["a"],"action":"SCMP_ACT_ERRNO","errno":"E"}`):                               `syscalls[1].errno: unknown errno "E"`,
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":"0"}]}`):                    "syscalls[1].args[0].index: is a JSON string, wanted a number that is not negative",
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"value":1e3,"op":"SCMP_CMP_EQ"}]}`): "syscalls[1].args[0].value: is a JSON number 1e3, wanted a number that is not negative",
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[null]}`):                             "syscalls[1].args[0]: null",
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":9,"op":"SCMP_CMP_EQ"}]}`):   "syscalls[1].args[0].index: 9 is not an argument (0 to 5)",
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"op":"SCMP_CMP_XX"}]}`):             `syscalls[1].args[0].op: unknown operator "SCMP_CMP_XX"`,
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"caps":"CAP_A"}}`):               "syscalls[1].includes.caps: is a JSON string, wanted an array",
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"5"}}`):              `syscalls[1].includes.minKernel: "5" is not MAJOR.MINOR`,
		in(`{"names":["a"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":5.4}}`):              "syscalls[1].excludes.minKernel: is a JSON number, wanted a string",
		// An entry for another machine must be right all the same.
		in(`{"names":["a"],"action":"SCMP_ACT_OK","includes":{"arches":["s390x"]}}`): `syscalls[1].action: unknown action "SCMP_ACT_OK"`,
	} {
		_, err := LoadProfile([]byte(body), nil, "amd64")
		if err == nil || err.Error() != want || !errors.Is(err, ErrProfile) {
			t.Errorf("%s:\n got %v\nwant %s", body, err, want)
		}
	}
	if _, err := LoadProfile(make([]byte, maxProfile+1), nil, "amd64"); !errors.Is(err, ErrProfile) {
		t.Errorf("too many bytes: %v", err)
	}
}

func TestParseRelease(t *testing.T) {
	for release, want := range map[string]kernelVersion{
		"6.1.0-18-amd64": {6, 1}, "5.10-rc3": {5, 10}, "3.12": {3, 12}, "6.18.44-fc-v669": {6, 18}, "4.19+": {4, 19},
		"6": {}, "": {}, "a.b": {}, "5.": {}, ".5": {},
	} {
		got, err := parseRelease(release)
		if got != want || (err != nil) != (want == kernelVersion{}) {
			t.Errorf("%q: %v, %v", release, got, err)
		}
	}
}

// TestSocketFamilies: every family that docker allows and no other, whatever
// the upper half of the register holds.
func TestSocketFamilies(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		prog, err := Compile(target{goarch: goarch}.defaultProfile(), goarch)
		if err != nil {
			t.Fatal(err)
		}
		a := abisOf(goarch)[0]
		nr, _ := a.number(lookup("socket"))
		for family := range uint64(48) {
			allowed := answer(t, prog.Filter, data{nr: nr, arch: a.token, args: [6]uint64{family}}) == unix.SECCOMP_RET_ALLOW
			if want := family != unix.AF_ALG && family != unix.AF_VSOCK; allowed != want {
				t.Errorf("%s: family %d allowed %v", goarch, family, allowed)
			}
			for _, high := range []uint64{1 << 32, 1 << 63, 0xffffffff << 32} {
				if answer(t, prog.Filter, data{nr: nr, arch: a.token, args: [6]uint64{high | family}}) == unix.SECCOMP_RET_ALLOW {
					t.Errorf("%s: family %#x allowed", goarch, high|family)
				}
			}
		}
	}
}
