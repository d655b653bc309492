package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Record writes down a container that Run has made Unrecorded, so that other
// commands find it; p is its process, which may have ended. After that, and only
// then, there is something to be deleted (Runtime.Delete).
func (c *Container) Record(p *Process) error {
	if !c.unrecorded {
		return nil
	}
	err := c.identify(c.Pid)
	if err == nil && c.Namespaces == nil {
		err = c.recordNamespaces()
	}
	// Not waited for until now, or else the pid could be another process's.
	if isGone(err) || errors.Is(unix.PidfdSendSignal(int(p.child.PIDFD.Fd()), 0, nil, 0), unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	lock, err := c.rt.claim(c.ID)
	if err != nil {
		return err
	}
	defer lock.Close()
	c.unrecorded = false
	return c.save()
}

// Recorded says whether the container is written down.
func (c *Container) Recorded() bool { return !c.unrecorded }

// identify notes which process is the container's first, so that it is known
// from another one that gets its pid.
func (c *Container) identify(pid int) error {
	start, _, err := ProcessStart(pid)
	if err != nil {
		return fmt.Errorf("look at the container's process: %w", err)
	}
	c.Pid, c.StartTime, c.Boot = pid, start, bootID()
	return nil
}

// recordNamespaces notes which namespaces the process is in. Where a newborn's
// did not tell (see Newborn), that is known only once nothing of ours but the
// stub runs in it: before, its files under /proc can be closed to us.
func (c *Container) recordNamespaces() (err error) {
	if c.Namespaces == nil {
		c.Namespaces, err = namespacesOf(c.Pid, c.alive)
	}
	return err
}

// namespacesOf are the inode numbers of a process's namespaces.
func namespacesOf(pid int, alive func() bool) (map[string]uint64, error) {
	found := make(map[string]uint64, len(namespaceKinds))
	dir := "/proc/" + strconv.Itoa(pid) + "/ns/"
	for _, k := range namespaceKinds {
		inode, err := namespaceInode(dir + k.file)
		if errors.Is(err, fs.ErrNotExist) && alive() {
			continue // a kernel without that kind
		}
		if err != nil {
			return nil, fmt.Errorf("look at the %s namespace of process %d: %w", k.kind, pid, err)
		}
		found[k.file] = inode
	}
	return found, nil
}

// namespaceInode is the inode number of a namespace by the text of its link
// (namespaces(7)). A stat(2) would make an inode for it first, and take three times as long.
func namespaceInode(path string) (uint64, error) {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return 0, &fs.PathError{Op: "readlink", Path: path, Err: err}
	}
	_, number, _ := strings.Cut(string(buf[:n]), ":[")
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s leads to %q, which is no namespace", path, buf[:n])
	}
	return inode, nil
}

// ProcessStart is when a process started, in clock ticks since boot, and its
// state letter: fields 22 and 3 of proc_pid_stat(5).
func ProcessStart(pid int) (start uint64, state byte, err error) {
	var buf [1024]byte // the first 22 of 52 fields are what counts
	data, err := plainfile.ReadInto("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return 0, 0, err
	}
	// The command's name, in parentheses, may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// bootID is this boot's, "" where it cannot be told.
var bootID = sync.OnceValue(func() string {
	var buf [64]byte
	data, _ := plainfile.ReadInto("/proc/sys/kernel/random/boot_id", buf[:])
	return string(bytes.TrimSpace(data))
})
