package e2e

import (
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The house (docs/architecture.md): data goes one way, so that imports do.
// Each line says what of this module a package and its subpackages may
// import; a package that no line names may not exist.
func mayImport() map[string][]string {
	leaf := []string{"internal/nofile", "internal/plainfile"}
	return map[string][]string{
		"main":                {"internal/begin", "internal/cli", "internal/early", "internal/quiet", "internal/engine", "internal/hire", "images/layer", "cgroupv2", "fuse", "userns", "spec", "internal/nofile"},
		"userns":              leaf,
		"fuse":                leaf,
		"netns":               {"internal/later"},
		"cgroupv2":            leaf,
		"images":              append([]string{"internal/later"}, leaf...),
		"spec":                {"userns", "fuse", "cgroupv2", "internal/nofile", "internal/plainfile", "internal/plainjson"},
		"internal/ctrlog":     nil,
		"internal/early":      {"internal/begin", "internal/oci", "internal/hire", "internal/unused"},
		"internal/begin":      {"userns", "fuse", "cgroupv2", "spec", "internal/plainfile"},
		"internal/hire":       {"internal/begin", "userns", "cgroupv2", "internal/plainfile", "internal/plainjson"},
		"internal/oci":        {"internal/foreground", "internal/say", "userns", "spec"},
		"internal/say":        nil,
		"internal/unused":     nil,
		"internal/later":      nil,
		"internal/foreground": {"spec", "internal/plainfile", "internal/signals"},
		"internal/nofile":     nil,
		"internal/plainfile":  nil,
		"internal/plainjson":  nil,
		"internal/quiet":      nil,
		"internal/randid":     nil,
		"internal/signals":    nil,
		"internal/stack":      nil,
		"internal/review":     {"images", "internal/nofile", "internal/plainfile", "internal/randid", "internal/say"},
		"internal/engine":     {"userns", "fuse", "netns", "cgroupv2", "images", "spec", "internal/nofile", "internal/plainfile", "internal/plainjson", "internal/randid", "internal/ctrlog", "internal/signals", "internal/stack", "internal/foreground", "internal/begin", "internal/hire", "internal/later", "internal/review", "internal/sandbox", "internal/denial"},
		"internal/sandbox":    {"fuse", "spec", "internal/denial", "internal/say"},
		"internal/denial":     {"spec", "internal/plainfile"},
		"internal/cli":        {"internal/engine", "internal/sandbox", "internal/review", "internal/denial", "internal/foreground", "internal/oci", "internal/say", "userns", "spec", "images", "internal/nofile"},
		"internal/e2e":        nil,
	}
}

// subsystem gives the line of mayImport that a package stands under.
func subsystem(pkg string) string {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, "coracle"), "/")
	if rel == "" {
		return "main"
	}
	parts := strings.SplitN(rel, "/", 3)
	if parts[0] == "internal" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

func TestImports(t *testing.T) {
	type pkg struct {
		ImportPath                         string
		Imports, TestImports, XTestImports []string
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	must(t, err)
	rules := mayImport()
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); seen++ {
		var p pkg
		must(t, dec.Decode(&p))
		from := subsystem(p.ImportPath)
		allowed, known := rules[from]
		if !known {
			t.Errorf("%s has no place in the house", p.ImportPath)
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if imported != "coracle" && !strings.HasPrefix(imported, "coracle/") {
				continue
			}
			to := subsystem(imported)
			if to != from && !slices.Contains(allowed, to) && !slices.Contains(allowed, strings.TrimPrefix(imported, "coracle/")) {
				t.Errorf("%s imports %s, which %s may not", p.ImportPath, imported, from)
			}
		}
	}
	if seen < 5 {
		t.Errorf("go list gave %d packages", seen)
	}
}

// TestTopLevel holds the top of the repository to the owner's list.
func TestTopLevel(t *testing.T) {
	allowed := strings.Fields(`main.go userns fuse netns cgroupv2 spec images docs internal
		go.mod go.sum README.md Makefile LICENSE CHANGELOG.md`)
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	must(t, err)
	names := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "/")
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			t.Errorf("%s: the top level has a fixed list (docs/architecture.md)", name)
		}
	}
	for _, name := range []string{"main.go", "go.mod", "Makefile", "README.md", "LICENSE", "CHANGELOG.md"} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
}
