package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// cycles runs and removes 10,000 containers one after the other: nothing is to be
// left, and the store that they leave is to be as fast as a fresh one. The two take
// turns: in the minutes between the first and the last the machine's mood changes.
func cycles(p place, _ int) (Group, error) {
	const total, part = 10_000, 500
	g := Group{Name: "10,000 containers run and removed", Unit: "ms", Goal: "flat, nothing left",
		Note: "`run --network none IMAGE true` and `rm`: 500 times after 10,000 of them, and 500 times in a fresh store, by turns"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	cycle := func(flags string) (float64, error) {
		line := fmt.Sprintf("coracle %[1]s run --name cycle --network none localhost/busybox true && coracle %[1]s rm cycle >/dev/null", flags)
		began := time.Now()
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return float64(time.Since(began).Microseconds()) / 1000, err
	}
	census := `find ~/.local/share/coracle $XDG_RUNTIME_DIR -path '*/layers/*/*/fs' -prune -o -print | sort
		wc -l </proc/self/mountinfo; pgrep -c -u $(id -u) -f '^.coracle:' || true`
	var before string
	for n := range total + 3 {
		if n == 3 { // after the warm-up
			before = output("sh", "-c", census)
		}
		if _, err := cycle(""); err != nil {
			return g, fmt.Errorf("cycle %d: %w", n, err)
		}
	}
	if after := output("sh", "-c", census); strings.Count(before, "\n") < 5 || withoutEvents(after) != withoutEvents(before) {
		return g, fmt.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	fresh := "--root " + p.join("home/fresh")
	if err := p.sh("coracle save localhost/busybox | coracle " + fresh + " load -q >/dev/null"); err != nil {
		return g, err
	}
	var times [2][]float64
	for n := range 3 + part {
		for i, flags := range []string{"", fresh} {
			ms, err := cycle(flags)
			if err != nil {
				return g, err
			}
			if n >= 3 {
				times[i] = append(times[i], ms)
			}
		}
	}
	g.Rows = []Row{
		{Program: "coracle, after 10,000", Median: median(times[0]), Least: slices.Min(times[0]), RatioTo: "the fresh store", Ratio: median(times[0]) / median(times[1])},
		{Program: "coracle, a fresh store", Median: median(times[1]), Least: slices.Min(times[1])},
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
