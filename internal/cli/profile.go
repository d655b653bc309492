package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A profile is a file of flags of `coracle sandbox`: keys are named as they are, without
// a table, and extends names another profile, which it adds to. What the command line
// says goes before a profile, lists are added up.

const (
	systemProfiles = "/etc/coracle/profiles"
	profileDepth   = 8 // of extends
)

// profile is what one says, with what it extends.
type profile struct {
	name        string
	file        string // "": built in
	description string
	settings    []configSetting
}

// profileKeys are the flags that a profile can set: not what is of one run only.
func profileKeys() []string {
	return []string{"rw", "ro", "rw-try", "ro-try", "overlay", "hide", "tmpfs", "cwd", "home", "root", "pull", "allow-unix", "env", "env-pass", "hostname", "time-offset", "seccomp", "allow-32bit", "network", "loopback",
		"allow-net", "deny-net", "allow-net-file", "proxy-env", "timeout", "grace", "cpu-time", "memory", "pids", "cpus", "max-file-size", "max-files", "max-output",
		"disk", "inodes", "nice", "ionice", "best-effort", "on-exit", "filter-escapes"}
}

// profileDirs are where profiles are looked for by name, the first first; then those
// that are built in.
func profileDirs() []string {
	dirs := []string{systemProfiles}
	if dir := userConfigDir(); dir != "" {
		dirs = append([]string{filepath.Join(dir, "profiles")}, dirs...)
	}
	return dirs
}

// userConfigDir is the caller's own; "" without one.
func userConfigDir() string {
	places := configPlaces("")
	if last := places[len(places)-1]; last != systemConfig {
		return filepath.Dir(last)
	}
	return ""
}

// readProfile reads the one of a name, or a file: a word with a / or .toml at its end.
func readProfile(name string) (profile, error) {
	return readProfileTo(name, profileDepth)
}

func readProfileTo(name string, depth int) (profile, error) {
	if depth == 0 {
		return profile{}, &usageError{msg: "profile " + visible(name) + ": it extends itself, or more than seven others", hint: "extends = \"default\""}
	}
	file, data, err := findProfile(name)
	if err != nil {
		return profile{}, err
	}
	shown := file
	if file == "" {
		shown = "built-in:" + name
	}
	p, extends, err := parseProfile(shown, data)
	if err != nil {
		return profile{}, err
	}
	p.name, p.file = name, file
	if extends == "" {
		return p, nil
	}
	base, err := readProfileTo(extends, depth-1)
	if err != nil {
		return profile{}, err
	}
	p.settings = append(base.settings, p.settings...)
	return p, nil
}

// findProfile gives a profile's text, and its file unless it is built in.
func findProfile(name string) (file string, data []byte, err error) {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".toml") {
		data, err := readTrusted(name)
		if err != nil {
			return "", nil, doing("read the profile", name, err)
		}
		return name, data, nil
	}
	for _, dir := range profileDirs() {
		file := filepath.Join(dir, name+".toml")
		data, err := readTrusted(file)
		if err == nil {
			return file, data, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", nil, doing("read the profile", file, err)
		}
	}
	for _, b := range builtinProfiles() {
		if b.name == name {
			return "", []byte(b.text), nil
		}
	}
	e := &usageError{msg: "there is no profile " + visible(name), hint: `"coracle profile ls" lists them; a file has a / or .toml in its name`}
	var names []string
	for _, b := range builtinProfiles() {
		names = append(names, b.name)
	}
	if near := nearest(name, names); near != "" {
		e.hint = "did you mean " + near + "?"
	}
	return "", nil, e
}

// parseProfile reads one file; errors name line and column.
func parseProfile(file string, data []byte) (p profile, extends string, err error) {
	r := configReader{file: file, seen: map[string]int{}, columns: true, flags: map[string][]field{"sandbox": sandboxFields()}, all: []entry{{name: "sandbox", make: func() command { return &sandboxCmd{} }}}}
	r.toml.Reset(data)
	for r.toml.NextExpression() {
		n := r.toml.Expression()
		key, line := r.key(n.Key())
		switch {
		case n.Kind != unstable.KeyValue:
			return p, "", r.fail(line, key, "a profile has no tables", "keys are named as the flags of coracle sandbox")
		case len(key) == 1 && (key[0] == "description" || key[0] == "extends"):
			if err := r.once(key, line); err != nil {
				return p, "", err
			}
			if n.Value().Kind != unstable.String {
				return p, "", r.fail(line, key, "a word is wanted, and it is "+article(n.Value().Kind), "write it in quotes")
			}
			if key[0] == "extends" {
				extends = string(n.Value().Data)
			} else {
				p.description = string(n.Value().Data)
			}
		default:
			if err := r.keyValue([]string{"sandbox"}, n); err != nil {
				return p, "", err
			}
		}
	}
	if err := r.toml.Error(); err != nil {
		line, column := lineOfError(data, err), columnOfError(data, err)
		return p, "", &usageError{msg: fmt.Sprintf("%s:%d:%d: this is not TOML: %v", visible(file), line, column, err), hint: "key = value, words in quotes, lists in brackets"}
	}
	p.settings = r.out
	return p, extends, nil
}

// sandboxFields are the flags that a profile can set.
func sandboxFields() []field {
	keys := profileKeys()
	return slices.DeleteFunc(fieldsOf(&sandboxCmd{}), func(f field) bool { return !f.isArg && !slices.Contains(keys, f.name) })
}

// columnOfError is where in its line the parser stopped.
func columnOfError(data []byte, err error) int {
	var at *unstable.ParserError
	if !errors.As(err, &at) {
		return 1
	}
	offset := min(max(cap(data)-cap(at.Highlight), 0), len(data))
	return offset - strings.LastIndexByte(string(data[:offset]), '\n')
}

// words are its settings as if typed, before the line's own: what that names it sets.
func (p profile) words(fields []field, line split) []string {
	last := map[string]int{}
	for i, s := range p.settings {
		last[s.flag] = i
	}
	var out []string
	for i, s := range p.settings {
		k := slices.IndexFunc(fields, func(f field) bool { return !f.isArg && f.name == s.flag })
		if k < 0 {
			continue
		}
		f := fields[k]
		if f.value.Kind() != reflect.Slice && (line.names(f) || last[s.flag] != i) {
			continue
		}
		for _, value := range s.values {
			out = append(out, "--"+f.name+"="+f.escaped(homed(s.flag, value)))
		}
	}
	return out
}

// homed puts the home directory in the place of ~ in the flags that take a path.
func homed(flag, value string) string {
	rest, ok := strings.CutPrefix(value, "~/")
	if !ok || !slices.Contains([]string{"rw", "ro", "rw-try", "ro-try", "overlay", "hide", "tmpfs", "allow-unix", "allow-net-file", "seccomp", "root"}, flag) {
		return value
	}
	return filepath.Join(os.Getenv("HOME"), rest)
}

// profileWords are the flags of --profile, or else of the project's own.
func (*sandboxCmd) profileWords(c *config, fields []field, line split) ([]string, error) {
	name := ""
	if s, ok := c.find("sandbox", "profile"); ok && len(s.values) > 0 {
		name = s.values[0]
	}
	for _, word := range line.flags {
		if typed, ok := strings.CutPrefix(word, "--profile="); ok {
			name = typed
		}
	}
	if name == "" {
		return projectWords(c, fields, line)
	}
	p, err := readProfile(name)
	if err != nil {
		return nil, err
	}
	return p.words(fields, line), nil
}
