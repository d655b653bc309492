package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coracle/internal/engine"
)

type statsCmd struct {
	All      bool    `short:"a" help:"Also containers that do not run."`
	Latest   bool    `short:"l" help:"The one that was made last."`
	NoStream bool    `name:"no-stream" help:"Show it once, and end."`
	NoReset  bool    `name:"no-reset" help:"Do not show it in place: one after the other, as into a pipe."`
	Interval seconds `short:"i" default:"1" placeholder:"SECONDS" help:"Time between two looks (default: 1)."`
	Sort     string  `placeholder:"BY" enum:"cpu,created,mem,name,pids" default:"created" help:"cpu, created, mem, name or pids."`
	NoTrunc  bool    `name:"no-trunc" help:"Show whole ids."`
	Format   string  `placeholder:"FMT" help:"table, json or a Go template, as in \"table {{.Name}}\\t{{.MemUsage}}\"."`

	Containers []string `arg:"" name:"CONTAINER" optional:""`
}

// statsView is what is kept from one look to the next.
type statsView struct {
	*statsCmd
	before map[string]engine.ContainerStats // the last look, by id
	widths map[string]int                   // of columns, so that they do not jump
	note   string                           // what is to be known about the figures
}

func (*statsCmd) Help() string {
	return `Shows what containers use: processor time, memory without page cache, network,
block devices and tasks. On a terminal it is shown in place; q or ctrl-c ends
it, and n, c, m, p sort by name, processor, memory and tasks.

CPU % is of one processor, since the last look; the first time, or with
--no-stream, since the start. The limit of memory is the lowest of the
container's, those of the cgroups above it, and what the machine has. What no
cgroup counts is summed over the processes; -- is what cannot be known.

  coracle stats
  coracle stats --no-stream --sort mem
  coracle stats --no-stream --format json web
  coracle stats --format '{{.Name}} {{.MemUsage}}' web`
}

func (c *statsCmd) run(a *app) (int, error) {
	ways := 0
	for _, way := range []bool{c.All, c.Latest, len(c.Containers) > 0} {
		if way {
			ways++
		}
	}
	if ways > 1 {
		return exitOurs, &usageError{msg: "stats: --all, --latest and containers do not go together", hint: "see \"coracle stats --help\""}
	}
	if c.Interval <= 0 {
		return exitOurs, &usageError{msg: "stats: --interval is a number of seconds, from 1 on"}
	}
	if err := c.checkFormat(); err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if c.Latest {
		names, err := selection{Latest: true}.names(e, "stats", isRunning)
		if err != nil {
			return exitOurs, err
		}
		c.Containers = names
	}
	v := &statsView{statsCmd: c, widths: map[string]int{}}
	ctx, stop := interruptible()
	defer stop()
	switch {
	case c.NoStream:
		rows, err := v.look(ctx, a, e, true)
		if err != nil {
			return exitOurs, err
		}
		return 0, v.print(a, rows, true)
	case a.width() > 0 && !c.NoReset && c.aligned():
		return 0, v.live(ctx, a, e)
	}
	return 0, v.stream(ctx, a, e)
}

// aligned says that a table is shown, of whatever columns.
func (c *statsCmd) aligned() bool {
	return c.Format == "" || c.Format == "table" || strings.HasPrefix(c.Format, "table ")
}

// checkFormat finds a mistake in a template before anything is looked at.
func (c *statsCmd) checkFormat() error {
	if c.Format == "" || c.Format == "table" || c.Format == "json" {
		return nil
	}
	_, err := parseTemplate(strings.TrimPrefix(c.Format, "table "))
	return err
}

var errAllEnded = errors.New("none of the containers runs")

// look reads what is to be shown. Once a container was there its end is no error.
func (c *statsView) look(ctx context.Context, a *app, e engineAPI, first bool) ([]statsRow, error) {
	o := engine.StatsOptions{Names: c.Containers, All: c.All, Whole: c.whole(a)}
	all, err := e.Stats(ctx, o)
	if err != nil && !first && isNotFound(err) {
		all, err = c.left(ctx, e, o)
	}
	if err != nil {
		return nil, err
	}
	if !first && len(c.Containers) > 0 && !slices.ContainsFunc(all, func(s engine.ContainerStats) bool { return s.Container.Running() }) {
		return nil, errAllEnded
	}
	rows := make([]statsRow, 0, len(all))
	now := map[string]engine.ContainerStats{}
	for _, s := range all {
		rows = append(rows, newStatsRow(s, c.before[s.Container.ID], c.NoTrunc))
		now[s.Container.ID] = s
	}
	c.before = now
	c.note = sumsNote(rows)
	c.sort(rows)
	return rows, nil
}

