package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// cycles runs and removes 10,000 containers one after the other: the last ones
// are to take as long as the first ones, and nothing is to be left.
func cycles(p place, _ int) (Group, error) {
	const total, part = 10_000, 500
	g := Group{Name: "10,000 containers run and removed", Unit: "ms", Goal: "flat, nothing left",
		Note: "`run --network none IMAGE true` and `rm`, one after the other: the first 500 and the last 500"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	line := "coracle run --name cycle --network none localhost/busybox true && coracle rm cycle >/dev/null"
	census := `find ~/.local/share/coracle $XDG_RUNTIME_DIR -path '*/layers/*/*/fs' -prune -o -print | sort
		wc -l </proc/self/mountinfo; pgrep -c -u $(id -u) -f '^.coracle:' || true`
	var before string
	times := make([]float64, 0, total)
	for n := range total + 3 {
		if n == 3 { // after the warm-up
			before = output("sh", "-c", census)
		}
		began := time.Now()
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			return g, fmt.Errorf("cycle %d: %w: %s", n, err, out)
		}
		if n >= 3 {
			times = append(times, float64(time.Since(began).Microseconds())/1000)
		}
	}
	if after := output("sh", "-c", census); strings.Count(before, "\n") < 5 || withoutEvents(after) != withoutEvents(before) {
		return g, fmt.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	first, last := times[:part], times[total-part:]
	g.Rows = []Row{
		{Program: "coracle, the last 500", Median: median(last), Least: slices.Min(last), RatioTo: "the first 500", Ratio: median(last) / median(first)},
		{Program: "coracle, the first 500", Median: median(first), Least: slices.Min(first)},
	}
	return g, nil
}

// withoutEvents leaves out the log of events, which begins anew when it is large.
func withoutEvents(census string) string {
	var kept []string
	for l := range strings.Lines(census) {
		if !strings.Contains(l, "/events/") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "")
}
