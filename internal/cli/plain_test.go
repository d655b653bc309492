package cli

import (
	"reflect"
	"strings"
	"testing"
)

// TestPlainFields holds the short way against kong's, for every flag of every
// command with every kind of word, and for lines of several.
func TestPlainFields(t *testing.T) {
	plain := 0
	check := func(e entry, flags, args []string) {
		t.Helper()
		s := split{flags: flags, args: args}
		long, short := e.make(), e.make()
		var longGlobals, shortGlobals globals
		err := readByKong("x", withGlobals(fieldsOf(long), fieldsOf(&longGlobals)), s)
		if !plainFields(withGlobals(fieldsOf(short), fieldsOf(&shortGlobals)), s) {
			if !reflect.DeepEqual(short, e.make()) || !reflect.DeepEqual(shortGlobals, globals{}) {
				t.Errorf("%s %q %q: given up, and something was changed", e.name, flags, args)
			}
			return
		}
		plain++
		if err != nil || !reflect.DeepEqual(long, short) || !reflect.DeepEqual(longGlobals, shortGlobals) {
			t.Errorf("%s %q %q: %+v %+v\nkong (%v): %+v %+v", e.name, flags, args, short, shortGlobals, err, long, longGlobals)
		}
	}
	words := []string{"", "x", "true", "false", "1", "5s", "a,b", `a\,b`, "a=b", "-x", "--", "text", "json", "always", "overlay", "\xff", "host", "\"q\""}
	arguments := [][]string{nil, {"a"}, {"a", "b,c"}, {"a", "--", "-x", `d\`}, {"", ""}}
	for _, e := range commands() {
		for _, args := range arguments {
			check(e, nil, args)
		}
		for _, f := range withGlobals(fieldsOf(e.make()), fieldsOf(&globals{})) {
			if f.isArg {
				continue
			}
			for _, name := range append([]string{f.name}, f.aliases...) {
				for _, w := range words {
					flag := "--" + name + "=" + w
					check(e, []string{flag}, []string{"a"})
					check(e, []string{flag, flag, "--debug=true"}, []string{"a", "b"})
				}
			}
		}
	}
	if plain < 500 {
		t.Errorf("%d lines were plain: the comparison is an empty one", plain)
	}
}

// What people type must not take kong: that is what the short way is for.
func TestCommonLinesArePlain(t *testing.T) {
	for _, line := range []string{
		"--rm=true --network=none --uidmap=0:0:1 --gidmap=0:0:1 host -- true",
		"--rm=true --interactive=true --tty=true debian bash",
		"--name=x --env=A=b,c --volume=/a:/b:ro --workdir=/src --publish-nothing= debian",
	} {
		e, err := findCommand("run")
		if err != nil {
			t.Fatal(err)
		}
		var s split
		for _, w := range strings.Fields(line) {
			if strings.HasPrefix(w, "--") && len(w) > 2 && len(s.args) == 0 {
				s.flags = append(s.flags, w)
			} else {
				s.args = append(s.args, w)
			}
		}
		unknown := strings.Contains(line, "nothing")
		if plainFields(fieldsOf(e.make(), &globals{}), s) == unknown {
			t.Errorf("%s: plain is %v", line, !unknown)
		}
	}
}
