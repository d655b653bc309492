package begin

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Note is what a launcher writes into the file that it holds locked as long as its
// container is there.
type Note struct {
	Dir      string // where the container's state is
	Image    string // the id of the image that it starts from, "" for none
	Launcher string // who writes, see Self
	Cgroup   string // made before there is a state to name it
}

func (n Note) String() string { return n.Dir + "\n" + n.Image + "\n" + n.Launcher + "\n" + n.Cgroup }

// ReadNote is the inverse of String.
func ReadNote(text string) (n Note) {
	n.Dir, n.Image, _ = strings.Cut(text, "\n")
	n.Image, n.Launcher, _ = strings.Cut(n.Image, "\n")
	n.Launcher, n.Cgroup, _ = strings.Cut(n.Launcher, "\n")
	return n
}

// Write replaces what the file says.
func (n Note) Write(lock *os.File) error {
	text := n.String()
	err := lock.Truncate(int64(len(text)))
	if err == nil {
		_, err = lock.WriteAt([]byte(text), 0)
	}
	if err != nil {
		return fmt.Errorf("make the container: %w", err)
	}
	return nil
}

// Self is this process, as a note has it: its pid and the namespace of that.
func Self() string {
	ns, _ := os.Readlink("/proc/self/ns/pid")
	return fmt.Sprint(os.Getpid(), " ", ns)
}

// Dead says that the launcher is known to be gone. What it has begun may hold
// its lock for a moment more.
func (n Note) Dead() bool {
	pid, ns, _ := strings.Cut(n.Launcher, " ")
	id, err := strconv.Atoi(pid)
	_, own, _ := strings.Cut(Self(), " ")
	return err == nil && id > 0 && ns == own && errors.Is(unix.Kill(id, 0), unix.ESRCH)
}
