package cli

import (
	"fmt"

	"coracle/internal/engine"
)

type updateCmd struct {
	Restart string `placeholder:"POLICY" help:"Start it again when it ends: no, on-failure[:N], always or unless-stopped."`

	Limits cgroupFlags `embed:"" group:"Limits"`

	Containers []string `arg:"" name:"CONTAINER"`
}

func (*updateCmd) Help() string {
	return `Changes containers that are there, running or not. Limits hold at once and at
later starts: all that are named or, when one cannot be had, none. A restart
policy holds from the next end on.

  coracle update --memory 1g --cpus 2 web
  coracle update --pids-limit -1 web
  coracle update --restart always web`
}

func (*updateCmd) refused(name string) (refusal, bool) {
	return findRefusal(runRefusals(), name)
}

func (c *updateCmd) run(a *app) (int, error) {
	o := engine.UpdateOptions{Limits: c.Limits.limits()}
	if c.Restart == "" && !o.Limits.Given() {
		return exitOurs, &usageError{msg: "update: there is nothing to change", hint: "a limit, such as --memory 1g, or --restart POLICY"}
	}
	if c.Restart != "" {
		policy, err := engine.ParseRestart(c.Restart)
		if err != nil {
			return exitOurs, err
		}
		o.Restart = &policy
	}
	return selection{Containers: c.Containers}.each(a, "update", isRunning, func(e engineAPI, name string) error {
		return e.UpdateContainer(name, o)
	})
}

// existsCmd answers by its exit code, as podman's.
type existsCmd struct {
	Container string `arg:"" name:"CONTAINER"`
}

func (*existsCmd) Help() string {
	return `Exits with 0 where there is such a container, and with 1 where there is none.

  coracle container exists web || coracle run -d --name web nginx`
}

func (c *existsCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	_, err = e.Inspect(ctx, c.Container, engine.InspectOptions{Kind: "container"})
	if isNotFound(err) {
		return 1, nil
	}
	return 0, err
}

// portCmd lists what is published.
type portCmd struct {
	All    bool `short:"a" help:"Of all containers."`
	Latest bool `short:"l" help:"Of the one that was made last."`

	Words []string `arg:"" name:"[add|rm] CONTAINER [PORT...]" optional:""`
}

func (*portCmd) Help() string {
	return `Lists the ports that running containers publish, and where on the host. With add
and rm it publishes more of a detached container until it ends, or fewer: PORT
is then as with "run --publish". Ports that were published with run come back
with the next start.

  coracle port web
  coracle port web 80/tcp
  coracle port add web 8443:443
  coracle port rm web 443`
}

// change is for the words add and rm: a container of that name has at most one word
// after it.
func (c *portCmd) change(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	do := e.Publish
	if c.Words[0] == "rm" {
		do = e.Unpublish
	}
	lines, err := do(c.Words[1], c.Words[2:])
	if err != nil {
		return exitOurs, err
	}
	for _, l := range lines {
		fmt.Fprintln(a.out, l)
	}
	return 0, nil
}

func (c *portCmd) run(a *app) (int, error) {
	if len(c.Words) > 2 && !c.All && !c.Latest && (c.Words[0] == "add" || c.Words[0] == "rm") {
		return c.change(a)
	}
	s := selection{All: c.All, Latest: c.Latest}
	port := ""
	switch n := len(c.Words); {
	case n == 2 && !c.All && !c.Latest, n == 1 && c.Latest:
		port = c.Words[n-1]
		s.Containers = c.Words[:n-1]
	case n > 1 || n == 1 && c.All:
		return exitOurs, &usageError{msg: "port: one container, and at most one port", hint: "coracle port CONTAINER [PORT[/PROTO]]"}
	default:
		s.Containers = c.Words
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names, err := s.names(e, "port", func(engine.Container) bool { return true })
	if err != nil {
		return exitOurs, err
	}
	for _, name := range names {
		lines, err := e.Ports(name, port)
		if err != nil {
			return exitOurs, doing("list the ports of container", name, err)
		}
		if port != "" && len(lines) == 0 {
			return exitOurs, &usageError{msg: fmt.Sprintf("port: container %s does not publish %s", name, port), hint: "see what it does: coracle port " + name}
		}
		for _, l := range lines {
			if c.All { // with each line, so that it means the same for one container and for ten
				l = shortID(name, false) + "\t" + l
			}
			fmt.Fprintln(a.out, l)
		}
	}
	return 0, nil
}
