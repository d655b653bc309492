package e2e

import (
	"debug/elf"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// TestModules holds the list of modules that the binary links. Each of them
// is paid for at every start and every re-exec, used or not, so a new one is
// a decision: weigh it (`make bench` prints package initialisation) and write
// it into the list, with its figures in docs/architecture.md.
func TestModules(t *testing.T) {
	run(t, nil, "make", "-s", "-C", "../..", "build")
	out, err := exec.Command("go", "version", "-m", "../../bin/coracle").Output()
	must(t, err)
	linked := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "dep" {
			linked[f[1]] = true
		}
	}
	listed, err := os.ReadFile("testdata/modules.txt")
	must(t, err)
	for line := range strings.Lines(string(listed)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || name == "#" {
			continue
		}
		if !linked[name] {
			t.Errorf("%s is not linked any more: take it out of testdata/modules.txt", name)
		}
		delete(linked, name)
	}
	for name := range linked {
		t.Errorf("%s is linked and not in testdata/modules.txt: a new module is a decision", name)
	}
}

// TestStatic looks at the binaries of both architectures: nothing to load at
// run time, and no path of the machine that built them.
func TestStatic(t *testing.T) {
	run(t, nil, "make", "-s", "-C", "../..", "build", "cross")
	for file, machine := range map[string]elf.Machine{
		"../../bin/coracle":              map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH],
		"../../dist/coracle-linux-amd64": elf.EM_X86_64,
		"../../dist/coracle-linux-arm64": elf.EM_AARCH64,
	} {
		f, err := elf.Open(file)
		must(t, err)
		defer f.Close()
		if f.Machine != machine {
			t.Errorf("%s is for %s, not %s", file, f.Machine, machine)
		}
		if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
			t.Errorf("%s needs %v", file, libs)
		}
		for _, prog := range f.Progs {
			if prog.Type == elf.PT_INTERP {
				t.Errorf("%s names a loader", file)
			}
		}
		data, err := os.ReadFile(file)
		must(t, err)
		wd, err := os.Getwd()
		must(t, err)
		if root := strings.TrimSuffix(wd, "/internal/e2e"); strings.Contains(string(data), root+"/internal") {
			t.Errorf("%s holds the path %s", file, root)
		}
	}
}

// TestARM64 runs the other architecture's build, as far as an emulator of
// user processes goes.
func TestARM64(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		cannot(t, "no qemu-aarch64-static")
	}
	run(t, nil, "make", "-s", "-C", "../..", "cross")
	for _, args := range [][]string{{"version"}, {"version", "--format", "json"}, {"help", "run"}} {
		out, err := exec.Command(qemu, append([]string{"../../dist/coracle-linux-arm64"}, args...)...).CombinedOutput()
		if err != nil || len(out) == 0 {
			t.Errorf("coracle %s on arm64: %v: %s", args, err, out)
		}
		if args[0] == "version" && !strings.Contains(string(out), "arm64") {
			t.Errorf("coracle %s does not say arm64: %s", args, out)
		}
	}
}

// initialised are the packages that a command line initialises at its start.
func initialised(args ...string) map[string]bool {
	cmd := exec.Command("../../bin/coracle", args...)
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, _ := cmd.CombinedOutput() // state of what is not there: an error
	names := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "init" {
			names[f[1]] = true
		}
	}
	return names
}

// TestSandboxInits holds what internal/later/registries puts off, one of them in the
// sandbox only, and that nothing is initialised before it that would need it.
func TestSandboxInits(t *testing.T) {
	run(t, nil, "make", "-s", "-C", "../..", "build")
	source, err := os.ReadFile("../later/registries/registries.go")
	must(t, err)
	off := map[string]bool{}
	for line := range strings.Lines(string(source)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "//go:linkname" {
			off[strings.TrimSuffix(f[2], "..inittask")] = true
		}
	}
	all, some := initialised("version"), initialised("sandbox", "--on-exit", "nonsense", "true")
	for name := range off {
		if all[name] != (name == "github.com/opencontainers/go-digest") || some[name] {
			t.Errorf("%s: initialised by version: %v, by sandbox: %v", name, all[name], some[name])
		}
	}
	harmless := map[string]bool{
		"coracle/internal/review":            true, // errors of its own
		"github.com/klauspost/compress/gzip": true, // likewise
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}} {{join .Deps \" \"}}", "../..").Output()
	must(t, err)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if !some[f[0]] || harmless[f[0]] {
			continue
		}
		for _, dep := range f[1:] {
			if off[dep] {
				t.Errorf("%s is initialised, and imports %s, which is not", f[0], dep)
			}
		}
	}
}

// TestEarly holds what is initialised before a command of the OCI runtime runs
// (internal/early). A package that initialises much and stands before it takes a place in
// testdata/early.txt, which is a decision; one that it imports, or that the packages
// it imports wait for, can bring in nearly all.
func TestEarly(t *testing.T) {
	run(t, nil, "make", "-s", "-C", "../..", "build")
	late := []string{"net", "net/http", "crypto/tls", "crypto/x509", "regexp", "github.com/alecthomas/kong", "github.com/opencontainers/go-digest"}
	whole := initialised("version")
	for name := range whole {
		if strings.HasPrefix(name, "gvisor.dev/") {
			t.Errorf("%s is initialised at every start: see internal/later", name)
		}
	}
	for _, name := range late {
		if !whole[name] {
			t.Errorf("%s is not initialised by coracle version either: look for another example", name)
		}
	}
	for _, verb := range []string{"exec", "create", "run", "start", "state", "kill", "delete", "pause", "resume"} {
		names := initialised("oci", "--root", t.TempDir(), verb, "nobody")
		listed, err := os.ReadFile("testdata/early.txt")
		must(t, err)
		known := map[string]bool{}
		for _, name := range strings.Fields(string(listed)) {
			known[name] = true
		}
		for name := range names {
			first, _, _ := strings.Cut(name, "/")
			if (strings.Contains(first, ".") || first == "coracle" || first == "vendor") && !known[name] {
				t.Errorf("oci %s: %s is initialised, and not in testdata/early.txt", verb, name)
			}
		}
		for _, name := range late {
			if names[name] {
				t.Errorf("oci %s: %s is initialised", verb, name)
			}
		}
		if !names["coracle/spec"] {
			t.Errorf("oci %s: of %d packages none is ours: what is printed is something else", verb, len(names))
		}
	}
}
