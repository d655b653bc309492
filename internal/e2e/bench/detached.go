package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Detached containers beside podman's: with a monitor each, and with conmon.

// removeAll removes the containers of both.
func (p place) removeAll() error {
	if err := p.sh("coracle rm -f -a >/dev/null; " + strings.Join(podman("rm", "-f", "-a", "-t", "0"), " ") + " >/dev/null"); err != nil {
		return err
	}
	// Each conmon has yet to run `podman container cleanup`, which would be measured
	// with whatever comes next.
	for range 500 {
		out, err := exec.Command("pgrep", "-u", strconv.Itoa(os.Getuid()), "-f", `^[^ ]*/(conmon|podman) .*( -c | cleanup )`).Output()
		if err != nil && len(out) == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("podman does not end its clean-up")
}

func detachedStart(p place, rounds int) (Group, error) {
	g := Group{Name: "Start a detached container", Goal: "≤ 0.15 ×", Note: "`run -d --network none IMAGE sleep`, until the command returns"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	return compareWith(g, min(rounds, 20), p.removeAll,
		contender{"coracle", []string{"coracle", "run", "-d", "--network", "none", "localhost/busybox", "sleep", "1000"}},
		contender{"podman", podman("run", "-d", "--network", "none", "localhost/bench", "sleep", "1000")})
}

// startBoth starts a detached container named bench in each.
func (p place) startBoth() error {
	if err := p.bothHaveBusybox(); err != nil {
		return err
	}
	return p.sh("coracle run -d --name bench --network none localhost/busybox sleep 4711; " +
		strings.Join(podman("run", "-d", "--name", "bench", "--network", "slirp4netns", "localhost/bench", "sleep", "4711"), " "))
}

func detachedExec(p place, rounds int) (g Group, err error) {
	g = Group{Name: "Execute a command in a container", Goal: "≤ 0.1 ×", Note: "`exec NAME true`"}
	if err := p.startBoth(); err != nil {
		return g, err
	}
	defer func() { err = firstOf(err, p.removeAll()) }()
	return compare(g, rounds, contender{"coracle", []string{"coracle", "exec", "bench", "true"}}, contender{"podman", podman("exec", "bench", "true")})
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// detachedMemory is what a container that does nothing costs besides its payload.
func detachedMemory(p place, _ int) (g Group, err error) {
	g = Group{Name: "Resident while a detached container does nothing", Unit: "MB", Goal: "≤ 12 MB, aim 8",
		Note: "coracle: monitor and guard; podman: conmon and slirp4netns (coracle's container has no network)"}
	if err := p.startBoth(); err != nil {
		return g, err
	}
	defer func() { err = firstOf(err, p.removeAll()) }()
	time.Sleep(3 * time.Second)
	for _, r := range []struct{ name, pattern string }{{"coracle", `^\[coracle:(monitor|guard)\]`}, {"podman", `(^|/)(conmon|slirp4netns) `}} {
		out, err := exec.Command("pgrep", "-u", strconv.Itoa(os.Getuid()), "-f", r.pattern).Output()
		if err != nil {
			return g, fmt.Errorf("find the processes of %s: %w", r.name, err)
		}
		mb := 0.0
		for f := range strings.FieldsSeq(string(out)) {
			pid, _ := strconv.Atoi(f)
			mb += statusMB(pid, "VmRSS:")
		}
		g.Rows = append(g.Rows, Row{Program: r.name, Median: mb, Least: mb})
	}
	return g, nil
}

// detachedMany starts 200 containers by 8 callers, and stops them.
func detachedMany(p place, _ int) (Group, error) {
	g := Group{Name: "200 detached containers", Unit: "s", Goal: "≤ 0.5 × for start and stop", Note: "`run -d` by 8 callers at once, and `stop -t 0 -a`; one round"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	theirs := strings.Join(podman(), " ")
	times := map[string]float64{}
	for _, r := range []struct{ name, start, stop string }{
		{"coracle", "coracle run -d --network none localhost/busybox sleep 1000", "coracle stop -t 0 -a"},
		{"podman", theirs + " run -d --network none localhost/bench sleep 1000", theirs + " stop -t 0 -a"},
	} {
		for _, step := range []struct{ name, line string }{{", start", "seq 200 | xargs -P 8 -I{} " + r.start}, {", stop", r.stop}} {
			ms, _, err := once("sh", "-ec", step.line)
			if err != nil {
				return g, err
			}
			times[r.name+step.name] = ms / 1000
		}
		out, err := exec.Command("sh", "-c", "pgrep -c -x sleep").Output()
		if n := strings.TrimSpace(string(out)); err == nil && n != "0" {
			return g, fmt.Errorf("%s: %s payloads run after the stop", r.name, n)
		}
	}
	for _, step := range []string{", start", ", stop"} {
		ours, peer := times["coracle"+step], times["podman"+step]
		g.Rows = append(g.Rows, Row{Program: "coracle" + step, Median: ours, Least: ours, RatioTo: "podman", Ratio: ours / peer}, Row{Program: "podman" + step, Median: peer, Least: peer})
	}
	return g, p.removeAll()
}

// detachedLogs is how fast output gets into the log.
func detachedLogs(p place, _ int) (Group, error) {
	g := Group{Name: "Log 1 GB of output", Unit: "s", Goal: "≤ 2 s (500 MB/s), nothing lost", Note: "`cat` of a file of lines of 80 bytes in a detached container, until the container has ended; k8s-file, and json-file; conmon's k8s-file; three rounds, the log on the disk"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	const lines = 12_500_000
	big := p.join("home/big")
	if err := p.sh(fmt.Sprintf("{ yes 1234567890123456789012345678901234567890123456789012345678901234567890123456789 || true; } | head -n %d >%s", lines, big)); err != nil {
		return g, err
	}
	script := func(run, rest string) []string {
		return []string{"sh", "-ec", run + " run -d --name log --network none -v " + big + ":/big:ro " + rest + " cat /big; " + run + " wait log"}
	}
	theirs := strings.Join(podman(), " ")
	all := []struct {
		contender
		count string
	}{
		{contender{"coracle, k8s-file", script("coracle", "localhost/busybox")}, "grep -c ' F ' $(coracle inspect -f '{{.LogPath}}' log); coracle rm log"},
		{contender{"coracle, json-file", script("coracle", "--log-driver json-file localhost/busybox")}, `grep -c '"stdout"' $(coracle inspect -f '{{.LogPath}}' log); coracle rm log`},
		{contender{"podman", script(theirs, "--log-driver k8s-file localhost/bench")}, "grep -c ' F ' $(" + theirs + " inspect -f '{{.HostConfig.LogConfig.Path}}' log); " + theirs + " rm log"},
	}
	times := map[string][]float64{}
	for range 3 {
		for _, c := range all {
			ms, _, err := once(c.args...)
			if err != nil {
				return g, err
			}
			times[c.name] = append(times[c.name], ms/1000)
			out, err := exec.Command("sh", "-ec", c.count).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), strconv.Itoa(lines)+"\n") {
				return g, fmt.Errorf("%s: %d lines were written, and the log has %s (%w)", c.name, lines, out, err)
			}
		}
	}
	for _, c := range all {
		r := Row{Program: c.name, Median: median(times[c.name]), Least: slices.Min(times[c.name])}
		if c.name != "podman" {
			r.RatioTo, r.Ratio = "podman", r.Median/median(times["podman"])
		}
		g.Rows = append(g.Rows, r)
	}
	return g, os.Remove(big)
}

// psMany lists a thousand containers.
func psMany(p place, rounds int) (Group, error) {
	g := Group{Name: "List 1,000 containers", Goal: "≤ 50 ms", Note: "`ps -a` with 1,000 containers that do not run, and with none"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	if err := p.sh("seq 1000 | xargs -P 2 -I{} coracle --root " + p.join("home/many") + " create -q rootfs:" + p.join("images") + " true >/dev/null"); err != nil {
		return g, err
	}
	return compare(g, rounds,
		contender{"coracle, 1,000", []string{"coracle", "--root", p.join("home/many"), "ps", "-a"}},
		contender{"coracle, none", []string{"coracle", "ps", "-a"}})
}
