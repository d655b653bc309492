package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/internal/engine"
	"coracle/internal/sandbox"
)

// learnCmd is `coracle learn`.
type learnCmd struct {
	Write string `placeholder:"FILE" help:"Write the profile to FILE (default: standard error; -: standard output)."`

	Box sandboxCmd `embed:""`
}

func (*learnCmd) Help() string {
	return `Runs COMMAND once in a sandbox that shows it the home directory copy-on-write,
without credentials, and watches what it uses. Then proposes the smallest
profile under which it could do the same again, for coracle sandbox --profile.
It may talk to nobody, unless flags say so: what it tried is in the profile, and
a second round with that one shows what comes after. What it changes is kept for
review. The other flags are those of coracle sandbox, and become part of the
profile. Read it before you use it: it is what the command wanted.

  coracle learn --write build.toml -- make
  coracle learn --profile ./build.toml --write build.toml -- make
  coracle learn --allow-net '*' -- git clone https://example.org/repo`
}

func (c *learnCmd) profileWords(conf *config, fields []field, line split) ([]string, error) {
	return c.Box.profileWords(conf, fields, line)
}

func (c *learnCmd) refused(name string) (refusal, bool) { return c.Box.refused(name) }

func (c *learnCmd) run(a *app) (int, error) {
	box := &c.Box
	switch {
	case len(box.Result.Args) > 0:
		return exitOurs, &usageError{msg: "learn: --args is for coracle sandbox"}
	case box.Result.Denials != "" && box.Result.Denials != "all":
		return exitOurs, &usageError{msg: "learn: --denials " + visible(box.Result.Denials) + ": it learns from what it sees"}
	case box.Result.Explain:
		return exitOurs, &usageError{msg: "learn: --explain is for coracle sandbox"}
	}
	o, err := box.options()
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	var file *engine.Destination
	if c.Write != "" && c.Write != "-" {
		if file, err = engine.OpenDestination(c.Write); err != nil {
			return exitOurs, doing("write the profile", c.Write, err)
		}
		defer file.Close()
	}
	learned := sandbox.Lesson{Given: givenTo(box)}
	o.Denials, o.Learned = "all", &learned
	if o.Options.Home == "" && o.Options.Root == "" {
		o.Options.Home = sandbox.Overlay
		if dir, err := os.Getwd(); err == nil && o.Options.Cwd == "" && dir != os.Getenv("HOME") && dir != "/" {
			o.Options.Cwd = sandbox.Overlay // a layer of its own, as it will be with the profile
		}
	}
	if o.OnExit == "" {
		o.OnExit = "keep"
	}
	if o.Options.Network.Mode == "" && len(o.AllowNet)+len(o.DenyNet) == 0 && o.AllowNetFile == "" {
		o.AllowNetFile = os.DevNull // no rule, and so nobody
	}
	o.Stdio = engine.Stdio{Stdin: a.files[0], Stdout: a.files[1], Stderr: a.files[2]}
	began := time.Now()
	exit, err := e.Sandbox(context.Background(), o)
	if err != nil {
		return exit.Code, err
	}
	if learned.Plan == nil {
		return exitOurs, &usageError{msg: "learn: nothing could be seen of the command", hint: "that takes Linux 5.5, and a file system that answers"}
	}
	text := learnedProfile(learned, box.Command, exit.Code, time.Since(began))
	if _, _, err := parseProfile("the learned profile", []byte(text)); err != nil {
		return exitOurs, fmt.Errorf("propose a profile: %w", err) // a mistake of ours: nothing is written that could not be read
	}
	switch c.Write {
	case "":
		fmt.Fprint(a.err, "\n"+text)
	case "-":
		fmt.Fprint(a.out, text)
	default:
		if err := file.Write([]byte(text)); err != nil {
			return exitOurs, doing("write the profile", c.Write, err)
		}
		name := c.Write
		if !strings.Contains(name, "/") {
			name = "./" + name
		}
		fmt.Fprintf(a.err, "the profile is in %s: read it, then: coracle sandbox --profile %s -- ...\n", visible(c.Write), visible(shellWord(name)))
	}
	return exit.Code, nil
}

