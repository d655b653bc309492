package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(out))
}

func machine(p place) []Fact {
	cpu := "?"
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	mem := "?"
	data, _ = os.ReadFile("/proc/meminfo")
	if f := strings.Fields(string(data)); len(f) > 1 {
		var kb int64
		fmt.Sscan(f[1], &kb)
		mem = fmt.Sprintf("%.0f GiB", float64(kb)/(1<<20))
	}
	return []Fact{
		{"processor", fmt.Sprintf("%s, %d cores", cpu, runtime.NumCPU())},
		{"memory", mem},
		{"kernel", output("uname", "-r")},
		{"file system of the stores", output("stat", "-f", "-c", "%T", p.dir)},
		{"system", output("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME")},
		{"coracle", strings.ReplaceAll(output("coracle", "--version"), "coracle version ", "") + ", " + runtime.Version()},
	}
}

func peers() []Fact {
	var facts []Fact
	for _, pkg := range []string{"podman", "crun", "runc", "bubblewrap", "docker-registry", "slirp4netns", "passt"} {
		facts = append(facts, Fact{pkg, output("dpkg-query", "-W", "-f", "${Version}", pkg)})
	}
	return facts
}
