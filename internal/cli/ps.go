package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"coracle/internal/engine"
)

type psCmd struct {
	All       bool     `short:"a" help:"Also containers that do not run."`
	Filter    []string `short:"f" sep:"none" placeholder:"KEY=VALUE" help:"Those that fit: name, id, label, annotation, status, exited, ancestor, volume, network, restart-policy, health, before, since, until. Of one key any, of several keys all must fit."`
	Last      int      `short:"n" default:"-1" placeholder:"N" help:"The N that were made last, running or not."`
	Latest    bool     `short:"l" help:"The one that was made last."`
	Quiet     bool     `short:"q" help:"Print ids only."`
	Size      bool     `short:"s" help:"Show what they have written, and with their images (virtual)."`
	Sort      string   `placeholder:"BY" enum:"command,created,id,image,names,runningfor,size,status" default:"created" help:"command, created, id, image, names, runningfor, size or status."`
	NS        bool     `name:"ns" aliases:"namespace" help:"Show process ids and namespaces."`
	NoTrunc   bool     `name:"no-trunc" help:"Show whole ids and commands."`
	NoHeading bool     `name:"noheading" help:"No heading."`
	Sync      bool     `help:"As always: what is shown is what the kernel says."`
	Watch     *int     `short:"w" placeholder:"SECONDS" help:"Show it anew every so many seconds, until it is interrupted."`
	Format    string   `placeholder:"FMT" help:"table, json or a Go template, as in \"table {{.ID}}\\t{{.Names}}\"."`
}

func (*psCmd) Help() string {
	return `  coracle ps -a
  coracle ps -a --filter status=exited --filter label=tier=web
  coracle ps --format '{{.Names}} {{.Status}}'
  coracle ps --watch 2`
}

func (*psCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "p pod", reason: "there are no pods", hint: "leave it out"},
		{flags: "external", reason: "no other program keeps containers in this store", never: true, hint: "leave it out"},
	}, name)
}

