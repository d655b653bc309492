package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const manDir = "../../docs/man"

// TestManPages holds docs/man to the commands; CORACLE_UPDATE=1 writes it, as
// "make man" does.
func TestManPages(t *testing.T) {
	pages := manPages()
	if os.Getenv("CORACLE_UPDATE") == "1" {
		old, err := filepath.Glob(manDir + "/*")
		must(t, err)
		for _, file := range old {
			must(t, os.Remove(file))
		}
		must(t, os.MkdirAll(manDir, 0o755)) //nolint:gosec // of the repository
		for name, text := range pages {
			must(t, os.WriteFile(filepath.Join(manDir, name), []byte(text), 0o644)) //nolint:gosec // of the repository
		}
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(manDir, name))
		if err != nil || string(got) != want {
			t.Errorf("docs/man/%s is not what the program says: make man (%v)", name, err)
		}
	}
	there, err := os.ReadDir(manDir)
	must(t, err)
	for _, f := range there {
		if _, ok := pages[f.Name()]; !ok {
			t.Errorf("docs/man/%s is of no command", f.Name())
		}
	}
}

// TestManHasEveryFlag: on the command's page, and as a key of a file.
func TestManHasEveryFlag(t *testing.T) {
	pages := manPages()
	for _, e := range commands() {
		text := pages[pageName(e)+".1"]
		for _, f := range fieldsOf(e.make()) {
			if f.isArg {
				continue
			}
			if !strings.Contains(text, manText("--"+f.name)+`\fR`) {
				t.Errorf("%s has no --%s", pageName(e), f.name)
			}
			if !strings.Contains(pages["coracle.toml.5"], `\fB`+manText(f.name)+`\fR`) {
				t.Errorf("coracle.toml(5) has no %s", f.name)
			}
		}
		if !strings.Contains(pages["coracle.1"], manText(pageName(e))+" (1)") {
			t.Errorf("coracle(1) does not name %s", pageName(e))
		}
	}
	for _, e := range ociCommands() {
		if !strings.Contains(pages["coracle-oci.1"], manText(e.name)) {
			t.Errorf("coracle-oci(1) has no %s", e.name)
		}
	}
}

// TestManText: no text becomes a request or an escape of roff.
func TestManText(t *testing.T) {
	p := newPage("x", "1", "y")
	p.plain(`.so /etc/passwd \(co 'quoted' "double" --flag`)
	p.example([]string{".TH evil", "'", `a\nb`})
	for line := range strings.Lines(p.String()) {
		if !strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "'") {
			continue
		}
		macro := strings.Fields(line)[0]
		if !slices.Contains([]string{`.\"`, ".TH", ".SH", ".PP", ".RS", ".RE", ".nf", ".fi", ".TP"}, macro) || strings.Contains(line, "evil") {
			t.Errorf("a request: %s", line)
		}
	}
	if !strings.Contains(p.String(), `\&.so /etc/passwd \e(co \(aqquoted\(aq \(dqdouble\(dq \-\-flag`) {
		t.Errorf("%s", p.String())
	}
}
