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
