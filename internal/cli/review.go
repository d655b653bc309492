package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"coracle/internal/engine"
	"coracle/internal/review"
)

type reviewCmd struct {
	Diff bool `help:"Show what is different, line by line."`
	Stat bool `help:"Show how many lines each file has gained and lost."`
	JSON bool `name:"json" help:"One object with all changes."`
	All  bool `short:"a" help:"List the sandboxes that have left changes."`

	Words []string `arg:"" name:"ID|PATH" optional:""`
}

func (*reviewCmd) Help() string {
	return `Shows what a sandbox has changed, as compared with what the host has now: + for
created, ~ for changed, - for deleted, and ! where another program may run it
without being told to. ID is the start of an id; without one it is the last
sandbox that left changes. PATHs are files of the host's.

  coracle review
  coracle review 3fa9 --diff | less
  coracle review src/main.c --diff
  coracle review --json | jq '.changes[] | select(.flags)'`
}

// reviewDocument is review --json.
type reviewDocument struct {
	ID          string          `json:"id"`
	Command     []string        `json:"command"`
	Cwd         string          `json:"cwd"`
	Created     time.Time       `json:"created"`
	Running     bool            `json:"running"`
	Interrupted bool            `json:"interrupted"`
	Changes     []review.Change `json:"changes"`
}

func (c *reviewCmd) run(a *app) (int, error) {
	if moreThanOne(c.Diff, c.Stat, c.JSON, c.All) {
		return exitOurs, &usageError{msg: "review: of --diff, --stat, --json and --all one can be had"}
	}
	if c.All {
		return a.listSandboxes()
	}
	s, paths, err := a.sandbox(c.Words)
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	plan, err := s.Choose(ctx, review.ApplyOptions{Paths: paths})
	if err != nil {
		return exitOurs, aboutSandbox(s, err)
	}
	all := plan.All()
	switch {
	case c.JSON:
		if all == nil {
			all = []review.Change{}
		}
		return 0, writeJSON(a.out, reviewDocument{s.ID, s.Command, s.Cwd, s.Created, s.Running(), s.Interrupted(), all})
	case c.Diff:
		for _, ch := range all {
			if err := s.Diff(a.out, ch); err != nil {
				return exitOurs, err
			}
		}
		return 0, nil
	case c.Stat:
		return exitOnError(a.stat(s, all))
	}
	for _, ch := range all {
		fmt.Fprintln(a.out, ch.Line())
	}
	if len(all) == 0 {
		fmt.Fprintf(a.err, "sandbox %s: the host has all of it already, or it changed nothing\n", s.ID)
	}
	if s.Running() {
		fmt.Fprintln(a.err, "it still runs: there may be more")
	}
	if s.Interrupted() {
		fmt.Fprintf(a.err, "an apply was interrupted: coracle apply %s goes on with it\n", s.ID)
	}
	return 0, nil
}

func moreThanOne(flags ...bool) bool {
	n := 0
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n > 1
}

// stat prints how many lines each file has gained and lost.
func (a *app) stat(s *review.Sandbox, all []review.Change) error {
	files, plus, minus := 0, 0, 0
	for _, ch := range all {
		added, removed, known, err := s.Stat(ch)
		if err != nil {
			return err
		}
		if !known {
			fmt.Fprintf(a.out, "%9s %9s  %s\n", "-", "-", ch.Line())
		} else {
			fmt.Fprintf(a.out, "%9s %9s  %s\n", fmt.Sprintf("+%d", added), fmt.Sprintf("-%d", removed), ch.Line())
		}
		files, plus, minus = files+1, plus+added, minus+removed
	}
	fmt.Fprintf(a.out, "%9s %9s  in %d changes\n", fmt.Sprintf("+%d", plus), fmt.Sprintf("-%d", minus), files)
	return nil
}

func (a *app) listSandboxes() (int, error) {
	root, err := a.sandboxRoot()
	if err != nil {
		return exitOurs, err
	}
	all, err := review.List(root)
	if err != nil {
		return exitOurs, err
	}
	for _, s := range all {
		state := "kept"
		switch {
		case s.Interrupted():
			state = "half applied"
		case s.Running():
			state = "running"
		}
		fmt.Fprintf(a.out, "%s  %s  %-12s  %s\n", s.ID, s.Created.Local().Format(time.DateTime), state, visible(strings.Join(s.Command, " ")))
	}
	return 0, nil
}

func (a *app) sandboxRoot() (string, error) {
	e, err := a.engine()
	if err != nil {
		return "", err
	}
	rooted, ok := e.(interface{ Root() string })
	if !ok {
		return "", errors.New("the engine has no store")
	}
	return rooted.Root(), nil
}

// sandbox finds the one that the words begin with, the last one if they do not, which
// it then names on standard error, and makes paths of the other words.
func (a *app) sandbox(words []string) (*review.Sandbox, []string, error) {
	root, err := a.sandboxRoot()
	if err != nil {
		return nil, nil, err
	}
	id := ""
	if len(words) > 0 && review.IsID(words[0]) {
		id, words = words[0], words[1:]
	}
	s, err := review.Find(root, id)
	if errors.Is(err, review.ErrNone) && id != "" && len(words) == 0 {
		return nil, nil, &engine.Error{Err: err, Help: "coracle review --all lists them; a file of that name is ./" + visible(id)}
	}
	if err != nil {
		return nil, nil, err
	}
	if id == "" {
		fmt.Fprintf(a.err, "sandbox %s of %s in %s: %s\n", s.ID, s.Created.Local().Format(time.DateTime), visible(s.Cwd), visible(strings.Join(s.Command, " ")))
	}
	var paths []string
	for _, w := range words {
		p, err := filepath.Abs(w)
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, s.Path(p))
	}
	return s, paths, nil
}

// aboutSandbox puts the id and a hint to an error.
func aboutSandbox(s *review.Sandbox, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	help := ""
	if errors.Is(err, review.ErrRunning) {
		help = "wait for its end, or kill it"
	}
	return &engine.Error{Op: "sandbox " + s.ID, Err: err, Help: help}
}
