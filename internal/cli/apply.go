package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"coracle/internal/engine"
	"coracle/internal/review"
)

type applyCmd struct {
	DryRun      bool `name:"dry-run" short:"n" help:"Say what would be done, and do nothing."`
	Interactive bool `short:"i" help:"Ask about each change: y, n, d to see it, q to stop asking."`
	Force       bool `short:"f" help:"Also replace and remove files that the host has changed since."`
	KeepSetID   bool `name:"keep-setid" help:"Bring setuid and setgid bits of files, too."`

	Words []string `arg:"" name:"ID|PATH" optional:""`
}

func (*applyCmd) Help() string {
	return `Brings what a sandbox has changed over to the host's files: all of it, or what
is at and below the PATHs. ID is the start of an id; without one it is the last
sandbox that left changes. Where the host has changed a file since the sandbox
began nothing is done at all, and the conflicts are shown. Each file is replaced
as a whole; no link is followed. After an interruption apply goes on. When
nothing is left the sandbox's layer is removed.

  coracle apply --dry-run
  coracle apply
  coracle apply 3fa9 src docs/README.md
  coracle apply -i`
}

func (c *applyCmd) run(a *app) (int, error) {
	if c.Interactive && !isTerminal(a.files[0]) {
		return exitOurs, &usageError{msg: "apply: --interactive asks on a terminal, and standard input is none", hint: "name the files: coracle apply ID PATH..."}
	}
	s, paths, err := a.sandbox(c.Words)
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	o := review.ApplyOptions{Paths: paths, Force: c.Force, KeepSetID: c.KeepSetID,
		Each: func(ch review.Change) { fmt.Fprintln(a.out, ch.Line()) },
		Note: func(note string) { a.warn(visible(note), "") },
	}
	if c.Interactive {
		o.Pick = (&asker{a: a, s: s, in: bufio.NewReader(a.files[0])}).ask
	}
	if c.DryRun {
		plan, err := s.Choose(ctx, o)
		if err != nil {
			return exitOurs, aboutSandbox(s, err)
		}
		for _, ch := range plan.Done {
			fmt.Fprintln(a.out, ch.Line())
		}
		a.refused(plan.Refused)
		return 0, nil
	}
	if err := s.Lock(); err != nil {
		return exitOurs, aboutSandbox(s, err)
	}
	defer s.Release()
	got, err := s.Apply(ctx, o)
	a.refused(got.Refused)
	if conflict, ok := errors.AsType[*review.ConflictError](err); ok {
		for _, ch := range conflict.Changes {
			fmt.Fprintln(a.err, ch.Line())
		}
		return exitOurs, &engine.Error{Op: "apply sandbox " + s.ID, Err: err,
			Help: "nothing was done; name the files that you want, look at them with coracle review --diff, or take the sandbox's with --force"}
	}
	if err != nil && !s.Interrupted() {
		return exitOurs, &engine.Error{Op: "apply sandbox " + s.ID, Err: err, Help: "nothing was done; coracle review " + s.ID + " lists what there is"}
	}
	if err != nil {
		return exitOurs, &engine.Error{Op: "apply sandbox " + s.ID, Err: err,
			Help: fmt.Sprintf("%d changes were brought over; coracle apply %s goes on", len(got.Done), s.ID)}
	}
	if got.Left > 0 {
		fmt.Fprintf(a.err, "%d changes are left in sandbox %s\n", got.Left, s.ID)
	}
	return 0, nil
}

func (a *app) refused(all []review.Change) {
	for _, ch := range all {
		a.warn("left out: "+ch.Line(), "")
	}
}

// asker asks about one change after the other.
type asker struct {
	a  *app
	s  *review.Sandbox
	in *bufio.Reader
}

func (q *asker) ask(ch review.Change) (take, done bool, err error) {
	for {
		fmt.Fprintf(q.a.err, "%s\napply this? [y,n,d,q] ", ch.Line())
		line, err := q.in.ReadString('\n')
		if err != nil {
			return false, true, nil // the end of the input is a q
		}
		switch strings.TrimSpace(line) {
		case "y":
			return true, false, nil
		case "n":
			return false, false, nil
		case "q":
			return false, true, nil
		case "d":
			if err := q.s.Diff(q.a.err, ch); err != nil {
				return false, true, err
			}
		}
	}
}
