package engine

import (
	"os"
	"strconv"
	"strings"
)

// Namespaces are the numbers of a running container's namespaces, as readlink
// /proc/PID/ns/* has them; empty for what does not run.
type Namespaces struct{ Cgroup, IPC, Mnt, Net, PID, User, UTS string }

// Namespaces says which namespaces the container's first process is in.
func (c Container) Namespaces() Namespaces {
	if c.PID == 0 {
		return Namespaces{}
	}
	number := func(kind string) string {
		link, _ := os.Readlink("/proc/" + strconv.Itoa(c.PID) + "/ns/" + kind)
		_, n, _ := strings.Cut(strings.TrimSuffix(link, "]"), "[")
		return n
	}
	return Namespaces{number("cgroup"), number("ipc"), number("mnt"), number("net"), number("pid"), number("user"), number("uts")}
}
