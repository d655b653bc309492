package cli

import (
	"fmt"
	"strings"

	"coracle/internal/engine"
)

type doctorCmd struct {
	Format string `placeholder:"FMT" help:"json or a Go template."`
}

func (*doctorCmd) Help() string {
	return `Each line is a thing that can be wrong, with what to type where it is. Exits
with 1 when "coracle run" cannot work.

  coracle doctor
  coracle doctor --format '{{range .}}{{println .name .status}}{{end}}'`
}

func (c *doctorCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	checks := e.Doctor(ctx)
	code := 0
	for _, check := range checks {
		if string(check.Status) == "fail" {
			code = 1
		}
	}
	return code, printDocument(a, c.Format, checks, func() { writeChecks(a, checks) })
}

func writeChecks(a *app, checks []engine.Check) {
	count := map[string]int{}
	width := 0
	for _, check := range checks {
		width = max(width, len(check.Name))
	}
	for _, check := range checks {
		status := string(check.Status)
		count[status]++
		fmt.Fprintf(a.out, "%s  %-*s  %s\n", a.mark(status), width, visible(check.Name), visible(check.Detail))
		if check.Hint != "" && status != "ok" {
			indent := strings.Repeat(" ", 6)
			hint := strings.ReplaceAll(visibleText(strings.TrimRight(check.Hint, "\n")), "\n", "\n"+indent+"      ")
			fmt.Fprintf(a.out, "%shint: %s\n", indent, hint)
		}
	}
	fmt.Fprintf(a.out, "\n%d ok, %d to look at, %d in the way of \"coracle run\"\n", count["ok"], count["warn"], count["fail"])
}

// mark is the status in four letters, coloured on a terminal.
func (a *app) mark(status string) string {
	word := fmt.Sprintf("%-4s", visible(status))
	if !a.colour() {
		return word
	}
	code := map[string]string{"ok": "32", "warn": "33", "fail": "1;31"}[status]
	return "\x1b[" + code + "m" + word + "\x1b[0m"
}
