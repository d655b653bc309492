package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// memory is what stays resident outside the container while it runs.
func memory(p place, _ int) (Group, error) {
	g := Group{Name: "Resident while a container runs", Unit: "MB", Goal: "≤ 12 MB",
		Note: "coracle: the launcher and its guard, in the foreground; podman: the launcher in the foreground and conmon"}
	if err := p.sh(`[ -d busybox ] || bash -euo pipefail $MAKE/busybox`); err != nil {
		return g, err
	}
	for _, c := range []contender{
		{"coracle", []string{"coracle", "run", "--rm", "--network", "none", "oci:" + p.join("images/busybox") + ":latest", "sleep", "4711"}},
		{"podman", podman("run", "--rm", "--network", "none", "oci:"+p.join("images/busybox")+":latest", "sleep", "4711")},
	} {
		mb, err := resident(c)
		if err != nil {
			return g, err
		}
		g.Rows = append(g.Rows, Row{Program: c.name, Median: mb, Least: mb})
	}
	return g, nil
}

func resident(c contender) (float64, error) {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	time.Sleep(3 * time.Second)
	var mb float64
	seen := 0
	all := family(cmd.Process.Pid)
	if out, err := exec.Command("pgrep", "-x", "conmon").Output(); err == nil && c.name == "podman" {
		for f := range strings.FieldsSeq(string(out)) {
			pid, _ := strconv.Atoi(f)
			all = append(all, family(pid)...)
		}
	}
	slices.Sort(all)
	for _, pid := range slices.Compact(all) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(line), "sleep\x00") {
			seen++
			continue
		}
		mb += statusMB(pid, "VmRSS:")
	}
	_ = exec.Command("pkill", "-KILL", "-xf", "sleep 4711").Run()
	if seen == 0 {
		return 0, fmt.Errorf("%s: the container did not start", c.name)
	}
	return mb, nil
}
