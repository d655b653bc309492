package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"coracle/internal/denial"
	"coracle/internal/engine"
)

type whyCmd struct {
	JSON bool `name:"json" help:"One object with all that is known."`

	ID string `arg:"" name:"ID" optional:""`
}

func (*whyCmd) Help() string {
	return `Explains what a sandbox has refused to its command: what was tried, which wall
stood there, how often, the flag that would allow it, and what speaks against
that flag. ID is the start of an id; without one it is the last run of which
something was recorded, which --denials all or --report has done.

  coracle sandbox --denials all -- make test
  coracle why`
}

func (c *whyCmd) run(a *app) (int, error) {
	root, err := a.sandboxRoot()
	if err != nil {
		return exitOurs, err
	}
	r, err := denial.Load(root, c.ID)
	if errors.Is(err, denial.ErrNone) {
		if c.ID != "" {
			err = fmt.Errorf("%s: %w of such a run", visible(c.ID), err)
		}
		return exitOurs, &engine.Error{Err: err, Help: "coracle sandbox --denials all -- COMMAND records what is refused; --report FILE does so, too"}
	}
	if err != nil {
		return exitOurs, err
	}
	if c.JSON {
		return 0, writeJSON(a.out, r)
	}
	fmt.Fprint(a.out, explainRecord(r))
	return 0, nil
}

// explainRecord is a record for people. What a command has named is not trusted to be
// text for a terminal.
func explainRecord(r denial.Record) string {
	var b strings.Builder
	words := make([]string, len(r.Command))
	for i, w := range r.Command {
		words[i] = denial.Word(w)
	}
	fmt.Fprintf(&b, "run %s of %s, in %s:\n  %s\n", r.ID, r.Started.Local().Format(time.DateTime), visible(r.Cwd), visible(strings.Join(words, " ")))
	if r.Recorded != "all" {
		b.WriteString("Only the network was recorded: coracle sandbox --denials all has files and system calls, too.\n")
	}
	if len(r.Denials) == 0 {
		b.WriteString("Nothing was refused.\n")
	}
	for _, d := range r.Denials {
		fmt.Fprintf(&b, "\n%s\n  %s: %s.\n", visible(d.What), tried(d), visible(d.Why))
		switch {
		case d.Flag == "":
			b.WriteString("  No flag allows it.\n")
		case d.Danger == "":
			fmt.Fprintf(&b, "  %s allows it.\n", visible(d.Flag))
		default:
			fmt.Fprintf(&b, "  %s allows it. Think first: %s.\n", visible(d.Flag), visible(d.Danger))
		}
	}
	if r.Further > 0 {
		fmt.Fprintf(&b, "\nand %d times something else that there was no room for.\n", r.Further)
	}
	return b.String()
}

// tried says what was to be done, and how often.
func tried(d denial.Denial) string {
	what := map[string]string{
		denial.Look: "was looked for", denial.Read: "was to be read", denial.Execute: "was to be executed", denial.Write: "was to be written or made",
		denial.Remove: "was to be removed or renamed", denial.Connect: "was to be connected to", denial.Call: "was called", denial.Resolve: "was asked for by name",
	}[d.Action]
	if what == "" {
		what = "was tried"
	}
	switch d.Count {
	case 1:
		return what + " once"
	case 2:
		return what + " twice"
	}
	return fmt.Sprintf("%s %d times", what, d.Count)
}
