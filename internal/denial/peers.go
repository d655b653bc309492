package denial

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// largestTable is what is read of a table of sockets.
const largestTable = 4 << 20

// onlyHost says whether the host's table of sockets has a line, and the task's network,
// another one, does not.
func (t task) onlyHost(file string, has func(fields []string) bool) bool {
	return listed("/proc/self/net/"+file, has) && !listed("/proc/"+strconv.Itoa(t.pid)+"/net/"+file, has)
}

func listed(name string, has func(fields []string) bool) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestTable))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); has(fields) {
			return true
		}
	}
	return false
}

// listening matches a line of /proc/net/tcp or tcp6: a socket that listens at a port.
func listening(port uint16) func(fields []string) bool {
	end := fmt.Sprintf(":%04X", port)
	const local, state, listens = 1, 3, "0A"
	return func(fields []string) bool {
		return len(fields) > state && fields[state] == listens && strings.HasSuffix(fields[local], end)
	}
}

// abstract matches a line of /proc/net/unix, whose last field is the name.
func abstract(name string) func(fields []string) bool {
	return func(fields []string) bool { return len(fields) > 0 && fields[len(fields)-1] == name }
}

// hostPort says whether the host listens at a port of its loopback, and nobody does in
// the sandbox.
func (t task) hostPort(port uint16) bool {
	return t.onlyHost("tcp", listening(port)) || t.onlyHost("tcp6", listening(port))
}

// hostAbstract says the same of a name without a path.
func (t task) hostAbstract(name string) bool {
	return !strings.ContainsAny(name, " \t\n\x00") && t.onlyHost("unix", abstract("@"+name))
}
