package cli

import (
	"context"
	"fmt"

	"coracle/internal/engine"
	"coracle/spec"
)

type execCmd struct {
	Detach      bool     `short:"d" help:"Leave it running in the background, and print an id."`
	DetachKeys  string   `name:"detach-keys" placeholder:"KEYS" help:"What is typed to leave it (default: ctrl-p,ctrl-q)."`
	Env         []string `short:"e" sep:"none" placeholder:"NAME[=VALUE]" help:"Set a variable, or take it from here (NAME* takes several)."`
	EnvFile     []string `name:"env-file" sep:"none" placeholder:"FILE" help:"Read variables, one a line."`
	Interactive bool     `short:"i" help:"Give it standard input."`
	Privileged  bool     `help:"All capabilities of the container's user namespace: none over the host. The seccomp filter stays."`
	TTY         bool     `name:"tty" short:"t" help:"Give it a terminal."`
	User        string   `short:"u" placeholder:"USER[:GROUP]" help:"Run as this user of the container."`
	Workdir     string   `short:"w" placeholder:"DIR" help:"Start in DIR."`
	PreserveFDs uint     `name:"preserve-fds" placeholder:"N" help:"Hand on descriptors 3 to N+2."`
	PreserveFD  []uint   `name:"preserve-fd" placeholder:"FD" help:"Hand on this descriptor."`
	CIDFile     string   `name:"cidfile" placeholder:"FILE" help:"The container whose id is in FILE."`
	Latest      bool     `short:"l" help:"The container that was made last."`

	Words []string `arg:"" name:"CONTAINER" optional:""`
}

func (*execCmd) Help() string {
	return `Runs another command in a container that runs, with the container's environment,
limits and capabilities, and ends with its exit code. Users without the id 0
have no capabilities, unless it is the container's own user.

  coracle exec -it web sh
  coracle exec -u www-data -w /srv web id
  coracle exec -d web sh -c 'sleep 60; reload'`
}

func (*execCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{
		flags: "a all attach", never: true,
		reason: "a command runs in one container, with all of its streams or with --detach none",
		hint:   "for c in $(coracle ps -q); do coracle exec $c COMMAND; done",
	}, {
		flags: "no-session", never: true,
		reason: "nothing is written down of a command that is executed, so there is nothing to leave out",
		hint:   "leave it out",
	}}, name)
}

func (c *execCmd) run(a *app) (int, error) {
	s, words := selection{Latest: c.Latest}, c.Words
	if c.CIDFile != "" {
		s.CIDFile = []string{c.CIDFile}
	}
	if !c.Latest && c.CIDFile == "" && len(words) > 0 {
		s.Containers, words = words[:1], words[1:]
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := s.names(e, "exec", isRunning)
	if err != nil {
		return exitOurs, err
	}
	if len(words) == 0 {
		return exitOurs, &usageError{msg: "exec: a command is needed", hint: fmt.Sprintf("coracle exec -it %s sh", visible(names[0]))}
	}
	o := engine.ExecOptions{
		ExecRequest: spec.ExecRequest{
			Args: words, Env: c.Env, EnvFiles: c.EnvFile, User: c.User, Workdir: c.Workdir, TTY: c.TTY, Privileged: c.Privileged,
		},
		Stdio: a.stdio(), Interactive: c.Interactive, DetachKeys: c.DetachKeys, PreserveFDs: c.PreserveFDs, PreserveFD: c.PreserveFD,
	}
	if c.Detach {
		id, err := e.ExecDetached(context.Background(), names[0], o)
		if err != nil {
			return exitOurs, err
		}
		fmt.Fprintln(a.out, id)
		return 0, nil
	}
	exit, err := e.Exec(context.Background(), names[0], o)
	return exit.Code, err
}
