package cli

import (
	"slices"
	"unicode/utf8"

	"coracle/internal/engine"
)

const (
	nameWidth     = 10  // to which a name may be cut
	shortTitles   = 100 // a narrower terminal has them
	pressureWidth = 110 // from which on there is room for pressure
)

// statsColumn is a column of the table. Those of the highest rank go first where
// a terminal is narrow.
type statsColumn struct {
	column
	right bool
	rank  int
	known func(engine.ContainerStats) bool
	text  func(statsRow) string
}

func statsColumns(width int) []statsColumn {
	always := func(engine.ContainerStats) bool { return true }
	memory := "MEM USAGE / LIMIT"
	if width > 0 && width < shortTitles {
		memory = "MEM / LIMIT"
	}
	all := []statsColumn{
		{column{"ID", "CONTAINER ID", false}, false, 7, always, func(r statsRow) string { return r.ID }},
		{column{"Name", "NAME", true}, false, 0, always, func(r statsRow) string { return r.Name }},
		{column{"CPUPerc", "CPU %", false}, true, 0, always, func(r statsRow) string { return r.CPUPerc }},
		{column{"MemUsage", memory, false}, true, 2, always, func(r statsRow) string { return r.MemUsage }},
		{column{"MemPerc", "MEM %", false}, true, 6, always, func(r statsRow) string { return r.MemPerc }},
		{column{"NetIO", "NET I/O", false}, true, 4, func(s engine.ContainerStats) bool { return s.NetFrom != "" }, func(r statsRow) string { return r.NetIO }},
		{column{"BlockIO", "BLOCK I/O", false}, true, 5, func(s engine.ContainerStats) bool { return s.BlockFrom != "" }, func(r statsRow) string { return r.BlockIO }},
		{column{"PIDs", "PIDS", false}, true, 3, always, func(r statsRow) string { return r.PIDs }},
	}
	if width >= pressureWidth {
		all = append(all, statsColumn{column{"Pressure", "PRESSURE CPU MEM IO", false}, true, 8, func(s engine.ContainerStats) bool { return s.CPUPressure != nil }, func(r statsRow) string { return r.Pressure }})
	}
	return all
}

// chooseStatsColumns are all of docker's where there is no terminal, and else
// those that any row knows and that fit. widths keeps how wide they were.
func chooseStatsColumns(rows []statsRow, width int, widths map[string]int) []statsColumn {
	columns := statsColumns(width)
	if width > 0 {
		columns = slices.DeleteFunc(columns, func(c statsColumn) bool {
			return !slices.ContainsFunc(rows, func(r statsRow) bool { return c.known(r.s) }) && len(rows) > 0
		})
	}
	for _, c := range columns {
		if c.flex && width > 0 { // a name may go with its container
			continue
		}
		n := max(widths[c.field], utf8.RuneCountInString(c.title))
		for _, r := range rows {
			n = max(n, utf8.RuneCountInString(c.text(r)))
		}
		widths[c.field] = n
	}
	for width > 0 && statsWidth(columns, rows, widths) > width {
		out := slices.MaxFunc(columns, func(a, b statsColumn) int { return a.rank - b.rank })
		if out.rank == 0 {
			break
		}
		columns = slices.DeleteFunc(columns, func(c statsColumn) bool { return c.field == out.field })
	}
	return columns
}

// statsWidth is what the columns take with names cut as far as they may be.
func statsWidth(columns []statsColumn, rows []statsRow, widths map[string]int) int {
	total := gap * (len(columns) - 1)
	for _, c := range columns {
		n := widths[c.field]
		if c.flex {
			n = utf8.RuneCountInString(c.title)
			for _, r := range rows {
				n = max(n, min(utf8.RuneCountInString(c.text(r)), nameWidth))
			}
		}
		total += n
	}
	return total
}
