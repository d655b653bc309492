package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What is wrong with a file, and the words that its author reads.
func TestLoadErrors(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{``, "cut off"},
		{`  `, "cut off"},
		{`{`, "cut off"},
		{`{"ociVersion": "1.0.2", "mounts": [{"destination": "/a"}, {"destination": "/`, "mounts[1].destination: the file ends in the middle of it: it is cut off"},
		{`{"linux": {"seccomp": {"syscalls": [{"names": ["a", `, "linux.seccomp.syscalls[0].names[1]: the file ends"},
		{`{"process": {"terminal": tr`, "process.terminal: the file ends"},
		{`{"linux": {"resources": {"memory": {"limit": "64m"}}}}`, "linux.resources.memory.limit: want an integer, found a string"},
		{`{"linux": {"resources": {"memory": {"limit": 1.5}}}}`, "linux.resources.memory.limit: want an integer, found 1.5"},
		{`{"linux": {"resources": {"memory": {"limit": 1e3}}}}`, "limit: want an integer, found 1e3"},
		{`{"linux": {"resources": {"memory": {"limit": 9223372036854775808}}}}`, "limit: 9223372036854775808 is not between -9223372036854775808 and 9223372036854775807"},
		{`{"process": {"user": {"uid": -1}}}`, "process.user.uid: want a number that is not negative, found -1"},
		{`{"process": {"user": {"uid": 4294967296}}}`, "process.user.uid: 4294967296 is more than 4294967295"},
		{`{"process": {"rlimits": [{"type": "RLIMIT_CORE", "hard": 18446744073709551616}]}}`, "process.rlimits[0].hard: 18446744073709551616 is more than 18446744073709551615"},
		{`{"process": {"args": "sh"}}`, "process.args: want an array, found a string"},
		{`{"process": {"args": ["sh", 1]}}`, "process.args[1]: want a string, found a number"},
		{`{"process": []}`, "process: want an object, found an array"},
		{`{"process": {"terminal": 1}}`, "process.terminal: want true or false, found a number"},
		{`{"linux": {"sysctl": {"net.ipv4.ip_forward": 1}}}`, `linux.sysctl["net.ipv4.ip_forward"]: want a string, found a number`},
		{`{"linux": {"timeOffsets": {"boottime": {"secs": true}}}}`, `linux.timeOffsets["boottime"].secs: want an integer, found true or false`},
		{`{"linux": {"resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": "0"}]}}}}`, "weightDevice[0].minor: want an integer, found a string"},
		{`[]`, "want an object, found an array"},
		{`"x"`, "want an object, found a string"},
		{`{"root": {"path": "a"}} {}`, "more follows after the document's end (line 1, column 25)"},
		{"\ufeff{}", "not JSON: want an object, found "},
		{"{\n  \"root\": {'path'}}", "root: not JSON: want the name of a property (line 2, column 12)"},
		{`{"root" {}}`, `want a colon after "root"`},
		{`{"root": {} "process": {}}`, "want a comma or }"},
		{`{"mounts": [{} {}]}`, "mounts: not JSON: want a comma or ]"},
		{`{"root": {},}`, "want the name of a property"},
		{`{"process": {"oomScoreAdj": 01}}`, "a number begins with 0"},
		{`{"process": {"oomScoreAdj": -}}`, "want a digit"},
		{`{"process": {"oomScoreAdj": 1.}}`, "want a digit"},
		{`{"process": {"oomScoreAdj": nil}}`, "want null"},
		{`{"process": {"cwd": "a` + "\n" + `"}}`, "process.cwd: not JSON: a control character"},
		{`{"process": {"cwd": "é` + "\t" + `"}}`, "process.cwd: not JSON: a control character"},
		{`{"process": {"cwd": "\x"}}`, "unknown escape"},
		{`{"process": {"cwd": "\u12"}}`, "four hexadecimal digits"},
		{`{"process": {"cwd": "\ud800"}}`, "half a character"},
		{`{"process": {"cwd": "\ud800\u0041"}}`, "half a character"},
		{`{"process": {"cwd": "/a\u0000b"}}`, "process.cwd: a NUL character"},
		{"{\"process\": {\"cwd\": \"/\xff\"}}", "process.cwd: not JSON: a string that is not UTF-8"},

		// Two readers would see two containers.
		{`{"root": {"path": "a"}, "root": {"path": "b"}}`, `"root" stands twice`},
		{`{"root": {"path": "a", "readonly": true, "readonly": false}}`, `root: "readonly" stands twice`},
		{`{"annotations": {"a": "b", "a": "c"}}`, `annotations: "a" stands twice`},
		{`{"Root": {"path": "a"}}`, `the property "Root" is spelled root`},
		{`{"process": {"noNewPrivileges": false, "NoNewPrivileges": true}}`, `process: the property "NoNewPrivileges" is spelled noNewPrivileges`},

		{`{"x": ` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`, "nested more than 64 deep"},
		{`{"x": ` + strings.Repeat(`{"a":`, 10000), "nested more than 64 deep"},
		{strings.Repeat("[", 10000), "want an object"},
		{`{"mounts": [` + strings.Repeat(`{},`, 100000) + `{}]}`, "mounts: more than 65536 entries"},
		{`{"x": {` + strings.Repeat(` `, maxConfig) + `}}`, "more than 16 MiB"},
	} {
		_, err := LoadConfig(strings.NewReader(c.doc))
		var ce *ConfigError
		if !errors.As(err, &ce) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s\n got  %v\n want %s", c.doc, err, c.want)
		}
		if len(fmt.Sprint(err)) > 400 {
			t.Errorf("%.80s: %d characters of error", c.doc, len(err.Error()))
		}
	}
}

// Unknown properties are nobody's business, and null is an absent value.
func TestLoadIgnores(t *testing.T) {
	s, err := LoadConfig(strings.NewReader(`{"ociVersion": "1.0.2", "org.example": {"a": [1, -2.5e+7, true, false, null, "\n"], "b": {}}, "mounts": null,
		"process": {"user": null, "args": ["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é"], "rlimits": [null]}, "windows": {"credentialSpec": {"x": [{}]}}, "annotations": {"A": "1", "a": "2"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Process.Args[0]; got != "\"\\/\b\f\n\r\té😀é" {
		t.Errorf("args %q", got)
	}
	if s.Mounts != nil || len(s.Process.Rlimits) != 1 || len(s.Annotations) != 2 {
		t.Errorf("%+v", s)
	}
}

// Where a document is well, encoding/json reads the same in it.
func TestLoadAgrees(t *testing.T) {
	for name, data := range goodConfigs(t) {
		got, err := LoadConfig(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want specs.Spec
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, &want) {
			t.Errorf("%s:\n got  %+v\n want %+v", name, got, want)
		}
	}
}

// goodConfigs are the specification's own examples, what runc spec writes, and
// what our generator does.
func goodConfigs(t testing.TB) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, pattern := range []string{"testdata/config/*.json", "testdata/golden/*.json"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal("no examples", err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var golden struct{ Spec json.RawMessage }
			if err := json.Unmarshal(data, &golden); err != nil {
				t.Fatal(err)
			}
			if golden.Spec != nil {
				data = golden.Spec
			}
			all[name] = data
		}
	}
	return all
}

func TestReadConfig(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config.json")
	fails := func(what, want string) {
		t.Helper()
		if _, err := LoadBundle(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
		os.RemoveAll(name)
	}
	fails("none", "config.json: no such file or directory")
	os.Mkdir(name, 0o755)
	fails("a directory", "not a regular file")
	unix.Mkfifo(name, 0o644)
	fails("a named pipe", "not a regular file")
	os.Symlink("/dev/zero", name)
	fails("a device", "not a regular file")
	os.Symlink("config.json", name)
	fails("a link to itself", "too many levels")
	f, _ := os.Create(name)
	f.Truncate(50 << 20)
	f.Close()
	fails("50 MB", "more than 16 MiB")
	os.WriteFile(name, []byte(`{"root": 1}`), 0o644)
	fails("wrong", "config.json: root: want an object, found a number")
	if err := os.WriteFile(name, []byte(`{"ociVersion": "1.0.2"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := LoadBundle(dir); err != nil || s.Version != "1.0.2" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := LoadBundle(dir + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no bundle: %v", err)
	}
}

func TestLoadParts(t *testing.T) {
	p, err := LoadProcess(strings.NewReader(`{"args": ["a"], "cwd": "/"}`))
	if err != nil || p.Args[0] != "a" || p.Cwd != "/" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := LoadProcess(strings.NewReader(`{"args": ["a", 2]}`)); err == nil || err.Error() != "args[1]: want a string, found a number" {
		t.Error(err)
	}
	r, err := LoadResources(strings.NewReader(`{"pids": {"limit": 5}}`))
	if err != nil || *r.Pids.Limit != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := LoadResources(strings.NewReader(`{"pids": {"limit": "max"}}`)); err == nil || err.Error() != "pids.limit: want an integer, found a string" {
		t.Error(err)
	}
}

func BenchmarkLoadConfig(b *testing.B) {
	data, err := os.ReadFile("testdata/config/spec-example.json")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := LoadConfig(strings.NewReader(string(data))); err != nil {
			b.Fatal(err)
		}
	}
}
