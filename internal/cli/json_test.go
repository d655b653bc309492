package cli

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/images"
	"coracle/internal/denial"
	"coracle/internal/engine"
	"coracle/internal/sandbox"
)

const jsonPage = "../../docs/json.md"

// jsonDocument is what a command prints as JSON. A command with --format that is
// not here fails TestEveryFormatIsDocumented.
type jsonDocument struct {
	heading  string
	commands string // by which command lines, separated by commas
	list     bool   // an array of such
	of       reflect.Type
}

func jsonDocuments() []jsonDocument {
	return []jsonDocument{
		{"ps", "ps", true, reflect.TypeFor[containerDocument]()},
		{"stats", "stats", true, reflect.TypeFor[statsDocument]()},
		{"diff", "diff", false, reflect.TypeFor[diffLists]()},
		{"images", "images", true, reflect.TypeFor[imageRow]()},
		{"mount", "mount", true, reflect.TypeFor[mountRow]()},
		{"history", "history", true, reflect.TypeFor[stepRow]()},
		{"inspect: a container", "inspect", true, reflect.TypeFor[engine.ContainerInspection]()},
		{"inspect: an image", "inspect", true, reflect.TypeFor[images.Inspection]()},
		{"events", "events", false, reflect.TypeFor[engine.Event]()},
		{"volume ls", "volume ls", true, reflect.TypeFor[volumeRow]()},
		{"volume inspect", "volume inspect", true, reflect.TypeFor[engine.Volume]()},
		{"network ls, network inspect", "network ls,network inspect", true, reflect.TypeFor[networkRow]()},
		{"secret ls", "secret ls", true, reflect.TypeFor[secretRow]()},
		{"secret inspect", "secret inspect", true, reflect.TypeFor[secretDoc]()},
		{"system df", "system df", true, reflect.TypeFor[usageRow]()},
		{"info", "info", false, reflect.TypeFor[infoDocument]()},
		{"doctor", "doctor", true, reflect.TypeFor[engine.Check]()},
		{"version", "version", false, reflect.TypeFor[build]()},
		{"run --report FILE", "", false, reflect.TypeFor[engine.ReportDocument]()},
		{"sandbox --report FILE", "", false, reflect.TypeFor[engine.SandboxReport]()},
		{"why --json", "", false, reflect.TypeFor[denial.Record]()},
		{"sandbox --explain", "sandbox,learn", false, reflect.TypeFor[sandbox.Document]()},
		{"run --net-log FILE", "", false, reflect.TypeFor[engine.FlowDocument]()},
		{"review --json", "", false, reflect.TypeFor[reviewDocument]()},
		{"run --dry-run", "run,create", false, reflect.TypeFor[engine.PlanDocument]()},
	}
}

// jsonField is a field by its path: store.root, config.values[].key.
type jsonField struct{ path, kind string }

func jsonFields(t reflect.Type, prefix string) []jsonField {
	var out []jsonField
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			out = append(out, jsonFields(f.Type, prefix)...)
			continue
		}
		if name == "" {
			name = f.Name
		}
		kind, inner, many := jsonKind(f.Type)
		if strings.Contains(rest, "omit") {
			kind += ", may be absent"
		}
		path := prefix + name
		out = append(out, jsonField{path, kind})
		if many {
			path += "[]"
		}
		if inner != nil {
			out = append(out, jsonFields(inner, path+".")...)
		}
	}
	return out
}

// jsonKind is the field's type in JSON's words, and the struct in it whose fields
// are ours to document.
func jsonKind(t reflect.Type) (kind string, inner reflect.Type, many bool) {
	switch {
	case t.Kind() == reflect.Pointer:
		kind, inner, many = jsonKind(t.Elem())
		return kind + " or null", inner, many
	case t == reflect.TypeFor[time.Time]():
		return "time", nil, false
	case t == reflect.TypeFor[json.RawMessage]():
		return "object", nil, false
	}
	switch t.Kind() {
	case reflect.String:
		return "string", nil, false
	case reflect.Bool:
		return "boolean", nil, false
	case reflect.Float64:
		return "number", nil, false
	case reflect.Interface:
		return "any", nil, false
	case reflect.Map:
		value, inner, list := jsonKind(t.Elem())
		if inner != nil {
			value = "object"
		}
		if inner != nil && list {
			value = "array of object"
		}
		return "object of " + value, nil, false
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "string", nil, false
		}
		kind, inner, _ := jsonKind(t.Elem())
		return "array of " + kind, inner, true
	case reflect.Struct:
		if !strings.HasPrefix(t.PkgPath(), "coracle") {
			return "object", nil, false // of a specification
		}
		return "object", t, false
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return "string", nil, false
	}
	return "integer", nil, false
}

