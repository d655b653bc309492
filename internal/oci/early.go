package oci

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"reflect"
	"strings"

	"coracle/internal/say"
	"coracle/spec"
)

// early are the commands that do without the rest of the program; all words from
// the first argument on belong to another command where trailing.
func early(verb string) (cmd interface{ Run(*Env) (int, error) }, trailing bool) {
	switch verb {
	case "create":
		return &Create{}, false
	case "start":
		return &Start{}, false
	case "run":
		return &Run{}, false
	case "state":
		return &State{}, false
	case "kill":
		return &Kill{}, false
	case "delete":
		return &Delete{}, false
	case "exec":
		return &Exec{}, true
	case "pause":
		return &Pause{}, false
	case "resume":
		return &Resume{}, false
	}
	return nil, false
}

// Early runs args, the whole command line, if it is one of the runtime's that needs
// nothing but this package: no log, no systemd, no help, no word that is amiss. Else
// it is not done, and has done nothing.
func Early(args []string) (code int, done bool) {
	g, cmd := Parse(args)
	if cmd == nil || g.Debug || g.Log != "" || g.SystemdCgroup || g.CgroupManager == "systemd" {
		return 0, false
	}
	out := bufio.NewWriter(os.Stdout)
	code, err := cmd.Run(&Env{
		Globals: g, Out: out, NoSystemd: true,
		Warn:  func(msg string) { say.Warning(os.Stderr, msg, "") },
		Debug: func(string) {},
	})
	if errors.Is(err, spec.ErrSystemd) {
		return 0, false
	}
	if err != nil && code == 0 {
		code = 1
	}
	err = Explain(err)
	if flushErr := out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write the output: %w", flushErr)
		code = cmp.Or(code, 125)
	}
	if err != nil {
		say.Error(os.Stderr, err)
	}
	return code, true
}

// Parse reads a command line of one of these commands; nil for any other, and for
// words that somebody else has to read.
func Parse(args []string) (*Globals, interface{ Run(*Env) (int, error) }) {
	if len(args) == 0 {
		return nil, nil
	}
	name, words := path.Base(args[0]), args[1:]
	if name != Name {
		// A link called docker or podman understands those.
		if len(words) == 0 || words[0] != "oci" || !strings.HasPrefix(name, "coracle") {
			return nil, nil
		}
		words = words[1:]
	}
	g := &Globals{}
	globals := fieldsOf(reflect.ValueOf(g).Elem())
	r := reader{globals}
	words, ok := r.flags(words, false)
	if !ok || len(words) == 0 {
		return nil, nil
	}
	cmd, trailing := early(words[0])
	if cmd == nil {
		return nil, nil
	}
	// A flag of the command's own hides a global one of its name.
	all := fieldsOf(reflect.ValueOf(cmd).Elem())
	own := len(all)
	for _, f := range globals {
		if hidden, _, _ := (&reader{all[:own]}).find("--" + f.name); hidden == nil {
			all = append(all, f)
		}
	}
	r = reader{all}
	args, ok = r.flags(words[1:], !trailing)
	if !ok || !r.arguments(args) || !r.defaults() {
		return nil, nil
	}
	return g, cmd
}