// givenTo are the flags of a profile that were set, on the line or by another profile.
func givenTo(box *sandboxCmd) []sandbox.Setting {
	keys := profileKeys()
	var out []sandbox.Setting
	for _, f := range fieldsOf(box) {
		if f.isArg || !slices.Contains(keys, f.name) || f.value.IsZero() || fmt.Sprint(f.value.Interface()) == f.tag.Get("default") {
			continue
		}
		switch v := f.value.Interface().(type) {
		case []string:
			for _, word := range v {
				out = append(out, sandbox.Setting{Key: f.name, Value: fromHere(f.name, word), List: true})
			}
		case seconds:
			out = append(out, sandbox.Setting{Key: f.name, Value: time.Duration(v).String()})
		default:
			if f.value.Kind() != reflect.Struct {
				out = append(out, sandbox.Setting{Key: f.name, Value: fromHere(f.name, fmt.Sprint(v))})
			}
		}
	}
	return out
}

// fromHere makes a path absolute: a profile may be used in another directory.
func fromHere(flag, word string) string {
	switch flag {
	case "rw", "ro", "rw-try", "ro-try", "overlay", "hide", "tmpfs", "allow-unix", "allow-net-file", "seccomp":
		if full, err := filepath.Abs(word); err == nil {
			return full
		}
	}
	return word
}

// learnedProfile is a lesson as a file.
func learnedProfile(l sandbox.Lesson, command []string, code int, took time.Duration) string {
	var b strings.Builder
	line := "coracle learn --"
	for _, w := range command {
		line += " " + shellWord(w)
	}
	fmt.Fprintf(&b, "# Learned from one run: %s\n", visible(line))
	b.WriteString("# It is what the command wanted, not what is good for you: read it before you use it.\n")
	if code != 0 {
		fmt.Fprintf(&b, "# The command ended with code %d: what it would have done after that is not in here.\n# coracle learn --profile with this file shows what comes next.\n", code)
	}
	if l.Further > 0 {
		fmt.Fprintf(&b, "# %d paths more were used than could be kept apart.\n", l.Further)
	}
	name := "nothing"
	if len(command) > 0 {
		name = filepath.Base(command[0])
	}
	fmt.Fprintf(&b, "description = %s\n", tomlWord("learned from "+visible(name)))
	all := l.Propose()
	var done []string
	for _, s := range all {
		if s.Off || slices.Contains(done, s.Key) {
			continue
		}
		done = append(done, s.Key)
		writeSetting(&b, l, all, s)
	}
	const times, least = 3, 10
	if !slices.Contains(done, "timeout") {
		fmt.Fprintf(&b, "# timeout = %d  # seconds; it took %.1f\n", max(least, times*int(took.Seconds()+1)), took.Seconds())
	}
	warned := false
	for _, s := range all {
		if !s.Off {
			continue
		}
		if !warned {
			b.WriteString("\n# What it wanted, too, and is left out. Each is a way out of the sandbox, or to what\n# is yours alone: take one in only if you know what for.\n")
			warned = true
		}
		fmt.Fprintf(&b, "# %s = [%s]  # %s\n", s.Key, tomlWord(l.Short(s.Value)), visible(s.Note))
	}
	for _, d := range l.Denials {
		if d.Kind == "syscall" {
			fmt.Fprintf(&b, "# The system call %s was refused, %d times: coracle why tells more.\n", visible(d.What), d.Count)
		}
	}
	return b.String()
}

// writeSetting writes a key with all its values.
func writeSetting(b *strings.Builder, l sandbox.Lesson, all []sandbox.Setting, first sandbox.Setting) {
	note := func(s sandbox.Setting) string {
		if s.Note == "" {
			return ""
		}
		return "  # " + visible(s.Note)
	}
	if !first.List {
		value := first.Value
		if _, err := strconv.Atoi(value); err != nil && value != "true" {
			value = tomlWord(value)
		}
		fmt.Fprintf(b, "%s = %s%s\n", first.Key, value, note(first))
		return
	}
	fmt.Fprintf(b, "%s = [\n", first.Key)
	for _, s := range all {
		if s.Key == first.Key && !s.Off {
			fmt.Fprintf(b, "  %s,%s\n", tomlWord(l.Short(s.Value)), note(s))
		}
	}
	b.WriteString("]\n")
}
