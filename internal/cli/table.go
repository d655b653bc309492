package cli

import (
	"cmp"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// table is aligned columns; cells are made visible as they are written.
type table struct {
	titles    []string
	flex      []bool
	rows      [][]string
	noHeading bool
	least     int // to which a flexible column may be cut; 0 for 12
	right     []bool
	floor     []int // columns that are at least so wide
}

const gap = 2

// write pads the columns; with a width > 0 the flexible ones are cut so that
// a line fits.
func (t table) write(w io.Writer, width int) {
	lines := make([][]string, 0, len(t.rows)+1)
	if !t.noHeading {
		lines = append(lines, t.titles)
	}
	for _, row := range t.rows {
		clean := make([]string, len(row))
		for i, cell := range row {
			clean[i] = visible(cell)
		}
		lines = append(lines, clean)
	}
	widths := columnWidths(lines)
	for i := range min(len(widths), len(t.floor)) {
		widths[i] = max(widths[i], t.floor[i])
	}
	t.squeeze(widths, width)
	var b strings.Builder
	for _, line := range lines {
		for i, cell := range line {
			cell = cut(cell, widths[i])
			room := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < len(t.right) && t.right[i] {
				cell, room = room+cell, ""
			}
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(room + strings.Repeat(" ", gap))
			}
		}
		b.WriteByte('\n')
	}
	_, _ = io.WriteString(w, b.String()) // a.out remembers its error until the flush
}

func columnWidths(lines [][]string) []int {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// squeeze takes from the widest flexible column until the line fits; none
// gets narrower than t.least.
func (t table) squeeze(widths []int, width int) {
	if width <= 0 {
		return
	}
	least := cmp.Or(t.least, 12)
	total := gap * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	for ; total > width; total-- {
		widest := -1
		for i := range widths {
			if i < len(t.flex) && t.flex[i] && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// cut shortens a cell: a name in its middle, as those that differ often do so at
// their end, and a text at the end.
func cut(cell string, width int) string {
	runes := []rune(cell)
	if len(runes) <= width {
		return cell
	}
	room, tail := max(0, width-1), 0
	if width >= 8 && !strings.ContainsRune(cell, ' ') {
		tail = room / 3
	}
	return string(runes[:room-tail]) + "…" + string(runes[len(runes)-tail:])
}

// width is that of the terminal on stdout, 0 where there is none.
func (a *app) width() int {
	if !isTerminal(a.files[1]) {
		return 0
	}
	width, _, err := term.GetSize(int(a.files[1].Fd()))
	if err != nil {
		return 0
	}
	return width
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

// colour says whether stdout may be coloured (https://no-color.org).
func (a *app) colour() bool { return mayColour(a.files[1]) }

func mayColour(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}
