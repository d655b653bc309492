package main

import "strings"

// statsMany looks at a hundred containers that run, in cgroups without
// controllers: what those would count is summed over the processes, which takes
// longer than reading it.
func statsMany(p place, rounds int) (g Group, err error) {
	g = Group{Name: "What 100 containers use", Goal: "≤ 50 ms", Note: "`stats --no-stream`, all of them idle, in cgroups of their own without controllers; to the pipe"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	defer func() { err = firstOf(err, p.removeAll()) }()
	run := func(command ...string) string {
		return "seq 100 | xargs -P 2 -I{} " + strings.Join(command, " ") + " sleep 4711 >/dev/null; "
	}
	if err := p.sh(run("coracle", "run", "-d", "--network", "none", "localhost/busybox") + run(podman("run", "-d", "--network", "none", "localhost/bench")...)); err != nil {
		return g, err
	}
	return compare(g, min(rounds, 20),
		contender{"coracle", []string{"coracle", "stats", "--no-stream"}},
		contender{"podman", podman("stats", "--no-stream")})
}
