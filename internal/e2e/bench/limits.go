package main

// limited starts containers with and without a limit where a part of the cgroup tree
// is the user's; then beside a thousand other cgroups. The tree of a machine with
// version 1 has no controllers, so the limit is one that takes none: the cgroup, the
// file, the birth in it and its removal are the same.
func limited(p place, rounds int) (g Group, err error) {
	const many = "for i in $(seq 1000); do echo /sys/fs/cgroup/bench-$i; done | xargs "
	g = Group{Name: "A limit", Goal: "≤ 2 ms over none; with 1,000 cgroups ≤ 1.1 × of without",
		Note: "`run --rm --network none IMAGE true` in a subtree of the user's, with `--cgroup-conf cgroup.max.descendants=3` and without"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	run := func(flags ...string) []string {
		return append(append([]string{"coracle", "run", "--rm", "--network", "none"}, flags...), "localhost/busybox", "true")
	}
	with, without := run("--cgroup-conf", "cgroup.max.descendants=3"), run("--pids-limit", "-1")
	g, err = compare(g, rounds, contender{"with a limit", with}, contender{"without", without})
	if err != nil {
		return g, err
	}
	if err := p.sh(many + "mkdir"); err != nil {
		return g, err
	}
	defer func() { err = firstOf(err, p.sh(many+"rmdir")) }()
	beside, err := compare(g, rounds, contender{"with a limit, 1,000 other cgroups", with}, contender{"without, 1,000 other cgroups", without})
	if err == nil {
		g.Rows = beside.Rows // which begin with those that g had
	}
	return g, err
}
