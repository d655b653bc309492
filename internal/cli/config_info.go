package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"coracle/internal/engine"
)

// infoDocument is what `coracle info --format json` prints.
type infoDocument struct {
	engine.Info
	Config configInfo `json:"config"`
}

// configInfo says what the defaults of flags are, and who says so.
type configInfo struct {
	Files  []configFile  `json:"files"` // the weakest first
	Values []configValue `json:"values"`
}

// configValue is a flag's value. Value is a string, boolean, number or a list of
// strings, as a file would say it; null where nothing is set.
type configValue struct {
	Key    string `json:"key"` // as in a file: "root", "run.pull"
	Value  any    `json:"value"`
	Source string `json:"source"`         // "built-in", "file" or "command line"
	File   string `json:"file,omitempty"` // of the source file
	Line   int    `json:"line,omitempty"` // in it
}

func (v configValue) from() string {
	if v.Source == sourceFile {
		return v.File + ":" + strconv.Itoa(v.Line)
	}
	return v.Source
}

const (
	sourceBuiltIn = "built-in"
	sourceFile    = "file"
	sourceLine    = "command line"
)

// configInfo lists the global flags and all that the files set; with all, every
// flag of every command.
func (a *app) configInfo(info engine.Info, all bool) configInfo {
	out := configInfo{Files: []configFile{}, Values: []configValue{}}
	if a.config != nil {
		out.Files = append(out.Files, a.config.files...)
	}
	found := map[string]string{"root": info.Store.Root, "runroot": info.Store.RunRoot, "storage-driver": info.Store.Driver}
	for _, f := range fieldsOf(&a.global) {
		v := a.configValue("", f)
		if typed, ok := a.typedValue(f.name); ok {
			v = configValue{Key: f.name, Value: readWord(f, typed), Source: sourceLine}
		}
		if v.Source == sourceBuiltIn && found[f.name] != "" {
			v.Value = found[f.name]
		}
		out.Values = append(out.Values, v)
	}
	for _, f := range sharedFields(commands(), sharedKeys()...) {
		if v := a.configValue("", f); v.Source == sourceFile {
			out.Values = append(out.Values, v)
		}
	}
	for _, e := range commands() {
		for _, f := range fieldsOf(e.make()) {
			if f.isArg {
				continue
			}
			if v := a.configValue(e.name, f); all || v.Source == sourceFile {
				out.Values = append(out.Values, v)
			}
		}
	}
	return out
}

// configValue is the flag's default: of its own table, else what is built in.
func (a *app) configValue(command string, f field) configValue {
	v := configValue{Key: f.name, Source: sourceBuiltIn}
	if command != "" {
		v.Key = strings.ReplaceAll(command, " ", ".") + "." + f.name
	}
	if i := a.config.index(command, f.name); i >= 0 {
		s := a.config.settings[i]
		v.Source, v.File, v.Line = sourceFile, s.file, s.line
		if f.value.Kind() == reflect.Slice {
			v.Value = append([]string{}, s.values...)
		} else if s.kind == unstable.String {
			v.Value = s.values[0]
		} else {
			v.Value = readWord(f, s.values[0])
		}
		return v
	}
	switch word := f.tag.Get("default"); {
	case word != "":
		v.Value = readWord(f, word)
	case f.value.Kind() == reflect.Bool:
		v.Value = false
	case f.value.Kind() == reflect.Slice:
		v.Value = []string{}
	}
	return v
}

// readWord is the word in the type of the flag.
func readWord(f field, word string) any {
	if f.isBool {
		return word == "true"
	}
	if _, err := strconv.ParseInt(word, 10, 64); err == nil && f.value.Kind() != reflect.String {
		return json.Number(word)
	}
	return word
}

func (a *app) typedValue(name string) (string, bool) {
	for _, word := range slices.Backward(a.typed) {
		if value, ok := strings.CutPrefix(word, "--"+name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// write is the part of `coracle info` for people.
func (c configInfo) write(a *app) {
	fmt.Fprintln(a.out, "config:")
	for _, f := range c.Files {
		state := "not there"
		if f.Read {
			state = "read"
		}
		fmt.Fprintf(a.out, "  %s: %s\n", visible(f.Path), state)
	}
	t := table{noHeading: true, flex: []bool{false, false, false}}
	for _, v := range c.Values {
		t.rows = append(t.rows, []string{"  " + v.Key + " = " + cmp.Or(v.text(), "none"), "(" + v.from() + ")"})
	}
	t.write(a.out, 0)
}

// text is the value as in a file.
func (v configValue) text() string {
	if v.Value == nil {
		return ""
	}
	b, err := json.Marshal(v.Value)
	if err != nil {
		return fmt.Sprint(v.Value)
	}
	return strings.ReplaceAll(string(b), `","`, `", "`)
}