// left are those that are still there of the containers that were named.
func (c *statsView) left(ctx context.Context, e engineAPI, o engine.StatsOptions) ([]engine.ContainerStats, error) {
	var all []engine.ContainerStats
	for _, name := range c.Containers {
		o.Names = []string{name}
		s, err := e.Stats(ctx, o)
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		all = append(all, s...)
	}
	return all, nil
}

// whole says whether more is to be read than a table of 80 columns has room for.
func (c *statsView) whole(a *app) bool {
	return c.Format != "" && c.Format != "table" || a.width() >= pressureWidth
}

func (c *statsView) sort(rows []statsRow) {
	by := map[string]func(a, b statsRow) int{
		"cpu":  func(a, b statsRow) int { return cmp.Compare(b.CPU, a.CPU) },
		"mem":  func(a, b statsRow) int { return cmp.Compare(b.s.Memory, a.s.Memory) },
		"pids": func(a, b statsRow) int { return cmp.Compare(b.s.Pids, a.s.Pids) },
		"name": func(a, b statsRow) int { return strings.Compare(a.Name, b.Name) },
	}[c.Sort]
	if by != nil {
		slices.SortStableFunc(rows, by)
	}
}

// print prints one look; of several, those after the first have no heading.
func (c *statsView) print(a *app, rows []statsRow, first bool) error {
	switch {
	case c.Format == "json" && c.NoStream:
		return writeJSON(a.out, documentsOf(rows))
	case c.Format == "json": // a line each time
		b, err := json.Marshal(documentsOf(rows))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s\n", visibleJSON(b))
		return err
	case c.Format == "" || c.Format == "table":
		c.table(a, rows, first)
		return nil
	}
	l := listing[statsRow]{clean: statsRow.clean, noHeading: !first, titles: statsTitles()}
	return l.print(a, c.Format, rows)
}

// stream prints one look after the other, until it is interrupted or the
// containers that were named have ended.
func (c *statsView) stream(ctx context.Context, a *app, e engineAPI) error {
	tick := time.NewTicker(time.Duration(c.Interval))
	defer tick.Stop()
	for first := true; ; first = false {
		rows, err := c.look(ctx, a, e, first)
		if errors.Is(err, errAllEnded) {
			return nil
		}
		if err == nil {
			err = c.print(a, rows, first)
		}
		if err == nil {
			err = a.out.Flush()
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// live shows it in place.
func (c *statsView) live(ctx context.Context, a *app, e engineAPI) error {
	first := true
	var rows []statsRow
	w := watching{
		every: time.Duration(c.Interval),
		title: func() string {
			return fmt.Sprintf("coracle stats   every %g s   %s   by %s", time.Duration(c.Interval).Seconds(), time.Now().Format(time.TimeOnly), c.Sort)
		},
		keysHelp: "   keys: n c m p sort, q ends",
		note:     func() string { return c.note },
		look: func() (err error) {
			rows, err = c.look(ctx, a, e, first)
			first = false
			return err
		},
		draw: func() error { return c.print(a, rows, true) },
		key: func(k byte) bool {
			by, ok := map[byte]string{'n': "name", 'c': "cpu", 'm': "mem", 'p': "pids"}[k]
			if ok {
				c.Sort = by
				c.sort(rows)
			}
			return ok
		},
	}
	err := a.watchOver(ctx, w)
	if errors.Is(err, errAllEnded) {
		return nil
	}
	return err
}

// sumsNote says which figures are not what a cgroup counts.
func sumsNote(rows []statsRow) string {
	var words []string
	for _, f := range []struct {
		word string
		from func(statsRow) engine.Source
	}{
		{"memory", func(r statsRow) engine.Source { return r.s.MemoryFrom }},
		{"block I/O", func(r statsRow) engine.Source { return r.s.BlockFrom }},
		{"tasks", func(r statsRow) engine.Source { return r.s.PidsFrom }},
	} {
		if slices.ContainsFunc(rows, func(r statsRow) bool { return f.from(r) == engine.FromProcesses }) {
			words = append(words, f.word)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, ", ") + ": sums over processes, which no cgroup controller counts"
}

// table prints docker's columns; on a terminal those that fit and tell something.
func (c *statsView) table(a *app, rows []statsRow, heading bool) {
	width := a.width()
	t := table{noHeading: !heading, least: nameWidth}
	for _, col := range chooseStatsColumns(rows, width, c.widths) {
		t.titles = append(t.titles, col.title)
		t.flex = append(t.flex, col.flex)
		t.right = append(t.right, col.right)
		t.floor = append(t.floor, c.widths[col.field])
		for i, r := range rows {
			if i == len(t.rows) {
				t.rows = append(t.rows, nil)
			}
			t.rows[i] = append(t.rows[i], col.text(r))
		}
	}
	t.write(a.out, width)
	if width > 0 && c.NoStream && c.note != "" {
		fmt.Fprintln(a.out, "\n"+c.note)
	}
}
