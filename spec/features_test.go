package spec

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"coracle/spec/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Every list holds what the code takes, and the code takes what it holds.
func TestFeaturesAgree(t *testing.T) {
	f := Features(nil)
	for _, o := range f.MountOptions {
		if len(parseMountOpts([]string{o}).data) > 0 {
			t.Errorf("mount option %s is left to the file system", o)
		}
	}
	for _, c := range f.Linux.Capabilities {
		if _, left := grantable(&specs.LinuxCapabilities{Bounding: []string{c}}, capSets{bounding: allCaps}, lastCap); len(left) > 0 {
			t.Errorf("capability %s is left out", c)
		}
	}
	for _, n := range f.Linux.Namespaces {
		s := plain()
		s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.LinuxNamespaceType(n)}}
		if _, err := Validate(s, everything()); err != nil && strings.Contains(err.Error(), "there is no namespace") {
			t.Error(err)
		}
	}
	for _, m := range f.Linux.MemoryPolicy.Modes {
		if err := checkMemoryPolicy(&specs.LinuxMemoryPolicy{Mode: specs.MemoryPolicyModeType(m)}); err != nil && strings.Contains(err.Error(), "there is no mode") {
			t.Error(err)
		}
		if _, _, err := memoryPolicy(&specs.LinuxMemoryPolicy{Mode: specs.MemoryPolicyModeType(m)}); err != nil {
			t.Error(err)
		}
	}
	sc := f.Linux.Seccomp
	profile := func(p specs.LinuxSeccomp) {
		t.Helper()
		p.ListenerPath = "/s"
		if p.DefaultAction == "" {
			p.DefaultAction = specs.ActAllow
		}
		if err := seccomp.Check(&p, runtime.GOARCH); err != nil {
			t.Error(err)
		}
	}
	for _, a := range sc.Actions {
		profile(specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.LinuxSeccompAction(a)}}})
	}
	for _, o := range sc.Operators {
		profile(specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(o)}}}}})
	}
	for _, a := range sc.Archs {
		profile(specs.LinuxSeccomp{Architectures: []specs.Arch{specs.Arch(a)}})
	}
	for _, fl := range sc.KnownFlags {
		profile(specs.LinuxSeccomp{Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(fl)}})
	}
	if !slices.Contains(sc.SupportedFlags, "SECCOMP_FILTER_FLAG_LOG") { // Linux 4.14
		t.Errorf("supported: %q", sc.SupportedFlags)
	}
	for _, a := range f.PotentiallyUnsafeConfigAnnotations {
		if !annotationUsed(t, a) {
			t.Errorf("nothing looks at annotation %s", a)
		}
	}
}

// annotationUsed looks for a constant of that value that the package reads an
// annotation by.
func annotationUsed(t *testing.T, value string) bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			all.Write(data)
		}
	}
	for line := range strings.Lines(all.String()) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), " = "+strconv.Quote(value)); ok {
			return strings.Contains(all.String(), "Annotations["+strings.TrimPrefix(name, "const ")+"]")
		}
	}
	return false
}

// The specification's Go package has constants for nearly all names: each is
// known, so that a new version of it cannot bring one that is overlooked.
func TestFeaturesComplete(t *testing.T) {
	f := Features(nil)
	known := map[string][]string{
		"LinuxNamespaceType": f.Linux.Namespaces, "LinuxSeccompAction": f.Linux.Seccomp.Actions,
		"LinuxSeccompOperator": f.Linux.Seccomp.Operators, "Arch": f.Linux.Seccomp.Archs, "LinuxSeccompFlag": f.Linux.Seccomp.KnownFlags,
		"MemoryPolicyModeType": f.Linux.MemoryPolicy.Modes, "MemoryPolicyFlagType": f.Linux.MemoryPolicy.Flags,
		"LinuxSchedulerPolicy": texts(schedulerPolicies()), "LinuxSchedulerFlag": texts(schedulerFlags()), "IOPriorityClass": texts(ioPriorityClasses()),
		"LinuxPersonalityDomain": {"LINUX", "LINUX32"},       // two constants of a switch
		"ZOSNamespaceType":       nil, "FreeBSDSharing": nil, // of other systems
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), "specs-go/config.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok || v.Type == nil || len(v.Values) != 1 {
			return true
		}
		kind := v.Type.(*ast.Ident).Name
		value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		list, is := known[kind]
		if err != nil || !is {
			t.Errorf("%s of %s: %v", v.Names[0], kind, err)
		}
		if list != nil && !slices.Contains(list, value) {
			t.Errorf("%s %s is not known", kind, value)
		}
		n++
		return true
	})
	if n < 70 {
		t.Errorf("only %d constants", n)
	}
}

// Whoever reads runc's features finds everything in ours: each property, and in
// each list no less than runc knows.
func TestFeaturesShape(t *testing.T) {
	ours := asTree(t, Features(map[string]string{"a": "b"}))
	for _, name := range []string{"runc-1.1.5.json", "runtime-spec-runc.json"} {
		data, err := os.ReadFile("testdata/features/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var f features.Features
		if err := json.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		compareTree(t, name, ours, asTree(t, &f))
	}
}

func asTree(t *testing.T, v any) (tree map[string]any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &tree)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func compareTree(t *testing.T, at string, ours, runc any) {
	t.Helper()
	// acl and noacl were never a flag of mount(2); runc has dropped them.
	without := []any{"acl", "noacl"}
	switch r := runc.(type) {
	case map[string]any:
		o, _ := ours.(map[string]any)
		for key, value := range r {
			switch {
			case key == "annotations", key == "potentiallyUnsafeConfigAnnotations":
			case o[key] == nil:
				t.Errorf("%s.%s is missing", at, key)
			default:
				compareTree(t, at+"."+key, o[key], value)
			}
		}
	case []any:
		o, _ := ours.([]any)
		for _, value := range r {
			if !slices.Contains(o, value) && !slices.Contains(without, value) {
				t.Errorf("%s has no %v", at, value)
			}
		}
	default:
		if fmt.Sprintf("%T", ours) != fmt.Sprintf("%T", runc) {
			t.Errorf("%s: %v, runc has %v", at, ours, runc)
		}
	}
}
