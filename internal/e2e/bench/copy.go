package main

import (
	"slices"
	"strings"
)

// copyFiles copies 1 GB out of a container and into one, beside tar.
func copyFiles(p place, _ int) (Group, error) {
	g := Group{Name: "Copy 1 GB", Goal: "at least 0.8 × tar's speed: ≤ 1.25 ×",
		Note: "ten files of 100 MB; `cp` out of a container that runs, into it, and through a pipe into another, beside `tar c | tar x` of the same files; five rounds in turn, ratios of the least"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	if err := p.sh(`mkdir -p tree out && for n in 0 1 2 3 4 5 6 7 8 9; do head -c 100M /dev/urandom >tree/$n; done
		for n in one two; do coracle run -d --name $n --network none localhost/busybox sleep 10000; done
		coracle cp tree one:/tree`); err != nil {
		return g, err
	}
	clear := "rm -rf out/tree; coracle exec two rm -rf /tree; sync"
	all := []contender{
		{"coracle, out", []string{"sh", "-ec", "coracle cp one:/tree out"}},
		{"coracle, in", []string{"sh", "-ec", "coracle cp tree two:/"}},
		{"coracle, between two", []string{"sh", "-ec", "coracle cp one:/tree - | coracle cp - two:/"}},
		{"tar and tar", []string{"sh", "-ec", "tar c tree | tar x -C out"}},
	}
	times := map[string][]float64{}
	for range 5 {
		for _, c := range all {
			if err := p.sh(clear); err != nil {
				return g, err
			}
			ms, _, err := once("sh", "-ec", "cd "+p.join("images")+"; "+c.args[2])
			if err != nil {
				return g, err
			}
			times[c.name] = append(times[c.name], ms/1000)
		}
	}
	g.Unit = "s"
	tar := slices.Min(times["tar and tar"])
	for _, c := range all {
		r := Row{Program: c.name, Median: median(times[c.name]), Least: slices.Min(times[c.name])}
		if c.name != "tar and tar" {
			r.RatioTo, r.Ratio = "tar", r.Least/tar
		}
		g.Rows = append(g.Rows, r)
	}
	return g, p.sh(strings.Join([]string{clear, "rm -rf tree out", "coracle rm -f -a"}, "; "))
}
