package main

import "time"

// limited starts containers with and without a limit where a part of the cgroup tree
// is the user's, beside a thousand other cgroups in every second round; crun as well,
// whose share of what these cost is the kernel's. The tree of a machine with
// version 1 has no controllers, so the limit is one that takes none: the cgroup, the
// file, the birth in it and its removal are the same.
func limited(p place, rounds int) (g Group, err error) {
	const (
		many   = "for i in $(seq 1000); do echo /sys/fs/cgroup/bench-$i; done | xargs "
		beside = ", 1,000 other cgroups"
	)
	g = Group{Name: "A limit", Unit: "ms", Goal: "≤ 2 ms over none; with 1,000 cgroups ≤ 1.0 × of without, or as crun",
		Note: "`run --rm --network none IMAGE true` in a subtree of the user's, with `--cgroup-conf cgroup.max.descendants=3` and without; `run` of a bundle by crun, in a cgroup. Rounds with the other cgroups and without take turns"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	dir, err := p.bundle("oci-true", "true", "")
	if err != nil {
		return g, err
	}
	run := func(flags ...string) []string {
		return append(append([]string{"coracle", "run", "--rm", "--network", "none"}, flags...), "localhost/busybox", "true")
	}
	all := []contender{{"with a limit", run("--cgroup-conf", "cgroup.max.descendants=3")}, {"without", run("--pids-limit", "-1")}, {"crun", p.theirs("run -b " + dir + " b2")}}
	close, apart := map[string][]float64{}, map[string][]float64{}
	collect := func(into map[string][]float64, suffix string, gap time.Duration) error {
		times, err := interleaveWarm(all, 1, 1, gap, func() error { return nil })
		for name, t := range times {
			into[name+suffix] = append(into[name+suffix], t...)
		}
		return err
	}
	for range rounds {
		for _, suffix := range []string{"", beside} {
			if suffix != "" {
				err = p.sh(many + "mkdir")
			}
			for _, c := range []struct {
				into map[string][]float64
				gap  time.Duration
			}{{close, 0}, {apart, 200 * time.Millisecond}} {
				if err == nil {
					err = collect(c.into, suffix, c.gap)
				}
			}
			if suffix != "" {
				err = firstOf(err, p.sh(many+"rmdir"))
			}
			if err != nil {
				return g, err
			}
		}
	}
	for _, c := range all {
		g.Rows = append(g.Rows, row(c.name+beside, c.name, close, apart), row(c.name, "", close, apart))
	}
	return g, nil
}
