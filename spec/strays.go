package spec

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A container that has no pid namespace of its own does not end with its first
// process. What else it has started, and what was executed in it, is known by
// its mount namespace, which nobody else is in; a cgroup there may be, or not.
// The namespace is held all the time, so that its number cannot become another's.

// sendMountNamespace has the child send it: others may not look at a process
// that hides, and one that has ended has none.
func (c *child) sendMountNamespace() {
	if c.x.straysSock == nil {
		return
	}
	const label = "send the mount namespace"
	c.p.Call(label, unix.SYS_OPENAT, c.proc, "self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0).To(c.tmp)
	c.sendFD(label, c.x.straysSock.Fd(), c.tmp)
	c.closeReg(c.tmp)
}

// endStrays kills who is in the mount namespace, until nobody is: someone who
// starts others meanwhile gets some rounds.
func (p *Process) endStrays() {
	if p.strays == nil {
		return
	}
	defer func() {
		p.strays.Close()
		p.strays = nil
	}()
	var ns, own unix.Stat_t
	if unix.Fstat(int(p.strays.Fd()), &ns) != nil || unix.Stat("/proc/self/ns/mnt", &own) != nil || sameNode(&ns, &own) {
		return
	}
	for range 200 {
		if !killIn(&ns) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func sameNode(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// killIn sends SIGKILL to all in the mount namespace, and says whether there were any.
func killIn(ns *unix.Stat_t) (found bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !isIn(pid, ns) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if isIn(pid, ns) { // looked at after opening: the pidfd is of one who is in there
			found = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil || found
		}
		unix.Close(fd)
	}
	return found
}

func isIn(pid int, ns *unix.Stat_t) bool {
	var st unix.Stat_t
	return unix.Stat(fmt.Sprintf("/proc/%d/ns/mnt", pid), &st) == nil && sameNode(&st, ns)
}

// OpenTree clones what is mounted at a path of the container, for another one
// in the same user namespace. No link is followed.
func (c *Container) OpenTree(name string) (*os.File, error) {
	if l := probeKernel(); l.mounts || l.openat2 {
		return nil, errNoMounts()
	}
	t, err := c.firstProcess()
	if err != nil {
		return nil, err
	}
	defer t.close()
	f, err := fromInside(t, func(c *child, sock *os.File) {
		const label = "clone what is mounted"
		c.insideRoot()
		c.inRoot(label, name, unix.O_PATH, unix.RESOLVE_NO_SYMLINKS, c.target)
		c.openTree(label, c.target, "", false)
		c.sendFD(label, sock.Fd(), c.mount)
	})
	if err != nil {
		return nil, fmt.Errorf("open %s in container %s: %w", name, c.ID, err)
	}
	return f, nil
}
