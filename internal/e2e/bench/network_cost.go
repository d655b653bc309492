package main

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// What a network costs without traffic.

// networkStart is what it adds to a start.
func networkStart(p place, rounds int) (Group, error) {
	g := Group{Name: "Network: start a container with one", Goal: "builtin ≤ 5 ms over none", Note: "`run --rm --network private IMAGE true`, and with the other drivers"}
	if err := p.bothHaveBusybox(); err != nil {
		return g, err
	}
	run := func(network string) []string {
		return []string{"coracle", "run", "--rm", "--network", network, "localhost/busybox", "true"}
	}
	return compare(g, rounds, contender{"coracle, private", run("private")}, contender{"slirp4netns", run("slirp4netns")},
		contender{"pasta", run("pasta")}, contender{"none", run("none")})
}

// networkMemory is what the processes hold: with nothing to do, and for each of 2,000
// connections that a client has opened by a published port, asked something, and kept.
func networkMemory(p place, _ int) (g Group, err error) {
	const flows = 2000
	g = Group{Name: "Network: resident memory", Unit: "MB", Goal: "monitor, guard and stack ≤ 12 MB idle, aim 8",
		Note: "the monitor and guard of a detached container, and the helper program; then with 2,000 connections through a published port that have carried a request each and are idle: KB for each of them"}
	ports, err := p.publishNginx()
	defer func() { err = firstOf(err, p.removeAll()) }()
	if err != nil {
		return g, err
	}
	for _, d := range drivers {
		if err := p.sh(fmt.Sprintf("coracle run -d --name idle-%s --network %s localhost/busybox sleep 4711", d, d)); err != nil {
			return g, err
		}
	}
	time.Sleep(3 * time.Second)
	for _, d := range drivers {
		mb, err := outsideMB("idle-" + d)
		if err != nil {
			return g, err
		}
		before, err := outsideMB("www-" + d)
		if err != nil {
			return g, err
		}
		all, err := idle(ports[d], flows)
		if err != nil {
			return g, fmt.Errorf("%s: %w", d, err)
		}
		time.Sleep(time.Second)
		after, err := outsideMB("www-" + d)
		for _, c := range all {
			c.Close()
		}
		if err != nil {
			return g, err
		}
		name := d
		if d == "builtin" {
			name = "coracle builtin"
		}
		g.Rows = append(g.Rows, Row{Program: fmt.Sprintf("%s; %.1f KB for an idle connection", name, (after-before)*1000/flows), Median: mb, Least: mb})
	}
	return g, nil
}

// idle opens connections that have carried a request.
func idle(port, n int) (all []net.Conn, err error) {
	answer := make([]byte, 4096)
	for range n {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
		if err != nil {
			return all, err
		}
		all = append(all, c)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "GET /small HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return all, err
		}
		if _, err := c.Read(answer); err != nil {
			return all, err
		}
	}
	return all, nil
}

// outsideMB sums what is resident for a container outside of it: its monitor's family
// without that of its first process, and pasta, which is nobody's child.
func outsideMB(container string) (float64, error) {
	out, err := exec.Command("coracle", "inspect", "-f", "{{.State.Pid}}", container).Output()
	if err != nil {
		return 0, fmt.Errorf("inspect %s: %w", container, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, fmt.Errorf("inspect %s: %w", container, err)
	}
	if out, err = exec.Command("pgrep", "-f", `^\[coracle:monitor\] `+container+"$").Output(); err != nil {
		return 0, fmt.Errorf("find the monitor of %s: %w", container, err)
	}
	monitor, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return 0, fmt.Errorf("find the monitor of %s: %w", container, err)
	}
	inside := map[int]bool{}
	for _, p := range family(pid) {
		inside[p] = true
	}
	all := family(monitor)
	if pids, err := exec.Command("pgrep", "-f", fmt.Sprintf("pasta .*/proc/%d/ns/net", pid)).Output(); err == nil {
		for w := range strings.FieldsSeq(string(pids)) {
			p, _ := strconv.Atoi(w)
			all = append(all, p)
		}
	}
	mb := 0.0
	for _, p := range all {
		if !inside[p] {
			mb += statusMB(p, "VmRSS:")
		}
	}
	if mb == 0 {
		return 0, fmt.Errorf("%s: nothing runs for it", container)
	}
	return mb, nil
}
