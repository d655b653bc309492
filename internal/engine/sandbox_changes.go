package engine

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"coracle/internal/foreground"
	"coracle/internal/review"
)

// changeCounts are what a report says of the changes.
type changeCounts struct {
	Created int `json:"created"`
	Changed int `json:"changed"`
	Deleted int `json:"deleted"`
	// Fate is what became of them: none, kept, applied or discarded.
	Fate string `json:"fate"`
}

// keepChanges makes the place for the changes, after what a launcher that was killed
// has left of those that nobody wanted.
func (s *boxed) keepChanges() (err error) {
	review.SweepDropped(s.e.root)
	begin := review.Begin
	switch {
	case s.inMemory():
		begin = review.BeginInMemory
		_ = review.Sweep(s.e.root) // what a killed one had begun to bring over; the next one tries again
	case s.o.OnExit == onExitDiscard:
		begin = review.BeginDropped
	}
	s.changes, err = begin(s.e.root, s.o.Command, s.facts.Cwd, s.plan.Layers)
	return err
}

// settle sees to what the command has changed.
func (s *boxed) settle(ctx context.Context, rep *SandboxReport) error {
	for _, name := range rep.Executed {
		s.e.warn("the command has made "+name+", which other programs execute later", "look at it before you use the directory")
	}
	c := s.changes
	if c == nil {
		return nil
	}
	defer c.Release()
	if s.inMemory() {
		if s.o.OnExit == onExitDiscard {
			return nil // they are gone
		}
		if err := c.Carry(ctx, s.disk, s.uppers, s.noUpper); err != nil {
			return &Error{Op: "keep the changes", Err: err, Help: "they are gone: see to that, and run it again"}
		}
	}
	if s.o.OnExit == onExitDiscard {
		rep.Changes = &changeCounts{Fate: "discarded"}
		if s.o.Report != "" {
			all, err := c.Scan(ctx)
			if err != nil {
				return err
			}
			rep.Changes.count(all)
		}
		return c.Discard()
	}
	all, err := c.End(ctx)
	if err != nil {
		return err
	}
	rep.Changes = &changeCounts{Fate: "none"}
	if len(all) == 0 {
		return nil
	}
	rep.Changes.count(all)
	rep.ID, rep.Changes.Fate = c.ID, "kept"
	what := s.o.OnExit
	if what != onExitApply {
		review.Summary(s.o.Stderr, c, all)
	}
	if what == "" || what == onExitAsk {
		what = s.askWhat()
	}
	switch what {
	case onExitApply:
		return s.applyChanges(ctx, c, rep)
	case onExitDiscard:
		rep.ID, rep.Changes.Fate = "", "discarded"
		return c.Discard()
	}
	return nil
}

func (n *changeCounts) count(all []review.Change) {
	for _, c := range all {
		switch c.Kind {
		case review.Created:
			n.Created++
		case review.Deleted:
			n.Deleted++
		default:
			n.Changed++
		}
	}
}

func (s *boxed) applyChanges(ctx context.Context, c *review.Sandbox, rep *SandboxReport) error {
	done, err := c.Apply(ctx, review.ApplyOptions{Note: func(msg string) { s.e.warn(msg, "") }})
	if err != nil {
		return &Error{Op: "apply the changes of sandbox " + c.ID, Err: err, Help: "they are kept: coracle review " + c.ID}
	}
	for _, x := range done.Refused {
		s.e.warn("not applied: "+x.Path, "coracle review "+c.ID)
	}
	rep.Changes.Fate = "applied"
	return nil
}

// askWhat asks on a terminal; without one the changes are kept.
func (s *boxed) askWhat() string {
	if !foreground.IsTerminal(s.o.Stdin) || !foreground.IsTerminal(s.o.Stderr) {
		return onExitKeep
	}
	for range 3 {
		fmt.Fprint(s.o.Stderr, "apply, discard or keep? [keep] ")
		line, err := bufio.NewReader(s.o.Stdin).ReadString('\n')
		if err != nil {
			return onExitKeep
		}
		switch strings.TrimSpace(line) {
		case "a", onExitApply:
			return onExitApply
		case "d", onExitDiscard:
			return onExitDiscard
		case "", "k", onExitKeep:
			return onExitKeep
		}
	}
	return onExitKeep
}
