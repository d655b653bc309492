package cli

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"time"

	"coracle/internal/engine"
)

type logsCmd struct {
	Tail      string `placeholder:"N" default:"all" help:"The last N lines only."`
	Names     bool   `short:"n" help:"With several containers, put names before the lines, not ids."`
	logsFlags `embed:""`
}

type logsFlags struct {
	Follow     bool   `short:"f" help:"Go on until the container ends."`
	Since      string `placeholder:"TIME" help:"Lines from that time on: RFC 3339, seconds since 1970, or so long ago, as 10m."`
	Until      string `placeholder:"TIME" help:"Lines up to that time; 10m is in ten minutes, -10m was ten minutes ago."`
	Timestamps bool   `short:"t" help:"Put the time before each line."`
	Color      bool   `help:"Give each container a color."`
	Latest     bool   `short:"l" help:"Of the container that was made last."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

func (*logsFlags) Help() string {
	return `Prints what containers have said: their standard output to standard output,
their standard error to standard error. Lines of several containers come in
the order of their times.

  coracle logs -f web
  coracle logs --since 10m --names web db`
}

func (*logsFlags) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{flags: "details", reason: "attributes of lines are not shown"}}, name)
}

func (c *logsCmd) run(a *app) (int, error) {
	tail, err := tailOf(c.Tail)
	if err != nil {
		return exitOurs, err
	}
	return c.logs(a, tail, c.Names)
}

// tailOf is how many lines --tail wants; -1 is docker's "all".
func tailOf(words string) (int, error) {
	if words == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(words)
	if err != nil {
		return 0, &usageError{msg: fmt.Sprintf("logs: --tail %s: a number or \"all\" is expected", words)}
	}
	return n, nil
}

// dockerLogsCmd is logs under docker's name: -n is how many lines, and a
// duration is so long ago for --until, too.
type dockerLogsCmd struct {
	Tail      string `short:"n" placeholder:"N" default:"all" help:"The last N lines only."`
	logsFlags `embed:""`
}

func (*logsCmd) linked(name string) (command, bool) { return &dockerLogsCmd{}, name == "docker" }

func (c *dockerLogsCmd) run(a *app) (int, error) {
	tail, err := tailOf(c.Tail)
	if err != nil {
		return exitOurs, err
	}
	if d, err := time.ParseDuration(c.Until); err == nil {
		c.Until = (-d).String()
	}
	return c.logs(a, tail, false)
}

func (c *logsFlags) logs(a *app, tail int, byName bool) (int, error) {
	switch {
	case c.Latest && len(c.Containers) > 0:
		return exitOurs, &usageError{msg: "logs: --latest and containers by name exclude each other"}
	case !c.Latest && len(c.Containers) == 0:
		return exitOurs, &usageError{msg: "logs: a container is needed", hint: `see "coracle logs --help"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names := c.Containers
	if c.Latest {
		all, err := e.Containers()
		if err != nil {
			return exitOurs, err
		}
		if len(all) == 0 {
			return exitOurs, &usageError{msg: "logs: there is no container"}
		}
		names = []string{all[0].ID}
	}
	return 0, e.Logs(context.Background(), names, engine.LogsOptions{
		Since: c.Since, Until: c.Until, Tail: tail,
		Follow: c.Follow, Timestamps: c.Timestamps, Names: byName, Color: c.Color,
		Stdout: unbuffered{a.out}, Stderr: a.err,
	})
}

// unbuffered passes on at once what somebody else has gathered: a follower's
// lines are to be seen.
type unbuffered struct{ *bufio.Writer }

func (u unbuffered) Write(p []byte) (int, error) {
	n, err := u.Writer.Write(p)
	if err == nil {
		err = u.Flush()
	}
	return n, err
}
