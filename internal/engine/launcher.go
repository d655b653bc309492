package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"coracle/internal/begin"

	"golang.org/x/sys/unix"
)

// signalLauncher sends a signal to the process that runs a container, its monitor
// or a run in the foreground: SIGTERM is an end in order there, and SIGKILL takes
// the payload along, by the guard. It is for containers whose state somebody has
// removed while they run, with the runtime directory: nothing else tells who they
// are. The launcher is who has the container's lock file open, of those that this
// process can see.
func (e *Engine) signalLauncher(id string, sig syscall.Signal) error {
	n, err := e.readNote(id)
	if isNotFound(err) {
		return unix.ESRCH // it has just let go
	}
	if err != nil {
		return err
	}
	word, ns, _ := strings.Cut(n.Launcher, " ")
	pid, err := strconv.Atoi(word)
	if _, own, _ := strings.Cut(begin.Self(), " "); err != nil || pid <= 1 || pid == os.Getpid() || ns != own {
		return unix.ESRCH
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !hasOpen(pid, e.runningFile(id)) { // looked at after opening: the pidfd is its
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// hasOpen says whether a process has a file open.
func hasOpen(pid int, path string) bool {
	var want, got unix.Stat_t
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil || unix.Lstat(path, &want) != nil {
		return false
	}
	for _, d := range entries {
		if unix.Stat(filepath.Join(dir, d.Name()), &got) == nil && got.Dev == want.Dev && got.Ino == want.Ino {
			return true
		}
	}
	return false
}