func (c *psCmd) run(a *app) (int, error) {
	if c.Latest && c.Last >= 0 {
		return exitOurs, &usageError{msg: "ps: --latest and --last do not go together", hint: "--last 1 is --latest"}
	}
	if c.Quiet && (c.Size || c.NS || c.Format != "") {
		return exitOurs, &usageError{msg: "ps: --quiet prints ids only", hint: "leave out --size, --ns and --format, or --quiet"}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if c.Watch != nil {
		return 0, a.watch(*c.Watch, "coracle ps", func() error { return c.once(a, e) })
	}
	return 0, c.once(a, e)
}

// once prints the list.
func (c *psCmd) once(a *app, e engineAPI) error {
	boxes, err := c.boxes(e)
	if err != nil {
		return err
	}
	sizes, err := c.sizes(e, boxes)
	if err != nil {
		return err
	}
	now := time.Now()
	var members map[string][]string
	if strings.Contains(c.Format, "Networks") || c.Format == "json" {
		members = e.Memberships()
	}
	rows := make([]containerRow, 0, len(boxes))
	for _, box := range boxes {
		row := c.row(box, sizes[box.ID], now)
		row.Networks = append(wordList{}, box.NetworkWords(members)...)
		rows = append(rows, row)
	}
	c.sort(rows)
	switch {
	case c.Quiet:
		for _, r := range rows {
			fmt.Fprintln(a.out, visible(r.ID))
		}
		return nil
	case c.Format == "json":
		docs := make([]containerDocument, 0, len(rows))
		for _, r := range rows {
			docs = append(docs, r.document())
		}
		return writeJSON(a.out, docs)
	}
	return c.listing(a, rows).print(a, c.Format, rows)
}

// boxes are the containers that are to be shown, newest first.
func (c *psCmd) boxes(e engineAPI) ([]engine.Container, error) {
	filter, err := filterOf(e, c.Filter)
	if err != nil {
		return nil, err
	}
	all, err := e.Containers()
	if err != nil {
		return nil, err
	}
	last := c.Last
	if c.Latest {
		last = 1
	}
	whole := c.All || last > 0 || slices.ContainsFunc(c.Filter, func(f string) bool {
		return strings.HasPrefix(f, "status=") || strings.HasPrefix(f, "exited=") // docker and podman: who asks for a state means all
	})
	boxes := slices.DeleteFunc(all, func(box engine.Container) bool { return !whole && !box.Running() || !filter.Match(box) })
	if last > 0 && last < len(boxes) {
		boxes = boxes[:last]
	}
	return boxes, nil
}

// sizes measures, where sizes are asked for: it reads every file that the
// containers have written.
func (c *psCmd) sizes(e engineAPI, boxes []engine.Container) (map[string]engine.Sizes, error) {
	if !c.Size && c.Sort != "size" && !strings.Contains(c.Format, ".Size") {
		return nil, nil
	}
	ctx, stop := interruptible()
	defer stop()
	return e.Sizes(ctx, boxes)
}

func (c *psCmd) sort(rows []containerRow) {
	by := map[string]func(a, b containerRow) int{
		"command": func(a, b containerRow) int {
			return strings.Compare(strings.Join(a.box.Command, " "), strings.Join(b.box.Command, " "))
		},
		"id":         func(a, b containerRow) int { return strings.Compare(a.box.ID, b.box.ID) },
		"image":      func(a, b containerRow) int { return strings.Compare(a.Image, b.Image) },
		"names":      func(a, b containerRow) int { return strings.Compare(a.Names, b.Names) },
		"runningfor": func(a, b containerRow) int { return a.box.Started.Compare(b.box.Started) },
		"size":       func(a, b containerRow) int { return cmp.Compare(a.sizes.RW, b.sizes.RW) },
		"status":     func(a, b containerRow) int { return strings.Compare(a.State, b.State) },
	}[c.Sort]
	if by != nil { // created is how they come
		slices.SortStableFunc(rows, by)
	}
}

// psCell is a column of the table.
type psCell struct {
	column
	text func(containerRow) string
}

func (c *psCmd) listing(a *app, rows []containerRow) listing[containerRow] {
	cells := c.cells(a, rows)
	l := listing[containerRow]{clean: containerRow.clean, noHeading: c.NoHeading, least: 9, titles: psTitles()}
	for _, k := range cells {
		l.columns = append(l.columns, k.column)
	}
	l.cells = func(r containerRow) []string {
		var out []string
		for _, k := range cells {
			out = append(out, k.text(r))
		}
		return out
	}
	return l
}

func (c *psCmd) cells(a *app, rows []containerRow) []psCell {
	id := psCell{column{"ID", "CONTAINER ID", false}, func(r containerRow) string { return r.ID }}
	names := psCell{column{"Names", "NAMES", true}, func(r containerRow) string { return r.Names }}
	if c.NS {
		return append([]psCell{id, names}, namespaceCells()...)
	}
	cells := []psCell{
		id,
		{column{"Image", "IMAGE", true}, func(r containerRow) string { return r.Image }},
		{column{"Command", "COMMAND", true}, func(r containerRow) string { return r.Command }},
	}
	// In 80 columns the state says enough about when.
	if width := a.width(); width == 0 || width >= 100 {
		cells = append(cells, psCell{column{"Created", "CREATED", false}, func(r containerRow) string { return r.Created }})
	}
	cells = append(cells, psCell{column{"Status", "STATUS", false}, func(r containerRow) string { return r.Status }})
	// On a terminal an empty column is only in the way.
	if a.width() == 0 || slices.ContainsFunc(rows, func(r containerRow) bool { return len(r.Ports) > 0 }) {
		cells = append(cells, psCell{column{"Ports", "PORTS", true}, func(r containerRow) string { return r.Ports.String() }})
	}
	cells = append(cells, names)
	if c.Size {
		cells = append(cells, psCell{column{"Size", "SIZE", false}, func(r containerRow) string { return r.Size }})
	}
	return cells
}

func namespaceCells() []psCell {
	return []psCell{
		{column{"Pid", "PID", false}, func(r containerRow) string { return fmt.Sprint(r.Pid) }},
		{column{"CGROUPNS", "CGROUPNS", false}, containerRow.CGROUPNS},
		{column{"IPC", "IPC", false}, containerRow.IPC},
		{column{"MNT", "MNT", false}, containerRow.MNT},
		{column{"NET", "NET", false}, containerRow.NET},
		{column{"PIDNS", "PIDNS", false}, containerRow.PIDNS},
		{column{"USERNS", "USERNS", false}, containerRow.USERNS},
		{column{"UTS", "UTS", false}, containerRow.UTS},
	}
}
