package engine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// processFacts are what /proc says of one process, as seen from the host.
type processFacts struct {
	hpid, hppid int
	pids, pgids []int // in each pid namespace from ours on
	comm, args  string
	state       string
	tty         int
	ticks       uint64 // of CPU time
	nice        int
	started     uint64 // ticks since boot
	vsize, rss  uint64 // KiB
	uids, gids  []uint32
	groups      []uint32
	caps        map[string]uint64 // CapEff and the like
	seccomp     string
	label       string
}

const tick = 10 * time.Millisecond // USER_HZ is 100 on all our machines

// readProcess reads what is known of a process; fs.ErrNotExist when it is gone.
func readProcess(pid int) (*processFacts, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	stat, err := readLimited(dir + "stat")
	if err != nil {
		return nil, err
	}
	p := &processFacts{hpid: pid}
	if err := p.parseStat(stat); err != nil {
		return nil, err
	}
	status, err := readLimited(dir + "status")
	if err != nil {
		return nil, err
	}
	p.parseStatus(status)
	if args, err := readLimited(dir + "cmdline"); err == nil {
		p.args = strings.ReplaceAll(strings.TrimRight(args, "\x00"), "\x00", " ")
	}
	if p.args == "" {
		p.args = "[" + p.comm + "]"
	}
	label, _ := readLimited(dir + "attr/current")
	p.label = strings.TrimRight(label, "\x00\n")
	return p, nil
}

// readLimited reads a file of /proc; the arguments of a process can be megabytes.
// An os.File would be tried with the poller, which takes longer than the reading.
func readLimited(path string) (string, error) {
	fd, err := plainfile.Retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	const most = 64 << 10
	data := make([]byte, 0, 2048)
	for len(data) < most {
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data))
		}
		n, err := plainfile.Retry(func() (int, error) { return unix.Read(fd, data[len(data):min(cap(data), most)]) })
		if errors.Is(err, unix.ESRCH) {
			err = os.ErrNotExist
		}
		if err != nil {
			return "", &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			break
		}
		data = data[:len(data)+n]
	}
	return string(data), nil
}

// parseStat reads /proc/PID/stat. The name in it is the process's own choice:
// what follows the last parenthesis is the kernel's. Source: proc_pid_stat(5).
func (p *processFacts) parseStat(text string) error {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return fmt.Errorf("read /proc/%d/stat: %q", p.hpid, text)
	}
	p.comm = text[open+1 : end]
	f := strings.Fields(text[end+1:])
	const fields = 22
	if len(f) < fields {
		return fmt.Errorf("read /proc/%d/stat: only %d fields", p.hpid, len(f))
	}
	n := func(i int) uint64 {
		v, _ := strconv.ParseInt(f[i-3], 10, 64) // numbered as in the manual, from 3 on
		return uint64(v)
	}
	p.state = f[0]
	p.hppid, p.tty, p.nice = int(n(4)), int(n(7)), int(int64(n(19)))
	p.ticks, p.started = n(14)+n(15), n(22)
	p.vsize, p.rss = n(23)/1024, n(24)*uint64(os.Getpagesize())/1024
	return nil
}

// parseStatus reads /proc/PID/status.
func (p *processFacts) parseStatus(text string) {
	p.caps = map[string]uint64{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Uid":
			p.uids = ids(value)
		case "Gid":
			p.gids = ids(value)
		case "Groups":
			p.groups = ids(value)
		case "NSpid", "NSpgid":
			var all []int
			for _, id := range ids(value) {
				all = append(all, int(id))
			}
			if key == "NSpid" {
				p.pids = all
			} else {
				p.pgids = all
			}
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			p.caps[key], _ = strconv.ParseUint(value, 16, 64)
		case "Seccomp":
			switch value {
			case "0":
				p.seccomp = "disabled"
			case "1":
				p.seccomp = "strict"
			case "2":
				p.seccomp = "filter"
			}
		}
	}
}

func ids(words string) (out []uint32) {
	for word := range strings.FieldsSeq(words) {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return out
		}
		out = append(out, uint32(n))
	}
	return out
}

// at is the element of all, 0 where there is none.
func at[T any](all []T, i int) (v T) {
	if i >= 0 && i < len(all) {
		return all[i]
	}
	return v
}
