package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// long is one program's way to do a piece of work that takes seconds.
type long struct {
	name    string
	prepare string   // a script, not measured; $DIR is the store
	args    []string // measured; "$DIR" in them is the store
}

// longest measures work that fills stores. Each program gets a new store in
// each round, in turn, and nothing is removed before all is measured: ext4
// without a journal shuns inodes that were deleted within the last minutes,
// looks at each of them for every file that it makes, and so is five times
// slower after a store was removed than before. What comes second would pay.
func longest(p place, g Group, rounds int, all ...long) (Group, error) {
	g.Unit = "s"
	times, peak := map[string][]float64{}, map[string]float64{}
	for round := range rounds {
		for _, l := range all {
			dir, err := os.MkdirTemp(p.join("home"), fmt.Sprintf("%s-%d-", strings.NewReplacer(" ", "-", ",", "").Replace(l.name), round)) // it may become a repository's name
			if err != nil {
				return g, err
			}
			env := func(name string) string {
				if name == "DIR" {
					return dir
				}
				return "$" + name
			}
			// What others have written is on the disk before the clock starts.
			if err := p.sh(os.Expand(l.prepare, env) + "\nsync"); err != nil {
				return g, err
			}
			var args []string
			for _, a := range l.args {
				args = append(args, os.Expand(a, env))
			}
			ms, mb, err := once(args...)
			if err != nil {
				return g, err
			}
			fmt.Fprintf(os.Stderr, "bench: %s %.2f s\n", l.name, ms/1000)
			times[l.name] = append(times[l.name], ms/1000)
			peak[l.name] = max(peak[l.name], mb)
		}
	}
	peer := all[len(all)-1].name
	for _, l := range all {
		row := Row{Program: l.name, Median: median(times[l.name]), Least: slices.Min(times[l.name]), Peak: peak[l.name]}
		if l.name != peer {
			row.RatioTo, row.Ratio = peer, row.Median/median(times[peer])
		}
		g.Rows = append(g.Rows, row)
	}
	return g, nil
}
