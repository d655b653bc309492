package later

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLater holds the list against what the network links, for each architecture:
// all of it, and each package after those that it imports.
func TestLater(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		got := append(listed(t, "later.go"), listed(t, "later_"+arch+".go")...)
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "coracle/netns/builtin")
		cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		place := make(map[string]int)
		for i, name := range inOrder(got) {
			place[name] = i
		}
		linked := 0
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if !strings.HasPrefix(f[0], "gvisor.dev/") {
				continue
			}
			linked++
			at, known := place[f[0]]
			if !known {
				t.Errorf("%s: %s is linked, and not in the list", arch, f[0])
				continue
			}
			for _, imported := range f[1:] {
				if before, ours := place[imported]; ours && before > at {
					t.Errorf("%s: %s must come after %s", arch, f[0], imported)
				}
			}
		}
		if linked == 0 || linked != len(got) {
			t.Errorf("%s: the list has %d packages, of which %d are linked", arch, len(got), linked)
		}
	}
	if want := len(listed(t, "later.go")) + len(machine()); len(tasks()) != want || len(slices.Compact(tasks())) != want {
		t.Errorf("%d tasks of %d packages", len(tasks()), want)
	}
}

// inOrder puts the architecture's packages, which stand last, where tasks has them.
func inOrder(names []string) []string {
	const first = 6
	common := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, "/cpuid") })
	if common < 0 {
		return names
	}
	return slices.Concat(names[:first], names[common:], names[first:common])
}

// listed are the packages that a file has names of.
func listed(t *testing.T, file string) []string {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(source)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "//go:linkname" {
			names = append(names, strings.TrimSuffix(f[2], "..inittask"))
		}
	}
	return names
}
