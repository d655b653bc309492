package cgroupv2

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Procs are the processes of the cgroup and of all cgroups below it, sorted,
// as our pid namespace numbers them (those that it does not see are left out).
func (c *Cgroup) Procs() ([]int, error) {
	if c.dir == nil {
		return nil, ErrNone
	}
	var pids []int
	err := walk(c.dir, func(dir *os.File) error {
		list, err := procsIn(dir)
		pids = append(pids, list...)
		if dir != c.dir && removed(err) {
			return nil // a child cgroup that went meanwhile
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", c.ref.Path, c.gone(err))
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// procsIn reads cgroup.procs. A threaded cgroup has none to show: its
// processes are in the list of the cgroup that is the root of its threads, or,
// when that is above the container, behind its threads.
func procsIn(dir *os.File) ([]int, error) {
	s, err := readAt(dir, "cgroup.procs")
	if errors.Is(err, unix.EOPNOTSUPP) {
		if s, err = readAt(dir, "cgroup.threads"); err == nil {
			return leaders(ids(s)), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return ids(s), nil
}

func ids(s string) []int {
	var pids []int
	for line := range strings.Lines(s) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && n > 0 {
			pids = append(pids, n)
		}
	}
	return pids
}

// leaders are the processes of threads.
func leaders(tids []int) []int {
	var pids []int
	for _, tid := range tids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
		if err != nil {
			continue // ended
		}
		_, after, _ := strings.Cut(string(status), "\nTgid:")
		line, _, _ := strings.Cut(after, "\n")
		pids = append(pids, ids(line)...)
	}
	return pids
}

// removed tells whether an error means that a cgroup went away.
func removed(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

// walk visits a cgroup and all below it, parents first. It holds one
// descriptor at any depth, for a container that has a subtree of its own can
// nest cgroups as deep as it likes.
func walk(root *os.File, visit func(*os.File) error) error {
	at := root
	defer func() {
		if at != root {
			at.Close()
		}
	}()
	move := func(name string) error {
		next, err := openIn(at, name, unix.O_DIRECTORY|unix.O_RDONLY)
		if err == nil {
			if at != root {
				at.Close()
			}
			at = next
		}
		return err
	}
	var todo [][]string // children not yet visited, level by level
	for {
		if err := visit(at); err != nil {
			return err
		}
		names, err := children(at)
		if err != nil && !removed(err) {
			return err
		}
		todo = append(todo, names)
		for entered := false; !entered; {
			level := len(todo) - 1
			if n := len(todo[level]); n > 0 {
				name := todo[level][n-1]
				todo[level] = todo[level][:n-1]
				err := move(name)
				if err != nil && !removed(err) {
					return err
				}
				entered = err == nil
				continue
			}
			if level == 0 {
				return nil
			}
			todo = todo[:level]
			if err := move(".."); err != nil {
				return err
			}
		}
	}
}

// children are the names of the cgroups directly below dir.
func children(dir *os.File) ([]string, error) {
	// As each directory below has a link to it, two are those of none. Some file
	// systems do not count, and then say one.
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) == nil && st.Nlink == 2 {
		return nil, nil
	}
	f, err := openIn(dir, ".", unix.O_DIRECTORY|unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			if e.IsDir() {
				names = append(names, e.Name())
			}
		}
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
