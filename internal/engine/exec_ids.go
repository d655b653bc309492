package engine

import (
	"fmt"
	"os"
	"path/filepath"

	"coracle/internal/plainfile"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// Processes that were executed in a container are noted beside its state, in
// exec/ID each, for inspect's ExecIDs: pid and start time. Nothing else depends
// on it. They go with the state.

func (e *Engine) execDir(id string) string { return filepath.Join(e.runDir(id), "exec") }

// noteExec notes a process; the result removes the note.
func (e *Engine) noteExec(id, exec string, pid int) (forget func()) {
	start, _, err := spec.ProcessStart(pid)
	if err != nil {
		return func() {}
	}
	dir := e.execDir(id)
	name := filepath.Join(dir, exec)
	text := fmt.Appendf(nil, "%d %d\n", pid, start)
	if err := plainfile.Write(name, text, 0o600, unix.O_EXCL); isNotFound(err) && unix.Mkdir(dir, 0o700) == nil {
		_ = plainfile.Write(name, text, 0o600, unix.O_EXCL)
	}
	return func() { _ = unix.Unlink(name) }
}

// execs lists those that still run, and forgets the others.
func (e *Engine) execs(id string) []string {
	running := []string{}
	dir := e.execDir(id)
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		var pid int
		var start uint64
		name := filepath.Join(dir, entry.Name())
		data, err := plainfile.Read(name)
		if err != nil || len(data) == 0 {
			continue // gone, or being written
		}
		if _, err := fmt.Sscan(string(data), &pid, &start); err == nil {
			if now, state, err := spec.ProcessStart(pid); err == nil && now == start && state != 'Z' && state != 'X' {
				running = append(running, entry.Name())
				continue
			}
		}
		_ = unix.Unlink(name)
	}
	return running
}
