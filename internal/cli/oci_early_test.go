package cli

import (
	"reflect"
	"strings"
	"testing"

	"coracle/internal/oci"
)

// ordinary reads a line as ociMain does.
func ordinary(words []string) (*oci.Globals, any, error) {
	g := &oci.Globals{}
	lead, err := splitLead(words, func(name string) flagKind {
		for _, f := range fieldsOf(g) {
			if f.isCalled(name) {
				return f.kind()
			}
		}
		return flagUnknown
	}, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range ociCommands() {
		if e.name == lead.verb {
			cmd := e.make()
			help, err := newParser(e, cmd, g).parse(append(lead.flags, lead.rest...))
			if help {
				return nil, nil, &usageError{msg: "help"}
			}
			return g, reflect.ValueOf(cmd).Elem().Field(0).Addr().Interface(), err
		}
	}
	return nil, nil, &usageError{msg: "no such command"}
}

// TestEarlyLines holds what is read early against what is read otherwise: every flag
// of every command with every kind of word, before and behind the command, and
// lines of several.
func TestEarlyLines(t *testing.T) {
	taken := map[string]int{}
	check := func(line ...string) {
		t.Helper()
		g, cmd := oci.Parse(append([]string{"/usr/bin/coracle-oci"}, line...))
		same, sameCmd := oci.Parse(append([]string{"coracle", "oci"}, line...))
		if !reflect.DeepEqual(g, same) || !reflect.DeepEqual(cmd, sameCmd) {
			t.Errorf("%q: by the name %+v %+v, by the word %+v %+v", line, g, cmd, same, sameCmd)
		}
		if cmd == nil {
			return
		}
		wantG, want, err := ordinary(line)
		if err != nil || !reflect.DeepEqual(any(cmd), want) || !reflect.DeepEqual(g, wantG) {
			t.Errorf("%q: early %+v %+v\nordinary (%v): %+v %+v", line, g, cmd, err, wantG, want)
		}
		for _, verb := range line {
			taken[verb]++
		}
	}
	words := []string{"", "x", "true", "false", "1", "a,b", `a\,b`, "a=b", "-x", "-", "--", "text", "json", "disabled", "systemd", "\xff", "--help", "-d", "b1"}
	arguments := [][]string{nil, {"b1"}, {"b1", "true"}, {"b1", "--", "-x"}, {"--", "b1"}, {"b1", "-x", "--help"}, {"b1", "KILL"}, {"", ""}, {"b1", "-d"}}
	for _, e := range ociCommands() {
		for _, args := range arguments {
			check(append([]string{e.name}, args...)...)
			check(append([]string{"--root", "/r", "--rootless=true", e.name}, args...)...)
		}
		for _, f := range fieldsOf(e.make(), &oci.Globals{}) {
			names := []string{"--" + f.name}
			if f.short != "" {
				names = append(names, "-"+f.short)
			}
			for _, name := range names {
				for _, w := range words {
					for _, flag := range [][]string{{name, w}, {name + "=" + w}, {name + w}, {name}, {name, w, name, w}} {
						check(append(append([]string{e.name}, flag...), "b1", "c", "-x")...)
						check(append([]string{e.name, "b1"}, flag...)...)
						check(append(append([]string{}, flag...), e.name, "b1")...)
					}
				}
			}
		}
	}
	for _, verb := range strings.Fields("create start run state kill delete exec pause resume") {
		if taken[verb] < 20 {
			t.Errorf("%s was read early %d times: the comparison is an empty one", verb, taken[verb])
		}
	}
	for _, verb := range strings.Fields("restore list ps events spec features mounts update checkpoint") {
		if taken[verb] > 0 {
			t.Errorf("%s is read early", verb)
		}
	}
}

// What callers type is read early; a log, help and another program's name are not.
func TestWhatIsEarly(t *testing.T) {
	for line, want := range map[string]bool{
		"coracle oci --root /r exec b1 true":                            true,
		"coracle-oci --rootless=true --root=/r run b1 -b /bundle":       true, // Slurm
		"/x/coracle-oci create --bundle /b --pid-file /p --no-pivot ID": true, // conmon
		"coracle-oci kill -a ID":                                        true,
		"coracle-oci exec --pid-file /p --process /f --detach ID":       true,
		"coracle-oci delete --force ID":                                 true,
		"coracle-oci":                                                   false,
		"coracle-oci --version":                                         false,
		"coracle-oci exec --help":                                       false,
		"coracle-oci create --preserve-fds 2 ID":                        false,
		"coracle-oci delete":                                            false,
		"coracle --root /r oci state b1":                                false,
		"docker oci state b1":                                           false,
		"coracle run host":                                              false,
	} {
		if _, cmd := oci.Parse(strings.Fields(line)); (cmd != nil) != want {
			t.Errorf("%s: early is %v", line, !want)
		}
	}
}
