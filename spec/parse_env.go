package spec

import (
	"slices"
	"strings"
)

// environment is NAME=VALUE pairs in order, each name once.
type environment []string

func (e environment) find(name string) int {
	return slices.IndexFunc(e, func(kv string) bool {
		return len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name
	})
}

func (e environment) has(name string) bool { return e.find(name) >= 0 }

func (e environment) get(name string) string {
	if i := e.find(name); i >= 0 {
		return e[i][len(name)+1:]
	}
	return ""
}

// set replaces in place, so that an overridden name keeps its position.
func (e *environment) set(name, value string) {
	if i := e.find(name); i >= 0 {
		(*e)[i] = name + "=" + value
		return
	}
	*e = append(*e, name+"="+value)
}

func (e *environment) unset(name string) {
	if i := e.find(name); i >= 0 {
		*e = slices.Delete(*e, i, i+1)
	}
}

// setAll takes NAME=VALUE pairs; what is no pair is left out.
func (e *environment) setAll(pairs []string) {
	for _, kv := range pairs {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			e.set(name, value)
		}
	}
}

// add takes one -e or one line of an --env-file: NAME=VALUE, NAME from the
// host, or NAME* for all of the host's names that begin so. A name that the
// host has not is left out, as in podman.
func (e *environment) add(word string, host environment) error {
	name, value, pair := strings.Cut(word, "=")
	switch {
	case name == "":
		return bad("a variable needs a name")
	case strings.ContainsRune(word, 0):
		return bad("a variable cannot hold a zero byte")
	case pair:
		e.set(name, value)
	case strings.HasSuffix(name, "*"):
		for _, kv := range host {
			if strings.HasPrefix(kv, name[:len(name)-1]) {
				e.setAll([]string{kv})
			}
		}
	case host.has(name):
		e.set(name, host.get(name))
	}
	return nil
}

// addFile takes an --env-file: one variable a line, # comments; spaces before
// a name are dropped, everything after the = belongs to the value.
func (e *environment) addFile(data []byte, host environment) error {
	text := strings.TrimPrefix(string(data), "\ufeff") // editors on Windows leave a byte order mark
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line, "=")
		if strings.ContainsAny(name, " \t") {
			return bad("line %d: the name %q has a space in it", number, name)
		}
		if err := e.add(line, host); err != nil {
			return bad("line %d: %v", number, err)
		}
	}
	return nil
}
