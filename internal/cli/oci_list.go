package cli

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"coracle/internal/oci"
)

type ociListCmd struct {
	Format string `short:"f" placeholder:"FMT" enum:"table,json" default:"table" help:"table or json."`
	Quiet  bool   `short:"q" help:"Print ids only."`
}

func (c *ociListCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	boxes, err := r.List()
	if err != nil {
		return 1, err
	}
	var rows []oci.Report
	for _, b := range boxes {
		rows = append(rows, oci.ReportOf(b.Status()))
	}
	if c.Quiet {
		for _, row := range rows {
			fmt.Fprintln(a.out, visible(row.ID))
		}
		return 0, nil
	}
	if c.Format == "json" {
		return 0, a.printLine(rows)
	}
	w := tabwriter.NewWriter(a.out, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", visible(row.ID), row.PID, row.Status, visible(row.Bundle), row.Created.Format(time.RFC3339Nano), visible(row.Owner))
	}
	return 0, w.Flush()
}

type ociPsCmd struct {
	Format string   `short:"f" placeholder:"FMT" enum:"table,json" default:"table" help:"table, or json for the pids only."`
	ID     string   `arg:"" name:"ID"`
	Args   []string `arg:"" name:"PS-OPTIONS" optional:""`
}

func (*ociPsCmd) Help() string {
	return `Behind the id stand options of ps(1); without, they are -ef. Its output must
have a column PID.`
}

func (c *ociPsCmd) run(a *app) (int, error) {
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	pids, err := box.Processes()
	if err != nil {
		return 1, err
	}
	if c.Format == "json" {
		if pids == nil {
			pids = []int{}
		}
		return 0, a.printLine(pids)
	}
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.CommandContext(context.Background(), "ps", args...).Output()
	if err != nil {
		return 1, fmt.Errorf("run ps %s: %w", strings.Join(args, " "), err)
	}
	table, err := onlyPIDs(string(out), pids)
	if err != nil {
		return 1, err
	}
	fmt.Fprint(a.out, table)
	return 0, nil
}

// onlyPIDs keeps the heading of ps's table and the lines of these processes.
func onlyPIDs(table string, pids []int) (string, error) {
	var out strings.Builder
	column := -1
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if column < 0 {
			if column = slices.Index(fields, "PID"); column < 0 {
				return "", fmt.Errorf("the output of ps has no column PID")
			}
			out.WriteString(line)
			continue
		}
		if len(fields) <= column {
			continue
		}
		pid, err := strconv.Atoi(fields[column])
		if err != nil {
			return "", fmt.Errorf("the output of ps has %q in the column PID", fields[column])
		}
		if slices.Contains(pids, pid) {
			out.WriteString(line)
		}
	}
	return out.String(), nil
}
