package spec

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"coracle/spec/seccomp"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// seccomp loads the filter.
func (c *child) seccomp() {
	if len(c.x.Seccomp) == 0 {
		return
	}
	if c.x.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		c.notified()
		return
	}
	c.loadFilter()
}

// keepNotify puts the launcher's socket out of the way of the descriptors that
// the payload gets.
func (c *child) keepNotify(firstFD uint) {
	if c.x.SeccompFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
		return
	}
	if c.x.notify == nil {
		c.fail(fmt.Errorf("linux.seccomp.listenerPath: missing, and a system call has the action SCMP_ACT_NOTIFY"))
		return
	}
	c.notify = c.p.NewReg()
	c.p.Call("linux.seccomp: keep the socket for the listener", unix.SYS_FCNTL, c.x.notify.Fd(), unix.F_DUPFD_CLOEXEC, firstFD+2).To(c.notify)
}

func (c *child) loadFilter() {
	prog := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.SockFprog{})))
	f := (*unix.SockFprog)(unsafe.Pointer(&prog[0]))
	f.Len = uint16(len(c.x.Seccomp))
	code := unsafe.Slice((*byte)(unsafe.Pointer(&c.x.Seccomp[0])), len(c.x.Seccomp)*unix.SizeofSockFilter)
	f.Filter = (*unix.SockFilter)(unsafe.Pointer(&c.p.Bytes(code)[0])) // kept by the program
	c.p.Call(fmt.Sprintf("linux.seccomp: load the filter (%d instructions)", len(c.x.Seccomp)),
		unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, c.x.SeccompFlags, prog)
}

// notified loads a filter that notifies, and gets its listener to the launcher.
// From the load on every call of this process may wait for the listener's
// owner, or fail, whichever call it is; so another process sends it, which has
// no filter and shares the table of descriptors. That one looks every
// millisecond whether the listener is there: its number is known beforehand,
// the lowest that is free.
func (c *child) notified() {
	const label = "linux.seccomp: hand the listener to the launcher"
	self, alive, listener, helper := c.p.NewReg(), c.p.NewReg(), c.p.NewReg(), c.p.NewReg()
	c.p.Call(label, unix.SYS_GETPID).To(self)
	c.p.Call(label, unix.SYS_PIDFD_OPEN, self, 0).To(alive)
	c.p.Call(label, unix.SYS_FCNTL, c.notify, unix.F_DUPFD_CLOEXEC, 0).To(listener)
	c.closeReg(listener)

	filtered := c.p.NewSpot()
	c.p.Call(label, unix.SYS_CLONE, unix.CLONE_FILES|uintptr(unix.SIGCHLD), 0, 0, 0, 0).To(helper)
	c.p.Need(label, helper, 0, unix.EEXIST).Catch(unix.EEXIST, filtered)
	c.sendListener(label, alive, listener)

	c.p.Mark(filtered)
	c.loadFilter()
	if seccomp.Allows(c.x.Seccomp, unix.SYS_WAIT4) {
		done := c.p.NewSpot()
		c.p.Call(label, unix.SYS_WAIT4, helper, 0, unix.WALL, 0).Catch(0, done)
		c.p.Mark(done)
	}
}

// sendListener is what the other process does, up to its end: also that of the
// first one, without a listener.
func (c *child) sendListener(label string, alive, listener userns.Reg) {
	const msec = 1000 * 1000
	poll := c.p.Bytes(make([]byte, 8)) // struct pollfd
	binary.NativeEndian.PutUint16(poll[4:], unix.POLLIN)
	pause := c.p.Bytes(binary.NativeEndian.AppendUint32(nil, msec))
	left := c.p.Bytes(make([]byte, 16)) // struct timespec, which the kernel counts down
	ready, nsec := c.p.NewReg(), c.p.NewReg()
	loop, end := c.p.NewSpot(), c.p.NewSpot()

	c.p.Poke(poll, alive)
	c.p.Peek(pause, nsec)
	c.p.Mark(loop)
	c.p.Poke(left[8:], nsec)
	c.p.Call(label, unix.SYS_PPOLL, poll, 1, left, 0, 0).To(ready)
	c.p.Need(label, ready, 0, unix.EEXIST).Catch(0, end)
	c.p.Call(label, unix.SYS_FCNTL, listener, unix.F_GETFD, 0).Catch(unix.EBADF, loop)
	c.sendFD(label, c.notify, listener)
	c.p.Mark(end)
	c.p.Call(label, unix.SYS_EXIT_GROUP, 0)
}

// stubPath is a path to the stub, for a filter that lets execve(2) pass and not
// execveat(2), as lists of what a container needs often are: it goes through the
// container's /proc, which must be one. The descriptor's number in it has to be
// known beforehand. "" where the stub is executed by its descriptor.
func (c *child) stubPath(stub userns.Reg) string {
	f := c.x.Seccomp
	if len(f) == 0 || seccomp.Allows(f, unix.SYS_EXECVEAT) || !seccomp.Allows(f, unix.SYS_EXECVE) {
		return ""
	}
	const reserve = 64 // for what the child itself opens
	n, err := freeHandles(reserve)
	if err != nil {
		c.fail(err)
		return ""
	}
	n += reserve - 1
	const label = "linux.seccomp: execveat is not allowed: find the exec stub in /proc"
	got, buf := c.p.NewReg(), c.p.Bytes(make([]byte, 256))
	c.p.Call(label, unix.SYS_FCNTL, stub, unix.F_DUPFD_CLOEXEC, n).To(got)
	c.p.Need(label, got, uintptr(n), unix.EBUSY)
	c.p.Call(label, unix.SYS_STATFS, "/proc/self/fd", buf)
	c.p.NeedWord(label+": it is no procfs", buf, procSuperMagic, unix.EXDEV)
	return fmt.Sprintf("/proc/self/fd/%d", n)
}
