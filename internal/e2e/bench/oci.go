package main

import (
	"fmt"
	"strings"
)

// The OCI runtime beside crun: the same bundle of busybox, a single id, with a
// cgroup of its own each, in a view with cgroup v2 alone (crun of Debian 12
// refuses machines with both hierarchies).

// bundle makes the bundle of one command; more is jq for its config.json.
func (p place) bundle(name, command, more string) (string, error) {
	dir := p.join("images/" + name)
	return dir, p.sh(fmt.Sprintf(`[ -d busybox ] || bash -euo pipefail $MAKE/busybox
		mkdir -p %[1]s/rootfs/bin && cp /bin/busybox %[1]s/rootfs/bin/ && ln -sf busybox %[1]s/rootfs/bin/true && ln -sf busybox %[1]s/rootfs/bin/sleep
		rm -f %[1]s/config.json && coracle oci spec --rootless --bundle %[1]s
		jq '.ociVersion = "1.0.2" | .process.terminal = false | .root.readonly = false | .process.args = ["%[2]s"] %[3]s' %[1]s/config.json >%[1]s/new
		mv %[1]s/new %[1]s/config.json`, dir, strings.Join(strings.Fields(command), `","`), more))
}

// ours and theirs are the two runtimes, each with a state directory of its own.
func (p place) ours(args string) []string {
	return strings.Fields("coracle oci --root " + p.join("run/ours") + " " + args)
}

func (p place) theirs(args string) []string {
	return strings.Fields("crun --root " + p.join("run/crun") + " " + args)
}

// chain makes one command of several.
func chain(all ...[]string) []string {
	var words []string
	for _, c := range all {
		words = append(words, strings.Join(c, " "))
	}
	return []string{"sh", "-ec", strings.Join(words, " && ")}
}

func ociRun(p place, rounds int) (Group, error) {
	g := Group{Name: "OCI runtime: run a bundle", Goal: "≤ 0.9 ×, aim 0.6 ×", Note: "`run` of a bundle with busybox `true`, one id mapped"}
	dir, err := p.bundle("oci-true", "true", "")
	if err != nil {
		return g, err
	}
	return compare(g, max(rounds, 50), contender{"coracle oci", p.ours("run -b " + dir + " b1")}, contender{"crun", p.theirs("run -b " + dir + " b2")})
}

func ociMounts(p place, rounds int) (Group, error) {
	g := Group{Name: "OCI runtime: run a bundle with 200 mounts", Goal: "no more growth than crun's", Note: "as above, with 200 tmpfs mounts more"}
	dir, err := p.bundle("oci-mounts", "true", `| .mounts += [range(200) | {destination: "/mnt/\(.)", type: "tmpfs", source: "tmpfs"}]`)
	if err != nil {
		return g, err
	}
	return compare(g, rounds, contender{"coracle oci", p.ours("run -b " + dir + " b1")}, contender{"crun", p.theirs("run -b " + dir + " b2")})
}

func ociLifecycle(p place, rounds int) (Group, error) {
	g := Group{Name: "OCI runtime: create, start and delete", Goal: "≤ 0.9 ×, aim 0.6 ×", Note: "three commands in a shell; the payload sleeps"}
	dir, err := p.bundle("oci-sleep", "sleep 1000", "")
	if err != nil {
		return g, err
	}
	return compare(g, max(rounds, 50),
		contender{"coracle oci", chain(p.ours("create -b "+dir+" b1"), p.ours("start b1"), p.ours("delete --force b1"))},
		contender{"crun", chain(p.theirs("create -b "+dir+" b2"), p.theirs("start b2"), p.theirs("delete --force b2"))})
}

// running has a container in each runtime, b1 and b2, while f measures.
func (p place) running(f func() (Group, error)) (Group, error) {
	dir, err := p.bundle("oci-sleep", "sleep 1000", "")
	if err != nil {
		return Group{}, err
	}
	up := chain(p.ours("run -d -b "+dir+" b1 </dev/null >/dev/null 2>&1"), p.theirs("run -d -b "+dir+" b2 </dev/null >/dev/null 2>&1"))
	if err := p.sh(up[2]); err != nil {
		return Group{}, err
	}
	g, err := f()
	down := chain(p.ours("delete --force b1"), p.theirs("delete --force b2"))
	if derr := p.sh(down[2]); err == nil {
		err = derr
	}
	return g, err
}

func ociExec(p place, rounds int) (Group, error) {
	return p.running(func() (Group, error) {
		g := Group{Name: "OCI runtime: exec", Goal: "≤ 0.8 ×, aim 0.5 ×", Note: "`exec` of `true` in a container that runs"}
		return compare(g, max(rounds, 50), contender{"coracle oci", p.ours("exec b1 true")}, contender{"crun", p.theirs("exec b2 true")})
	})
}

func ociState(p place, rounds int) (Group, error) {
	return p.running(func() (Group, error) {
		g := Group{Name: "OCI runtime: state", Goal: "≤ 1.5 ×", Note: "of a container that runs"}
		return compare(g, max(rounds, 50), contender{"coracle oci", p.ours("state b1")}, contender{"crun", p.theirs("state b2")})
	})
}

func ociParallel(p place, _ int) (Group, error) {
	g := Group{Name: "OCI runtime: 100 containers by 8 callers", Goal: "≤ 0.8 ×", Note: "`run` of `true`, 100 times by 8 callers at once"}
	dir, err := p.bundle("oci-true", "true", "")
	if err != nil {
		return g, err
	}
	all := func(runtime []string) []string {
		return []string{"sh", "-ec", "seq 100 | xargs -P 8 -I{} " + strings.Join(runtime, " ")}
	}
	return compare(g, 5, contender{"coracle oci", all(p.ours("run -b " + dir + " p{}"))}, contender{"crun", all(p.theirs("run -b " + dir + " q{}"))})
}
