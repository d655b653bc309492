package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// column is one column of a listing. field names it in templates and JSON.
type column struct {
	field, title string
	// flex columns give way first when the terminal is narrow.
	flex bool
}

// listing prints rows as a table, as JSON or through a Go template, the way
// docker's and podman's --format do. T is a struct of strings and numbers.
type listing[T any] struct {
	columns   []column
	cells     func(row T) []string // as many as columns, raw
	clean     func(row T) T        // every string visible, for templates
	noHeading bool
	least     int // as of table
	// titles answer "table TEMPLATE" for its heading; nil: the columns' titles.
	titles any
}

func (l listing[T]) print(a *app, format string, rows []T) error {
	switch {
	case format == "" || format == "table":
		l.table(a, rows)
		return nil
	case format == "json":
		if rows == nil {
			rows = []T{}
		}
		return writeJSON(a.out, rows)
	}
	return l.template(a, format, rows)
}

func (l listing[T]) table(a *app, rows []T) {
	t := table{noHeading: l.noHeading, least: l.least}
	for _, c := range l.columns {
		t.titles = append(t.titles, c.title)
		t.flex = append(t.flex, c.flex)
	}
	for _, r := range rows {
		t.rows = append(t.rows, l.cells(r))
	}
	t.write(a.out, a.width())
}

// template runs the template once a row; "table TEMPLATE" aligns what comes
// out and puts the columns' titles above.
func (l listing[T]) template(a *app, format string, rows []T) error {
	body, aligned := strings.CutPrefix(format, "table ")
	tmpl, err := parseTemplate(body)
	if err != nil {
		return err
	}
	if !aligned {
		for _, r := range rows {
			if err := execute(a.out, tmpl, l.clean(r)); err != nil {
				return err
			}
		}
		return nil
	}
	titles := l.titles
	if titles == nil {
		names := map[string]string{}
		for _, c := range l.columns {
			names[c.field] = c.title
		}
		titles = names
	}
	var b bytes.Buffer
	if !l.noHeading {
		if err := execute(&b, tmpl, titles); err != nil {
			return err
		}
	}
	for _, r := range rows {
		if err := execute(&b, tmpl, l.clean(r)); err != nil {
			return err
		}
	}
	t := table{noHeading: true}
	for line := range strings.Lines(b.String()) {
		t.rows = append(t.rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	t.write(a.out, 0)
	return nil
}

// parseTemplate reads a Go template; \t and \n may be written as in docker's.
func parseTemplate(text string) (*template.Template, error) {
	text = unescapeText(text)
	tmpl, err := template.New("format").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false) // as podman's
			err := enc.Encode(v)
			return string(visibleJSON(bytes.TrimSuffix(b.Bytes(), []byte{'\n'}))), err
		},
		"join":     strings.Join,
		"lower":    strings.ToLower,
		"pad":      pad,
		"split":    strings.Split,
		"title":    title,
		"truncate": truncate,
		"upper":    strings.ToUpper,
	}).Parse(text)
	if err != nil {
		return nil, &usageError{msg: "read the template of --format: " + err.Error(), hint: `--format json, or a Go template as in --format "{{.ID}}"`}
	}
	return tmpl, nil
}

// pad is docker's: so many spaces before and after.
func pad(text string, before, after int) string {
	const most = 1 << 10
	if text == "" {
		return text
	}
	return strings.Repeat(" ", min(max(before, 0), most)) + text + strings.Repeat(" ", min(max(after, 0), most))
}

// title has a capital letter at the beginning of each word.
func title(text string) string {
	words := strings.SplitAfter(text, " ")
	for i, w := range words {
		if w == "" {
			continue
		}
		first, size := utf8.DecodeRuneInString(w)
		words[i] = string(unicode.ToTitle(first)) + w[size:]
	}
	return strings.Join(words, "")
}

// truncate is the first n bytes, or all.
func truncate(text string, n int) string {
	if n < 0 || len(text) <= n {
		return text
	}
	return text[:n]
}

// unescapeText makes tabs and newlines of \t and \n; between {{ and }} a string
// of the template's own has them.
func unescapeText(text string) string {
	r := strings.NewReplacer(`\t`, "\t", `\n`, "\n")
	var b strings.Builder
	for {
		before, after, action := strings.Cut(text, "{{")
		b.WriteString(r.Replace(before))
		if !action {
			return b.String()
		}
		inside, rest, closed := strings.Cut(after, "}}")
		b.WriteString("{{" + inside)
		if closed {
			b.WriteString("}}")
		}
		text = rest
	}
}

// execute writes what the template makes of data, and a newline.
func execute(w io.Writer, tmpl *template.Template, data any) error {
	var b bytes.Buffer
	if err := tmpl.Execute(&b, data); err != nil {
		return fmt.Errorf("apply the template of --format: %w", err)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := w.Write(visibleJSON(b.Bytes()))
	return err
}

// generic turns a document of the engine into maps and slices with visible
// strings, for templates whose fields are the keys of the JSON.
func generic(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	return cleanTree(out), nil
}

func cleanTree(v any) any {
	switch v := v.(type) {
	case string:
		return visibleText(v)
	case []any:
		for i := range v {
			v[i] = cleanTree(v[i])
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			out[visible(k)] = cleanTree(inner)
		}
		return out
	}
	return v
}

// printDocument prints one document: JSON, a template over its keys, or, with
// no format, what human writes.
func printDocument(a *app, format string, doc any, human func()) error {
	switch format {
	case "":
		human()
		return nil
	case "json":
		return writeJSON(a.out, doc)
	}
	tmpl, err := parseTemplate(format)
	if err != nil {
		return err
	}
	return executeTree(a.out, tmpl, doc)
}

// executeTree applies the template to the document's JSON. With the option
// missingkey=zero what is not there is empty.
func executeTree(w io.Writer, tmpl *template.Template, doc any) error {
	tree, err := generic(doc)
	if err != nil {
		return err
	}
	if m, ok := tree.(map[string]any); ok && m[idAlias] == nil && m["Id"] != nil {
		m[idAlias] = m["Id"]
	}
	var b bytes.Buffer
	if err := execute(&b, tmpl, tree); err != nil {
		return err
	}
	_, err = w.Write(bytes.ReplaceAll(b.Bytes(), []byte("<no value>"), nil))
	return err
}
