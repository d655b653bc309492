package spec

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"coracle/internal/plainfile"

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
	endAll(func(pid int) bool { return isIn(pid, &ns) })
}

func sameNode(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// endAll kills all processes that are meant, in rounds.
func endAll(meant func(pid int) bool) {
	for range 200 {
		if !killAll(meant) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// killAll sends SIGKILL to all processes that are meant, and says whether there were any.
func killAll(meant func(pid int) bool) (found bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !meant(pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if meant(pid) { // looked at after opening: the pidfd is of one who is meant
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

// strayMark is how the strays of a container are found whose launcher was killed,
// and holds its mount namespace no more. By then the namespace's inode number may
// be another's; the kernel has a number that is used once (Linux 6.11). Before, and
// until that is written down, they are those who see mounts of the container's
// directory, which has the container's id in its name.
type strayMark struct {
	Namespace uint64 `json:"namespace,omitempty"` // 0: not known
}

// markStrays writes down what a later Delete needs; ns is nil until the child has sent it.
func (m *making) markStrays(ns *os.File) {
	if !m.o.Extra.Strays || m.hostMounts() {
		return
	}
	m.c.Strays = &strayMark{}
	if ns != nil {
		m.c.Strays.Namespace = mountNamespaceID(ns)
	}
}

// mountNamespaceID is the number that the kernel gives to one mount namespace only.
func mountNamespaceID(ns *os.File) (id uint64) {
	const getMountNamespaceID = 0x8008b705 // NS_GET_MNTNS_ID, linux/nsfs.h
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, ns.Fd(), getMountNamespaceID, uintptr(unsafe.Pointer(&id))); errno != 0 {
		return 0
	}
	return id
}

// endStrays kills who is left of a container whose first process has ended.
func (c *Container) endStrays() {
	var own unix.Stat_t
	if c.Strays == nil || c.Boot != bootID() || unix.Stat("/proc/self/ns/mnt", &own) != nil {
		return
	}
	see := c.seesItsFiles
	if id := c.Strays.Namespace; id != 0 {
		see = func(pid int) bool { return inMountNamespace(pid, id) }
	}
	endAll(func(pid int) bool { return !isIn(pid, &own) && see(pid) })
}

func inMountNamespace(pid int, id uint64) bool {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return false
	}
	defer ns.Close()
	return mountNamespaceID(ns) == id
}

// seesItsFiles says whether a process sees mounts from below a directory with the
// container's id as its name: its root, or the files that are made for it. Ids that
// somebody has chosen say nothing.
func (c *Container) seesItsFiles(pid int) bool {
	const random = 64
	if len(c.ID) != random {
		return false
	}
	mounts, err := plainfile.Read(fmt.Sprintf("/proc/%d/mountinfo", pid))
	return err == nil && bytes.Contains(mounts, []byte("/"+c.ID+"/"))
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
