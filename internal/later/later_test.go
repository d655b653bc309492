package later

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLater holds the list against what the network links, in the order in which
// that is to be initialised.
func TestLater(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "coracle/netns/builtin").Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range strings.Fields(string(out)) {
		if strings.HasPrefix(name, "gvisor.dev/") {
			want = append(want, name)
		}
	}
	source, err := os.ReadFile("later.go")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(source)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "//go:linkname" {
			got = append(got, strings.TrimSuffix(f[2], "..inittask"))
		}
	}
	if !slices.Equal(got, want) || len(tasks()) != len(want) {
		t.Errorf("the list is\n%s\nand must be\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
