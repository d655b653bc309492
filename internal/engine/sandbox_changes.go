package engine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"coracle/internal/foreground"
	"coracle/internal/review"
	"coracle/internal/signals"

	"golang.org/x/sys/unix"
)

// changeCounts are what a report says of the changes.
type changeCounts struct {
	Created int `json:"created"`
	Changed int `json:"changed"`
	Deleted int `json:"deleted"`
	// Fate is what became of them: none, kept, applied or discarded.
	Fate string `json:"fate"`
}

// keepChanges makes the place for the changes.
func (s *boxed) keepChanges() (err error) {
	begin := review.Begin
	if s.inMemory() {
		begin = review.BeginInMemory
		if s.o.OnExit != onExitDiscard {
			_ = review.Sweep(s.e.root) // what a killed one had begun to bring over; the next one tries again
		}
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
	if s.o.OnExit == onExitDiscard {
		return s.discarded(ctx, rep)
	}
	if s.inMemory() {
		if err := c.Carry(ctx, s.disk, s.uppers, s.noUpper); err != nil {
			return &Error{Op: "keep the changes", Err: err, Help: "they are gone: see to that, and run it again"}
		}
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

// discarded tells what the changes were of which nothing ever was but in memory.
func (s *boxed) discarded(ctx context.Context, rep *SandboxReport) error {
	rep.Changes = &changeCounts{Fate: "discarded"}
	if s.o.Report == "" {
		return nil
	}
	all, err := s.changes.ScanInMemory(ctx, s.disk, s.uppers)
	rep.Changes.count(all)
	return err
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
		s.e.warn("left out: "+x.Line(), "")
	}
	rep.Changes.Fate = "applied"
	return nil
}

// askWhat asks on a terminal; without one the changes are kept, and also where the
// answer is a signal.
func (s *boxed) askWhat() string {
	if !foreground.IsTerminal(s.o.Stdin) || !foreground.IsTerminal(s.o.Stderr) {
		return onExitKeep
	}
	told := make(chan os.Signal, 1)
	if err := signals.Notify(told, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT); err != nil {
		return onExitKeep
	}
	defer signals.Stop(told)
	answer := make(chan string, 1)
	go func() { answer <- s.readAnswer() }()
	select {
	case word := <-answer:
		return word
	case <-told:
		fmt.Fprintln(s.o.Stderr)
		return onExitKeep
	}
}

func (s *boxed) readAnswer() string {
	in := bufio.NewReader(s.o.Stdin)
	for range 3 {
		fmt.Fprint(s.o.Stderr, "apply, discard or keep? [keep] ")
		line, err := in.ReadString('\n')
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
