package cli

import (
	"strings"
	"testing"

	"coracle/images"
	"coracle/internal/engine"
)

func TestInspectFields(t *testing.T) {
	container, image := engine.ContainerInspection{}, &images.Inspection{}
	for _, tt := range []struct {
		format string
		doc    any
		want   string // part of the error, "" for none
	}{
		{"{{.Id}} {{.ID}} {{.Name}} {{.State.Status}}", container, ""},
		{"{{.State.StartedAt}} {{.State.Health.Status}} {{json .Config}}", container, ""},
		{"{{.Config.Labels.anything}} {{index .Config.Labels \"a\"}}", container, ""},
		{"{{.Config.Entrypoint}} {{.Config.Whatever}} {{.Id}}", image, ""}, // its own JSON, which sets what it likes
		{"{{range .Mounts}}{{.Type}} {{.Nonsense}}{{end}}{{with .State}}{{.Pid}}{{end}}", container, ""},
		{"{{.Nam}}", container, "there is no field .Nam"},
		{"{{.State.Stat}}", container, "there is no field .State.Stat"},
		{"{{json (.State.Running)}}{{len .Mountz}}", container, "there is no field .Mountz"},
		{"{{if .State.Run}}x{{end}}", container, "there is no field .State.Run"},
		{"{{if .State.Running}}{{.Bogus}}{{end}}", container, "there is no field .Bogus"},
		{"{{if .State.Running}}{{else}}{{.Bogus}}{{end}}", container, "there is no field .Bogus"},
		{"{{range .Bogus}}{{end}}", container, "there is no field .Bogus"},
		{"{{printf \"%s\" (lower .Bogus)}}", image, "there is no field .Bogus"},
	} {
		tmpl, err := parseTemplate(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		err = checkFields(tmpl.Root, tt.doc)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.format, err, tt.want)
		}
	}
	tmpl, _ := parseTemplate("{{.Nam}}")
	if got := hintOf(checkFields(tmpl.Root, container)); !strings.Contains(got, "did you mean .Name?") {
		t.Errorf("the hint is %q", got)
	}
}

func TestTemplateWords(t *testing.T) {
	for format, want := range map[string]string{
		`{{truncate "abcdef" 3}}{{truncate "ab" 3}}{{truncate "ab" -1}}`:       "abcabab",
		`{{title "two words"}}{{title ""}}`:                                    "Two Words",
		`[{{pad "a" 1 2}}{{pad "" 1 1}}{{pad "b" -1 0}}]`:                      "[ a  b]",
		`{{upper "a"}}{{lower "B"}}{{join (split "a,b" ",") "-"}}{{json "<"}}`: `Aba-b"<"`,
	} {
		tmpl, err := parseTemplate(format)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, nil); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v, want %q", format, b.String(), err, want)
		}
	}
}
