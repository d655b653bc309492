package cli

import (
	"fmt"
	"strings"
	"time"

	"coracle/internal/engine"
)

type psCmd struct {
	All       bool   `short:"a" help:"Also containers that have ended."`
	Quiet     bool   `short:"q" help:"Print ids only."`
	NoTrunc   bool   `name:"no-trunc" help:"Show whole ids and commands."`
	NoHeading bool   `name:"noheading" help:"No heading."`
	Format    string `placeholder:"FMT" help:"table, json or a Go template."`
}

func (*psCmd) Help() string {
	return `  coracle ps -a
  coracle ps --format '{{.Names}} {{.Status}}'`
}

func (*psCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{
		flags:  "f filter n last l latest p pod ns namespace s size sort sync w watch external",
		reason: "it is no part of this version",
		hint:   `use --format json and "jq"`,
	}}, name)
}

// containerRow is a container as listings show it.
type containerRow struct {
	ID        string `json:"Id"`
	Image     string
	Command   string
	CreatedAt string
	Created   string
	State     string
	Status    string
	ExitCode  int
	Pid       int
	Names     string
}

func (c *psCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	all, err := e.Containers()
	if err != nil {
		return exitOurs, err
	}
	var rows []containerRow
	for _, box := range all {
		if c.All || box.Running() {
			rows = append(rows, c.row(box, time.Now()))
		}
	}
	if c.Quiet {
		for _, r := range rows {
			fmt.Fprintln(a.out, visible(r.ID))
		}
		return 0, nil
	}
	return 0, c.listing().print(a, c.Format, rows)
}

func (c *psCmd) listing() listing[containerRow] {
	return listing[containerRow]{
		columns: []column{
			{"ID", "CONTAINER ID", false},
			{"Image", "IMAGE", true},
			{"Command", "COMMAND", true},
			{"Created", "CREATED", false},
			{"Status", "STATUS", false},
			{"Names", "NAMES", true},
		},
		cells: func(r containerRow) []string {
			return []string{r.ID, r.Image, r.Command, r.Created, r.Status, r.Names}
		},
		clean: func(r containerRow) containerRow {
			r.ID, r.Image, r.Command = visible(r.ID), visible(r.Image), visible(r.Command)
			r.State, r.Status, r.Names = visible(r.State), visible(r.Status), visible(r.Names)
			return r
		},
		noHeading: c.NoHeading,
	}
}

func (c *psCmd) row(box engine.Container, now time.Time) containerRow {
	whole := c.NoTrunc || c.Format == "json"
	command := strings.Join(box.Command, " ")
	if !whole {
		command = cut(command, 24)
	}
	return containerRow{
		ID:        shortID(box.ID, whole),
		Image:     box.Image,
		Command:   command,
		CreatedAt: box.Created.UTC().Format(time.RFC3339),
		Created:   humanAge(now, box.Created),
		State:     string(box.Status),
		Status:    statusLine(box, now),
		ExitCode:  box.ExitCode,
		Pid:       box.PID,
		Names:     box.Name,
	}
}

func statusLine(box engine.Container, now time.Time) string {
	if box.Running() {
		return "Up " + strings.TrimSuffix(humanAge(now, box.Created), " ago")
	}
	return fmt.Sprintf("Exited (%d) %s", box.ExitCode, humanAge(now, box.Finished))
}