// jsonSection is the part of the page that one heading has.
type jsonSection struct {
	words    string            // between the heading and the table
	meanings map[string]string // of the fields
	rows     []jsonField
}

func readJSONPage(t *testing.T) (intro string, sections map[string]*jsonSection) {
	t.Helper()
	data, err := os.ReadFile(jsonPage)
	must(t, err)
	sections = map[string]*jsonSection{}
	var at *jsonSection
	for line := range strings.Lines(string(data)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			at = &jsonSection{meanings: map[string]string{}}
			sections[strings.TrimSpace(heading)] = at
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		switch {
		case at == nil:
			intro += line
		case strings.HasPrefix(line, "| `") && len(cells) == 3:
			path := strings.Trim(cells[0], " `")
			at.rows = append(at.rows, jsonField{path, strings.TrimSpace(cells[1])})
			at.meanings[path] = strings.TrimSpace(cells[2])
		case !strings.HasPrefix(line, "|"):
			at.words += line
		}
	}
	return intro, sections
}

// TestJSONPage holds docs/json.md to the structs. CORACLE_UPDATE=1 writes the
// fields and keeps what is said of them; a new one is then to be explained.
func TestJSONPage(t *testing.T) {
	intro, sections := readJSONPage(t)
	if os.Getenv("CORACLE_UPDATE") == "1" {
		writeJSONPage(t, intro, sections)
		_, sections = readJSONPage(t)
	}
	var lacks []string
	lack := func(format string, args ...any) { lacks = append(lacks, fmt.Sprintf(format, args...)) }
	defer func() { incomplete(t, lacks) }()
	for _, d := range jsonDocuments() {
		s := sections[d.heading]
		if s == nil {
			lack("docs/json.md has no section %q", d.heading)
			continue
		}
		want := jsonFields(d.of, "")
		if !slices.Equal(s.rows, want) {
			lack("%s: docs/json.md is not what is printed: CORACLE_UPDATE=1 go test ./internal/cli\n%v\n%v", d.heading, s.rows, want)
		}
		for path, meaning := range s.meanings {
			if meaning == "" || meaning == "?" {
				lack("%s: docs/json.md does not say what %s means", d.heading, path)
			}
		}
		delete(sections, d.heading)
	}
	for heading := range sections {
		lack("docs/json.md describes %q, which nothing prints", heading)
	}
}

func writeJSONPage(t *testing.T, intro string, sections map[string]*jsonSection) {
	t.Helper()
	var b strings.Builder
	b.WriteString(strings.TrimRight(intro, "\n") + "\n")
	for _, d := range jsonDocuments() {
		s := sections[d.heading]
		if s == nil {
			what := "An object."
			if d.list {
				what = "An array of"
			}
			s = &jsonSection{words: what, meanings: map[string]string{}}
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| field | type | |\n|---|---|---|\n", d.heading, strings.TrimSpace(s.words))
		for _, f := range jsonFields(d.of, "") {
			meaning := s.meanings[f.path]
			if meaning == "" {
				meaning = "?"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.path, f.kind, meaning)
		}
	}
	must(t, os.WriteFile(jsonPage, []byte(b.String()), 0o644)) //nolint:gosec // of the repository
}

// TestEveryFormatIsDocumented: no command prints JSON that docs/json.md has not.
func TestEveryFormatIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, d := range jsonDocuments() {
		for name := range strings.SplitSeq(d.commands, ",") {
			documented[name] = true
		}
	}
	var lacks []string
	for _, e := range commands() {
		for _, f := range fieldsOf(e.make()) {
			if f.name == "format" && strings.Contains(f.about(), "json") && !documented[e.name] {
				lacks = append(lacks, fmt.Sprintf("coracle %s --format json is not in docs/json.md: add it to jsonDocuments", e.name))
			}
		}
	}
	incomplete(t, lacks)
}

// incomplete fails for each of what the page lacks.
func incomplete(t *testing.T, lacks []string) {
	t.Helper()
	for _, l := range lacks {
		t.Error(l)
	}
}
