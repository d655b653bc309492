package engine

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// A container without a pid namespace of its own (--pid host) does not end with
// its first process: what that left behind is adopted by the launcher, which
// asked for it before the start, and killed here.

func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the container's reaper: %w", err)
	}
	return nil
}

// endOrphans kills all children and what they leave, until there are none. The
// container's own helpers have ended by now.
func endOrphans() {
	for {
		pids := children()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // ours, and not reaped: nobody else's number
		}
		for _, pid := range pids {
			_, _ = plainfile.Retry(func() (int, error) { return unix.Wait4(pid, nil, 0, nil) })
		}
	}
}

func children() []int {
	tasks, _ := os.ReadDir("/proc/self/task")
	var out []int
	for _, t := range tasks {
		data, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for word := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(word); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}
